"""The kernel provisioner ``springtide``: Jupyter's way to a kernel of any environment under any runtime.

A kernelspec names it, with what to run and where::

    "metadata": {"kernel_provisioner": {"provisioner_name": "springtide", "config": {
        "environment": "lisa", "runtime": "docker", "digest": "sha256:…", "place": "sha256:…", "memory": "4G"}}}

Every start gets a companion process, which ends with the kernel and the kernel with it: see `springtide.kernels`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase
from traitlets import Bool, Dict, Float, Integer, List, Unicode

from springtide.environments.runtimes import Bind, Form, Prepared
from springtide.errors import EnvironmentsError, KernelError
from springtide.kernels import guard
from springtide.kernels.launch import Software, Start, environment_of_companion, fill_in, launch_of
from springtide.kernels.names import remove_orphans
from springtide.kernels.places import CHANNELS, KernelFolder
from springtide.kernels.words import end_in_words, language, start_in_words
from springtide.texts import translate
from springtide.units import describe_duration, parse_memory

_LOOKS_EVERY_S = 0.02
_READY_WITHIN_S = 120.0
_ENDS_WITHIN_S = 60.0
_SIGNAL, _END, _KILL = "signal {}\n", "end\n", "kill\n"
# Said before the first cell of the kernel that takes the place of one that died, and then never again.
_LAST_END = "SPRINGTIDE_LAST_END"
_SAY_LAST_END = (
    "get_ipython().events.register('pre_run_cell', (lambda told: lambda *_: told or (told.append(1), "
    f"print(__import__('os').environ['{_LAST_END}'], file=__import__('sys').stderr)))([]))"
)


class SpringtideProvisioner(KernelProvisionerBase):
    """Starts, watches and ends the kernels of one kernel manager, one after the other."""

    environment = Unicode(help="What people call the software: the environment's name.")
    runtime = Unicode("host", help="How an image becomes a process: docker, apptainer, …, host.")
    form = Unicode(help="In what form the runtime takes the image, where it knows several: sif, folder.")
    digest = Unicode(help="The image's digest; empty for host.")
    place = Unicode(help="Where the runtime finds the image: a name, a file, a folder.")
    variables = Dict(help="The image's own variables, where a folder cannot say them.")
    cores = Float(0, help="Cores it may use; 0: all.")
    memory = Unicode(help="Memory it may use: 512M, 4G; empty: all.")
    processes = Integer(0, help="Processes it may have; 0: no limit.")
    gpu = Bool(False, help="Whether it sees graphics cards.")
    binds = List(Unicode(), help="Folders it sees at their own paths, beside home and working folder.")

    last_words = ""
    """How the last kernel ended, if it was not asked to."""
    _process: subprocess.Popen[bytes] | None = None
    _folder: KernelFolder | None = None
    _own_environment: dict[str, str]
    _cwd = ""

    # --- before and at the start --------------------------------------------------------------------------------

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Choose the sockets and fill in the command. Called before each start, restarts included."""
        self._folder = self._folder or KernelFolder.made()
        manager = self.parent
        # Not ports: see `springtide.kernels.places`.
        manager.transport, manager.ip = "ipc", self._folder.sockets
        kwargs.pop("transport_encryption", None)
        session = kwargs.get("env", {}).get("JPY_SESSION_NAME", "")
        manager.write_connection_file(jupyter_session=session)
        self.connection_info = manager.get_connection_info()
        values = {
            **kwargs,
            "connection_file": self._folder.connection,
            "prefix": sys.prefix,
            "resource_dir": self.kernel_spec.resource_dir,
        }
        command = fill_in([*self.kernel_spec.argv, *kwargs.pop("extra_arguments", [])], values)
        before = dict(kwargs.get("env") or os.environ)
        prepared = await super().pre_launch(cmd=command, **kwargs)
        self._own_environment = {
            name: value for name, value in prepared["env"].items() if name in self.kernel_spec.env or name not in before
        }
        return prepared

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel and return once it listens.

        Raises
        ------
        KernelError
            If it does not; with its last lines.
        EnvironmentsError
            If the runtime is not here, or cannot do what is asked.
        """
        assert self._folder is not None
        await self._former_is_over()
        self._folder.clear()
        self._folder.write_connection(self.connection_info)
        self._cwd = str(kwargs.get("cwd") or Path.cwd())
        environment = environment_of_companion(kwargs["env"])
        start = Start(self._with_last_words(cmd), environment, self._own_environment, self._cwd)
        self._start_companion(start, environment)
        await self._kernel_listens()
        return self.connection_info

    def _with_last_words(self, command: list[str]) -> list[str]:
        """Have the new kernel say why its predecessor died."""
        self._own_environment.pop(_LAST_END, None)
        if not self.last_words or "ipykernel_launcher" not in command:
            return command
        self._own_environment[_LAST_END] = self.last_words
        return [*command, f"--IPKernelApp.code_to_run={_SAY_LAST_END}"]

    def _start_companion(self, start: Start, environment: dict[str, str]) -> None:
        assert self._folder is not None
        launch = launch_of(self._software(), start, self._folder)
        if not self._software().isolated:
            launch["environment"] |= self._own_environment
        if launch["engine"]:
            _remove_orphans_once(launch["engine"])
        guard.write_whole(self._folder.path / guard.LAUNCH, launch)
        self.last_words = ""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(self._folder.path)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _software(self) -> Software:
        try:
            memory_bytes = parse_memory(self.memory) if self.memory else 0
        except ValueError as error:
            raise KernelError(f"The memory of kernel “{self.name}” is “{self.memory}”.", f"Write {error}.") from None
        try:
            form = Form(self.form) if self.form else None
        except ValueError:
            known = ", ".join(one.value for one in Form)
            raise EnvironmentsError(f"There is no form “{self.form}” of images.", f"There are: {known}.") from None
        return Software(
            runtime=self.runtime,
            image=Prepared(self.digest, self.place, dict(self.variables)),
            form=form,
            cores=self.cores,
            memory_bytes=memory_bytes,
            processes=self.processes,
            gpu=self.gpu,
            binds=tuple(Bind(Path(folder), folder) for folder in self.binds),
        )

    @property
    def name(self) -> str:
        """What people call the kernel."""
        return str(self.kernel_spec.display_name or self.environment)

    async def _former_is_over(self) -> None:
        """Wait for a kernel whose end took longer than Jupyter waits: two would answer at the same sockets."""
        give_up_at = time.monotonic() + _ENDS_WITHIN_S
        while self._process is not None and self._process.poll() is None:
            if time.monotonic() > give_up_at:
                self._process.kill()
            await asyncio.sleep(_LOOKS_EVERY_S)
        self._process = None

    async def _kernel_listens(self) -> None:
        assert self._folder is not None
        assert self._process is not None
        sockets = [self._folder.socket(self.connection_info[f"{channel}_port"]) for channel in CHANNELS]  # type: ignore[literal-required]
        give_up_at = time.monotonic() + _READY_WITHIN_S
        while not all(socket.exists() for socket in sockets):
            if self._process.poll() is not None:
                report = self._folder.read(guard.REPORT)
                await self.cleanup()
                raise KernelError(start_in_words(report, self._software().memory_bytes, self.name))
            if time.monotonic() > give_up_at:
                await self.kill()
                await self.wait()
                waited = describe_duration(_READY_WITHIN_S)
                raise KernelError(translate(language(), "kernels.silent", kernel=self.name, duration=waited))
            await asyncio.sleep(_LOOKS_EVERY_S)

    # --- while it runs ------------------------------------------------------------------------------------------

    @property
    def has_process(self) -> bool:
        """Whether there is a kernel that was not waited for yet."""
        return self._process is not None

    async def poll(self) -> int | None:
        """Return None while the kernel runs, else its exit status. Called every few seconds, and at each request."""
        if self._process is None:
            return 0
        status = self._process.poll()
        if status is not None and not self.last_words:
            self._hear_last_words(status)
        return status

    def _hear_last_words(self, status: int) -> None:
        assert self._folder is not None
        report = self._folder.read(guard.REPORT) or {"status": 128 - status if status < 0 else status}
        self.last_words = end_in_words(report, self._software().memory_bytes, self.name)
        if self.last_words:
            self.log.warning("%s", self.last_words)

    async def wait(self) -> int | None:
        """Wait for the kernel's end. Called after a shutdown request, and after `kill`."""
        status: int | None = 0
        while self._process is not None and (status := await self.poll()) is None:
            await asyncio.sleep(_LOOKS_EVERY_S)
        self._let_go()
        return status

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel and what it has started; the two that end it end it properly."""
        await asyncio.sleep(0)
        self._order({9: _KILL, 15: _END}.get(int(signum), _SIGNAL.format(int(signum))))

    async def terminate(self, restart: bool = False) -> None:
        """Have it end. Called where a shutdown request has not been heeded."""
        self._order(_END)

    async def kill(self, restart: bool = False) -> None:
        """Have it end at once. Called for a shutdown or restart without grace."""
        self._order(_KILL)

    def _order(self, order: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            # It may just have ended.
            with contextlib.suppress(OSError):
                self._process.stdin.write(order.encode())
                self._process.stdin.flush()

    # --- after its end ------------------------------------------------------------------------------------------

    async def cleanup(self, restart: bool = False) -> None:
        """Remove its folder, unless a next kernel needs it. Called after each shutdown."""
        if restart:
            return
        await self._former_is_over()
        self._let_go()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def _let_go(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process = None

    def get_shutdown_wait_time(self, recommended: float = 5.0) -> float:
        """Return how long an orderly shutdown may take: a container's end is slower than a process's."""
        return max(recommended, 10.0)

    def resolve_path(self, path: str) -> str | None:
        """Return the file that `path` means to the kernel, None where there is none."""
        found = Path(self._cwd, Path(path).expanduser())
        return str(found.resolve()) if self._cwd and found.exists() else None

    async def get_provisioner_info(self) -> dict[str, Any]:
        """Return what identifies the kernel for those who keep such notes."""
        info: dict[str, Any] = await super().get_provisioner_info()
        return {**info, "pid": self._process.pid if self._process else None, "environment": self.environment}


@cache
def _remove_orphans_once(engine: str) -> None:
    """Remove containers of servers that were killed with all their companions; the kernel does not wait for that."""
    threading.Thread(target=remove_orphans, args=(engine,), daemon=True).start()
