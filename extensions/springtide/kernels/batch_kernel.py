"""The companion of a kernel that is a batch job: ``python -m springtide.kernels.batch_kernel FOLDER``.

To Jupyter it looks like one on this machine: its sockets lie in the folder, and the orders of `guard` are taken. Behind
each connection to a socket stands one to the node, encrypted (see `node`). While the job waits, nobody listens, and
Jupyter's connections wait with it. A kernel that is over leaves its job for the next one: the order ``again`` starts
it, ``leave`` ends the job. Whoever ends the companion ends the job.
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
RESTS = "rests"
"""In the report of a kernel whose job waits for the next one."""
AGAIN, LEAVE = "again\n", "leave\n"
_ENDINGS = ("end\n", "kill\n")
_SHARED = Path(".springtide", "kernels")
_LOOKS_EVERY_S = 0.3
_CONNECTS_WITHIN_S = 20.0
_ENDS_WITHIN_S = 8.0
_LEAVES_WITHIN_S = 0.5
# How long a kernel on a node outlives its companion: a switch that is restarted must not cost a night's work.
_ALONE_S = 300.0
_NOT_STARTED = 1
_ASKED_TO_END = 128 + signal.SIGTERM


class Orders:
    """What whoever started the companion wants."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[str] = asyncio.Queue()
        self.leaving = asyncio.Event()
        self.is_orphan = False

    async def read(self) -> None:
        """Take the orders of standard input, to its end."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode():
            if line == LEAVE:
                self.leaving.set()
            else:
                self.lines.put_nowait(line)
        self.is_orphan = not self.leaving.is_set()
        self.leaving.set()


class BatchKernel:
    """One job and its kernels.

    Parameters
    ----------
    folder : Path
        Where their sockets are on this machine.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plan = self._read_plan()
        self._wish = Wish.from_json(self._plan["wish"])
        self._shared = Path.home() / _SHARED / folder.name
        self._job = KernelJob(self._wish, self._shared)
        self._servers: list[asyncio.Server] = []
        self._report: dict[str, Any] | None = None
        self._asked = False
        self.orders = Orders()

    def _read_plan(self) -> dict[str, Any]:
        plan: dict[str, Any] = json.loads((self._folder / PLAN).read_text(encoding="utf-8"))
        return plan

    async def run(self) -> dict[str, Any]:
        """Submit the job, serve its kernel's channels, return how it ended."""
        reading = asyncio.create_task(self.orders.read())
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.orders.leaving.set)
        over = False
        try:
            self._share()
            job_id = await self._job.submit()
            guard.write_whole(self._folder / SUBMITTED, {"job": job_id})
            report = await self._until_over()
            over = self._report is not None
            return report
        except (SpringtideError, OSError) as error:
            return {"status": _NOT_STARTED, "words": str(error)}
        finally:
            reading.cancel()
            self._close()
            with contextlib.suppress(SpringtideError):
                await self._job.leave(over=over, patient=self.orders.is_orphan)
            shutil.rmtree(self._shared, ignore_errors=True)

    def _share(self) -> None:
        """Lay out what the node needs where it sees it."""
        self._shared.parent.mkdir(parents=True, exist_ok=True)
        self._shared.mkdir(mode=0o700)
        write_secret(self._shared / node.KEY, new_key())
        guard.write_whole(self._shared / node.PLAN, {"folder": self._plan["folder"], "alone_s": _ALONE_S})
        for program in (guard, node):
            assert program.__file__ is not None
            shutil.copyfile(program.__file__, self._shared / Path(program.__file__).name)
        self._share_kernel()

    def _share_kernel(self) -> None:
        """Lay out what is the next kernel's own."""
        guard.write_whole(self._shared / guard.LAUNCH, self._plan["launch"])
        guard.write_whole(self._shared / "connection.json", self._plan["connection"])

    # --- waiting and serving ------------------------------------------------------------------------------------

    async def _until_over(self) -> dict[str, Any]:
        while not self.orders.leaving.is_set():
            sight = await self._job.look()
            if sight.ended:
                return {"status": _NOT_STARTED, "words": await self._job.end_in_words(sight)}
            self._say(await self._job.news(sight))
            address = await self._job.address(sight)
            if address and await self._serve(*address):
                break
            await self._obey_without_node()
        asked = self._asked or self.orders.leaving.is_set()
        report = {"status": _ASKED_TO_END, **(self._report or {}), "asked": asked}
        # Whoever else ended it, did so by way of the scheduler.
        return report if asked or not report["status"] else {**report, "words": await self._job.end_by_scheduler()}

    async def _obey_without_node(self) -> None:
        """Take what orders there are: one that does not run yet ends and begins on paper, and keeps its place."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOKS_EVERY_S):
                await self.orders.leaving.wait()
        while not self.orders.lines.empty():
            order = self.orders.lines.get_nowait()
            if order in _ENDINGS:
                self._rest({"status": _ASKED_TO_END, "asked": True})
            elif order == AGAIN:
                self._begin_again()

    def _rest(self, report: dict[str, Any]) -> None:
        """Tell that the kernel is over, and its job is not."""
        guard.write_whole(self._folder / guard.REPORT, {**report, RESTS: True})

    def _begin_again(self) -> None:
        self._plan, self._asked, self._report = self._read_plan(), False, None
        self._share_kernel()

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
        hearing = asyncio.create_task(self._hear(control[0]))
        passing = asyncio.create_task(self._pass_orders(control[1], open_node))
        leaving = asyncio.create_task(self.orders.leaving.wait())
        try:
            await asyncio.wait([hearing, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not hearing.done():
                await self._leave(control[1], hearing)
            return self._report is not None or self.orders.leaving.is_set()
        finally:
            for task in (hearing, passing, leaving):
                task.cancel()
            control[1].close()

    def _connector(self, host: str, port: int) -> Callable[[str], Any]:
        context = node.encryption(self._shared / node.KEY, ssl.Purpose.SERVER_AUTH)

        async def connect(what: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            async with asyncio.timeout(_CONNECTS_WITHIN_S):
                reader, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.write(f"{what}\n".encode())
            await writer.drain()
            return reader, writer

        return connect

    async def _listen(self, open_node: Callable[[str], Any]) -> None:
        self._close()
        connection = self._plan["connection"]
        for number in {value for name, value in connection.items() if name.endswith("_port")}:
            path = self._folder / f"channel-{number}"
            self._servers.append(await asyncio.start_unix_server(_relay(open_node, f"channel {number}"), path))

    def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        """Take what the node says, until it leaves or is out of reach."""
        resting: asyncio.Task[None] | None = None
        with contextlib.suppress(OSError, ssl.SSLError, ValueError):
            while line := await reader.readline():
                verb, _, said = line.decode().partition(" ")
                if verb == "ended":
                    self._report = {**json.loads(said), "asked": self._asked}
                    resting = asyncio.create_task(self._rest_unless_over(self._report))
        if resting is not None:
            resting.cancel()

    async def _rest_unless_over(self, report: dict[str, Any]) -> None:
        """Tell of the kernel's end, unless its job ends with it: then there is more to tell."""
        if not self._asked:
            await asyncio.sleep(_LEAVES_WITHIN_S)
        self._rest(report)

    async def _pass_orders(self, writer: asyncio.StreamWriter, open_node: Callable[[str], Any]) -> None:
        while True:
            order = await self.orders.lines.get()
            self._asked = self._asked or order in _ENDINGS
            if order == AGAIN:
                self._begin_again()
                # Jupyter removes a kernel's sockets when it is restarted.
                await self._listen(open_node)
            writer.write(order.encode())
            await writer.drain()

    async def _leave(self, writer: asyncio.StreamWriter, hearing: asyncio.Task[None]) -> None:
        """Have the node end kernel and job; what it does not, the scheduler will."""
        with contextlib.suppress(OSError, ssl.SSLError):
            writer.write(LEAVE.encode())
            await writer.drain()
            await asyncio.wait([hearing], timeout=_ENDS_WITHIN_S)


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
