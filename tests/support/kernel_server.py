"""A small Jupyter server for tests of kernels: jupyter_client's own kernel manager, in a process that can be killed.

As a program (``python kernel_server.py``) it takes one order a line and answers with one line, both JSON. It may run as
another account, and imports nothing of the tests.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if not __package__:
    # What lies beside this file is named as libraries are.
    sys.path.pop(0)


# --- in the tests ---------------------------------------------------------------------------------------------------


class OrderFailed(Exception):
    """The server raised; the text is its message."""


@dataclass
class KernelServer:
    """A running server."""

    process: subprocess.Popen[str]
    log: Path

    @classmethod
    @contextmanager
    def running(
        cls, log: Path, account: Any = None, environment: Mapping[str, str] | None = None, before: Sequence[str] = ()
    ) -> Iterator[KernelServer]:
        """Yield one that runs as `account`, behind the command `before`."""
        with log.open("ab") as written:
            process = subprocess.Popen(
                [*before, sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=written,
                text=True,
                cwd=account.home if account else log.parent,
                env={**os.environ, **(account.environment if account else {}), **(environment or {})},
                user=account.uid if account and not before else None,
                group=account.gid if account and not before else None,
                extra_groups=[] if account and not before else None,
                start_new_session=True,
            )
        try:
            yield cls(process, log)
        finally:
            process.kill()
            process.communicate()

    def ask(self, order: str, **arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"order": order, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended: {self.log.read_text()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise OrderFailed(answer["error"])
        return answer["value"]

    @contextmanager
    def kernel(self, spec: Mapping[str, Any], **options: Any) -> Iterator[Kernel]:
        """Yield a kernel that answers; what still runs at the end is shut down."""
        kernel = Kernel(self, self.ask("start", spec=spec, **options))
        try:
            yield kernel
        finally:
            if self.process.poll() is None:
                self.ask("shutdown", kernel=kernel.id, now=True)


@dataclass
class Kernel:
    """One kernel of the server."""

    server: KernelServer
    id: str
    _asked: list[str] = field(default_factory=list)

    def run(self, code: str, *, seconds: float = 30, interrupt_after_s: float | None = None) -> str:
        """Return what `code` prints, or the name of what it raises."""
        return str(
            self.server.ask("run", kernel=self.id, code=code, seconds=seconds, interrupt_after_s=interrupt_after_s)
        )

    def restart(self, *, now: bool = False, ready: bool = True) -> None:
        self.server.ask("restart", kernel=self.id, now=now, ready=ready)

    def shutdown(self, *, now: bool = False) -> None:
        self.server.ask("shutdown", kernel=self.id, now=now)

    def wait_until_dead(self, seconds: float = 20) -> str:
        """Return what is said of its end."""
        return str(self.server.ask("dead", kernel=self.id, seconds=seconds))

    @property
    def said(self) -> list[str]:
        """What the provisioner has logged of it."""
        return list(self.server.ask("said", kernel=self.id))

    @property
    def facts(self) -> dict[str, Any]:
        """Its connection, the number of its companion, and where its files lie."""
        facts: dict[str, Any] = self.server.ask("facts", kernel=self.id)
        return facts


# --- in the server --------------------------------------------------------------------------------------------------


class _Kept(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())


class _Server:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kernel-server-"))
        self.kernels: dict[str, Any] = {}
        self.started = 0
        self.logged: dict[str, list[str]] = {}

    async def start(
        self, spec: dict[str, Any], folder: str = "", seconds: float = 60, ready: bool = True, variables: Any = None
    ) -> str:
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager

        self.started += 1
        name = f"kernel{self.started}"
        home = self.folder / "kernels" / name
        home.mkdir(parents=True)
        (home / "kernel.json").write_text(json.dumps(spec))
        specs = KernelSpecManager(kernel_dirs=[str(self.folder / "kernels")])
        connection = str(self.folder / f"{name}.json")
        log = logging.getLogger(name)
        log.setLevel(logging.INFO)
        self.logged[name] = []
        log.addHandler(_Kept(self.logged[name]))
        manager = AsyncKernelManager(kernel_name=name, kernel_spec_manager=specs, connection_file=connection, log=log)
        await manager.start_kernel(cwd=folder or str(Path.cwd()), env={**os.environ, **(variables or {})})
        client = manager.client()
        client.start_channels()
        self.kernels[name] = (manager, client)
        if ready:
            await client.wait_for_ready(timeout=seconds)
        return name

    async def ready(self, kernel: str, seconds: float) -> None:
        await self.kernels[kernel][1].wait_for_ready(timeout=seconds)

    async def run(self, kernel: str, code: str, seconds: float, interrupt_after_s: float | None) -> str:
        manager, client = self.kernels[kernel]
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            said.append(str(content.get("text") or content.get("ename") or ""))

        async def interrupt(after_s: float) -> None:
            await asyncio.sleep(after_s)
            await manager.interrupt_kernel()

        running = client._async_execute_interactive(code, output_hook=hear, timeout=seconds)
        if interrupt_after_s is not None:
            await asyncio.gather(running, interrupt(interrupt_after_s))
        else:
            await running
        return "".join(said)

    async def restart(self, kernel: str, now: bool, ready: bool) -> None:
        manager, client = self.kernels[kernel]
        await manager.restart_kernel(now=now)
        if ready:
            await client.wait_for_ready(timeout=60)

    async def shutdown(self, kernel: str, now: bool) -> None:
        manager, client = self.kernels.get(kernel, (None, None))
        if manager is not None:
            del self.kernels[kernel]
            client.stop_channels()
            await manager.shutdown_kernel(now=now)

    async def dead(self, kernel: str, seconds: float) -> str:
        manager, _ = self.kernels[kernel]
        give_up_at = time.monotonic() + seconds
        while await manager.is_alive():
            if time.monotonic() > give_up_at:
                raise TimeoutError("the kernel still lives")
            await asyncio.sleep(0.05)
        return str(manager.provisioner.last_words)

    async def said(self, kernel: str) -> list[str]:
        await self.kernels[kernel][0].is_alive()
        return self.logged[kernel]

    async def facts(self, kernel: str) -> dict[str, Any]:
        manager, _ = self.kernels[kernel]
        info = await manager.provisioner.get_provisioner_info()
        connection = {**info["connection_info"], "key": ""}
        return {"pid": info["pid"], "connection": connection, "file": manager.connection_file}


async def _serve() -> None:
    server = _Server()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        try:
            value = await getattr(server, order.pop("order"))(**order)
            answer = {"value": value}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve())
