"""The process beside each kernel, as the server sees it: started, given orders, listened to, outlived by nobody."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from springtide.kernels import guard
from springtide.kernels.batch_kernel import AGAIN, LEAVE, RESTS
from springtide.kernels.places import KernelFolder

LOOKS_EVERY_S = 0.02
_ENDS_WITHIN_S = 100.0
_ORDERS = {9: "kill\n", 15: "end\n"}


class Companion:
    """One companion with its kernel.

    Parameters
    ----------
    program : sequence of str
        Its program and arguments, to which the folder is added.
    folder : KernelFolder
        The kernel's folder.
    environment : mapping
        Its environment.
    """

    def __init__(self, program: Sequence[str], folder: KernelFolder, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._heard = 0
        self._process = subprocess.Popen(
            [*program, str(folder.path)],
            env=environment,
            # Its end is an order as well: it comes when this process dies, however it does.
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the kernel's exit status, None while it runs."""
        status = self._process.poll()
        if status is None and self.rests:
            return int(str(self.report().get("status") or 0))
        return 128 - status if status is not None and status < 0 else status

    @property
    def rests(self) -> bool:
        """Whether the kernel is over, and its companion would start another one in its place."""
        return self._process.poll() is None and bool(self.folder.read(guard.REPORT).get(RESTS))

    def again(self) -> None:
        """Have it start the next kernel."""
        (self.folder.path / guard.REPORT).unlink(missing_ok=True)
        self._order(AGAIN)

    def report(self) -> dict[str, object]:
        """Return how the kernel ended; of one whose companion was killed, what is known of that."""
        killed = self._process.returncode
        return self.folder.read(guard.REPORT) or {"status": 128 - killed if killed and killed < 0 else killed}

    def signal(self, number: int) -> None:
        """Send a signal to the kernel and what it has started; the two that end it end it properly."""
        self._order(_ORDERS.get(number, f"signal {number}\n"))

    def _order(self, order: str) -> None:
        assert self._process.stdin is not None
        # It may just have ended.
        with contextlib.suppress(OSError):
            self._process.stdin.write(order.encode())
            self._process.stdin.flush()

    def news(self, name: str) -> list[str]:
        """Return the whole lines that it has written to a file of its folder since the last call."""
        try:
            written = (self.folder.path / name).read_text(encoding="utf-8")
        except OSError:
            return []
        lines = written[: written.rfind("\n") + 1].splitlines()
        fresh, self._heard = lines[self._heard :], len(lines)
        return fresh

    async def is_over(self) -> None:
        """Have it leave, and wait for that; one that takes very long is killed."""
        self._order(LEAVE)
        give_up_at = time.monotonic() + _ENDS_WITHIN_S
        while self._process.poll() is None:
            if time.monotonic() > give_up_at:
                self._process.kill()
            await asyncio.sleep(LOOKS_EVERY_S)

    def let_go(self) -> None:
        """Close what led to it."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()


def program_of(module: Path | str, *, alone: bool) -> list[str]:
    """Return how this Python runs a companion.

    Parameters
    ----------
    module : Path or str
        A file, or a module's name.
    alone : bool
        Whether the standard library is enough for it: it then starts sooner.
    """
    return [sys.executable, "-I", "-S", str(module)] if alone else [sys.executable, "-m", str(module)]
