"""The companion of a kernel that is a batch job: ``python -m springtide.kernels.batch_kernel FOLDER``.

To Jupyter it looks like one on this machine: its sockets lie in the folder, the orders of `guard` are taken, and it
ends as the kernel ends. Behind each connection to a socket stands one to the node, encrypted (see `node`). While the
job waits, nobody listens, and Jupyter's connections wait with it. Whoever ends the companion ends the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from springtide.errors import SpringtideError
from springtide.kernels import guard, node
from springtide.kernels.batch_site import KernelJob, Wish
from springtide.kernels.keys import new_key, write_secret

PLAN = "batch.json"
"""What the provisioner writes: the ``wish``, the ``launch`` on the node, its ``connection`` file and ``folder``."""
SUBMITTED = "submitted.json"
"""Written once there is a ``job``."""
SAID = "said"
"""What there is to say meanwhile, a line each."""
_SHARED = Path(".springtide", "kernels")
_LOOKS_EVERY_S = 0.3
_CONNECTS_WITHIN_S = 20.0
_ENDS_WITHIN_S = {"end": 8.0, "kill": 4.0}
# How long a kernel on a node outlives its companion: a switch that is restarted must not cost a night's work.
_ALONE_S = 300.0
_NOT_STARTED = 1
_ASKED_TO_END = 128 + signal.SIGTERM


class Orders:
    """What whoever started the companion wants; signals wait until the kernel runs."""

    def __init__(self) -> None:
        self.signals: asyncio.Queue[str] = asyncio.Queue()
        self.end = ""
        self.ending = asyncio.Event()
        self.is_orphan = False

    async def read(self) -> None:
        """Take the orders of standard input, to its end."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode():
            if line.startswith("signal "):
                self.signals.put_nowait(line)
            elif line.strip() in _ENDS_WITHIN_S:
                self.want_end(line.strip())
        self.is_orphan = True
        self.want_end("end")

    def want_end(self, how: str) -> None:
        """Note that the kernel is to end; sooner than was said before, never later."""
        self.end = "kill" if "kill" in (how, self.end) else how
        self.ending.set()


