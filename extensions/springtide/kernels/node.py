"""Runs a kernel as a batch job: on its node, ``python -I node.py FOLDER``; needs the standard library only.

The folder lies on the file system that node and server share, and only their account can enter it. It holds `PLAN`,
what `guard` starts, the kernel's connection file, and `KEY`: a certificate with its key that both ends show each other.
One port of the node takes all connections, encrypted. What a peer wants stands in its first line: ``channel 3`` is
the kernel's socket of that number; ``control`` takes the guard's orders, and is told ``ended {…}`` once the kernel is
over. For a while the job then waits for ``again``, lest a restart waits in the queue; ``leave`` ends both. So does it
when nobody controls the kernel for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any

PLAN = "node.json"
"""``folder``: where the kernel's sockets are to lie on the node; ``alone_s``: how long nobody may control it."""
KEY = "key.pem"
ADDRESS = "address.json"
"""What the node writes: its ``port`` and its ``host``."""
GUARD = "guard.py"
_SOCKET_COMES_WITHIN_S = 120.0
_RESTS_S = 30.0
_PIECE = 2**16


def encryption(key: Path, purpose: ssl.Purpose) -> ssl.SSLContext:
    """Return what lets two holders of `key` talk, and nobody else; `purpose` says who the other one is."""
    server = purpose is ssl.Purpose.CLIENT_AUTH
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Who has the key is who we want, whatever the machine is called.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(key)
    context.load_cert_chain(key)
    return context


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, until either end is closed."""
    with contextlib.suppress(OSError, ssl.SSLError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    writer.close()


async def join(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    """Pass on what comes from either of two connections to the other; each is ``(reader, writer)``."""
    await asyncio.gather(pump(one[0], other[1]), pump(other[0], one[1]))


class Node:
    """The kernel's side of all connections.

    Parameters
    ----------
    shared : Path
        The folder that the server sees as well.
    """

    def __init__(self, shared: Path) -> None:
        self._shared = shared
        plan = json.loads((shared / PLAN).read_text(encoding="utf-8"))
        self._folder, self._alone_s = Path(plan["folder"]), float(plan["alone_s"])
        self._controlled_by = 0
        self._controlled_at = time.monotonic()
        self._peers: set[asyncio.StreamWriter] = set()
        self._again, self._leaving = asyncio.Event(), asyncio.Event()

    async def run(self) -> int:
        """Start the kernel, serve its channels, return its exit status."""
        # Fails where it exists: somebody else's folder is not to be used.
        self._folder.mkdir(mode=0o700)
        try:
            return await self._serve()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _serve(self) -> int:
        context = encryption(self._shared / KEY, ssl.Purpose.CLIENT_AUTH)
        server = await asyncio.start_server(self._welcome, "0.0.0.0", 0, ssl=context)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._leave)
        watching = asyncio.create_task(self._watch())
        port: int = server.sockets[0].getsockname()[1]
        while True:
            await self._start()
            self._publish(port)
            status = await self._guard.wait()
            await self._say_the_end()
            if not await self._is_wanted_again():
                break
        watching.cancel()
        server.close()
        for writer in list(self._peers):
            writer.close()
        return status

    async def _start(self) -> None:
        self._again.clear()
        for entry in self._folder.iterdir():
            entry.unlink()
        for name in ("launch.json", "connection.json"):
            shutil.copy2(self._shared / name, self._folder / name)
        command = [sys.executable, "-I", "-S", str(self._shared / GUARD), str(self._folder)]
        self._guard = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)

    async def _is_wanted_again(self) -> bool:
        waiting = [asyncio.create_task(event.wait()) for event in (self._again, self._leaving)]
        await asyncio.wait(waiting, timeout=_RESTS_S, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        return self._again.is_set() and not self._leaving.is_set()

    def _leave(self) -> None:
        self._leaving.set()
        self._order(b"end\n")

    def _publish(self, port: int) -> None:
        beside = self._shared / f".{ADDRESS}"
        beside.write_text(json.dumps({"port": port, "host": socket.gethostname()}), encoding="utf-8")
        os.replace(beside, self._shared / ADDRESS)

    def _order(self, order: bytes) -> None:
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError):
            self._guard.stdin.write(order)

    async def _watch(self) -> None:
        """End kernel and job where the server is gone."""
        while self._controlled_by or time.monotonic() - self._controlled_at < self._alone_s:
            await asyncio.sleep(min(1.0, self._alone_s / 4))
        self._leave()

    async def _say_the_end(self) -> None:
        try:
            report = (self._folder / "report.json").read_text(encoding="utf-8")
        except OSError:
            report = "{}"
        for writer in list(self._peers):
            with contextlib.suppress(OSError, ssl.SSLError):
                writer.write(f"ended {report}\n".encode())
                await asyncio.wait_for(writer.drain(), 5)

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            verb, _, argument = (await asyncio.wait_for(reader.readline(), 30)).decode().strip().partition(" ")
            if verb == "control":
                await self._obey(reader, writer)
            elif verb == "channel" and argument.isdigit():
                await join((reader, writer), await self._channel(int(argument)))
        except (TimeoutError, OSError, ssl.SSLError, ValueError):
            pass  # whoever it was is gone, or speaks something else
        finally:
            writer.close()

    async def _obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._controlled_by += 1
        self._peers.add(writer)
        try:
            while order := await reader.readline():
                act = {b"again\n": self._again.set, b"leave\n": self._leave}.get(order)
                act() if act else self._order(order)
        finally:
            self._peers.discard(writer)
            self._controlled_by -= 1
            self._controlled_at = time.monotonic()

    async def _channel(self, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        path = f"{self._folder}/channel-{number}"
        give_up_at = time.monotonic() + _SOCKET_COMES_WITHIN_S
        while True:
            try:
                return await asyncio.open_unix_connection(path)
            except OSError:
                if time.monotonic() > give_up_at:
                    raise
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(asyncio.run(Node(Path(sys.argv[1])).run()))