class BatchKernel:
    """One kernel in the queue or on a node.

    Parameters
    ----------
    folder : Path
        Where its sockets are on this machine.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        self._plan, self._wish = plan, Wish.from_json(plan["wish"])
        self._shared = Path.home() / _SHARED / folder.name
        self._job = KernelJob(self._wish, self._shared)
        self._servers: list[asyncio.Server] = []
        self._report: dict[str, Any] | None = None
        self.orders = Orders()

    async def run(self) -> dict[str, Any]:
        """Submit the job, serve its kernel's channels, return how it ended."""
        reading = asyncio.create_task(self.orders.read())
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.orders.want_end, "end")
        self._share()
        try:
            job_id = await self._job.submit()
            guard.write_whole(self._folder / SUBMITTED, {"job": job_id})
            return await self._until_over()
        except (SpringtideError, OSError) as error:
            return {"status": _NOT_STARTED, "words": str(error)}
        finally:
            reading.cancel()
            self._close()
            with contextlib.suppress(SpringtideError):
                await self._job.leave(over=self._report is not None)
            shutil.rmtree(self._shared, ignore_errors=True)

    def _share(self) -> None:
        """Lay out what the node needs where it sees it."""
        self._shared.parent.mkdir(parents=True, exist_ok=True)
        self._shared.mkdir(mode=0o700)
        write_secret(self._shared / node.KEY, new_key())
        plan = {"folder": self._plan["folder"], "alone_s": _ALONE_S}
        for name, value in (
            (node.PLAN, plan),
            (guard.LAUNCH, self._plan["launch"]),
            ("connection.json", self._plan["connection"]),
        ):
            guard.write_whole(self._shared / name, value)
        for program in (guard, node):
            assert program.__file__ is not None
            shutil.copyfile(program.__file__, self._shared / Path(program.__file__).name)

    # --- waiting and serving ------------------------------------------------------------------------------------

    async def _until_over(self) -> dict[str, Any]:
        while not self.orders.ending.is_set():
            sight = await self._job.look()
            if sight.ended:
                return {"status": _NOT_STARTED, "words": await self._job.end_in_words(sight)}
            self._say(await self._job.news(sight))
            address = await self._job.address(sight)
            if address and await self._serve(*address):
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.orders.ending.wait(), _LOOKS_EVERY_S)
        asked = self.orders.ending.is_set()
        report = {"status": _ASKED_TO_END, **(self._report or {}), "asked": asked}
        # Whoever else ended it, did so by way of the scheduler.
        return report if asked or not report["status"] else {**report, "words": await self._job.end_by_scheduler()}

    def _say(self, words: str) -> None:
        if words:
            with (self._folder / SAID).open("a", encoding="utf-8") as said:
                said.write(" ".join(words.split()) + "\n")

    async def _serve(self, host: str, port: int) -> bool:
        """Serve the channels of the kernel at `host`; return whether it is over, rather than out of reach."""
        open_node = self._connector(host, port)
        try:
            control = await open_node("control")
        except (OSError, ssl.SSLError, TimeoutError):
            return False
        if not self._servers:
            await self._listen(open_node)
        ended = asyncio.create_task(self._hear_the_end(control[0]))
        passing = asyncio.create_task(self._pass_signals(control[1]))
        ending = asyncio.create_task(self.orders.ending.wait())
        try:
            await asyncio.wait([ended, ending], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await self._end(control[1], ended)
            return self._report is not None or self.orders.ending.is_set()
        finally:
            for task in (ended, passing, ending):
                task.cancel()
            control[1].close()

    def _connector(self, host: str, port: int) -> Callable[[str], Any]:
        context = node.encryption(self._shared / node.KEY, ssl.Purpose.SERVER_AUTH)

        async def connect(what: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            opening = asyncio.open_connection(host, port, ssl=context)
            reader, writer = await asyncio.wait_for(opening, _CONNECTS_WITHIN_S)
            writer.write(f"{what}\n".encode())
            await writer.drain()
            return reader, writer

        return connect

    async def _listen(self, open_node: Callable[[str], Any]) -> None:
        connection = self._plan["connection"]
        for number in {value for name, value in connection.items() if name.endswith("_port")}:
            path = self._folder / f"channel-{number}"
            self._servers.append(await asyncio.start_unix_server(_relay(open_node, f"channel {number}"), path))

    async def _hear_the_end(self, reader: asyncio.StreamReader) -> None:
        """Return once the node says how the kernel ended, or is out of reach."""
        with contextlib.suppress(OSError, ssl.SSLError, ValueError):
            while line := await reader.readline():
                verb, _, report = line.decode().partition(" ")
                if verb == "ended":
                    self._report = json.loads(report)

    async def _pass_signals(self, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write((await self.orders.signals.get()).encode())
            await writer.drain()

    async def _end(self, writer: asyncio.StreamWriter, ended: asyncio.Task[None]) -> None:
        """Have the guard on the node end the kernel; what it does not, the end of the job will."""
        with contextlib.suppress(OSError, ssl.SSLError):
            writer.write(f"{self.orders.end}\n".encode())
            await writer.drain()
            await asyncio.wait([ended], timeout=_ENDS_WITHIN_S[self.orders.end])

    def _close(self) -> None:
        for server in self._servers:
            server.close()


def _relay(open_node: Callable[[str], Any], what: str) -> Callable[..., Any]:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await node.join((reader, writer), await open_node(what))
        except (OSError, ssl.SSLError, TimeoutError):
            writer.close()  # the client's library connects again by itself

    return relay


def main(folder: Path) -> int:
    """Keep the batch kernel of `folder`; return its exit status."""
    kernel = BatchKernel(folder)
    report = asyncio.run(kernel.run())
    if kernel.orders.is_orphan:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        guard.write_whole(folder / guard.REPORT, report)
    return int(report.get("status") or 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
