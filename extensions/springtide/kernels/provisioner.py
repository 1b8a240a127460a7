"""The kernel provisioner ``springtide``: Jupyter's way to a kernel of any environment under any runtime.

A kernelspec names it, with what to run and where::

    "metadata": {"kernel_provisioner": {"provisioner_name": "springtide", "config": {
        "environment": "lisa", "runtime": "docker", "digest": "sha256:…", "place": "sha256:…", "memory": "4G"}}}

With a ``site``, the kernel is a batch job there. Every start gets a companion process, which ends with the kernel and
the kernel with it: see `springtide.kernels`.
"""

from __future__ import annotations

import asyncio
import signal
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
from springtide.kernels import batch_kernel, guard
from springtide.kernels.batch_plan import batch_plan, folder_on_node
from springtide.kernels.companion import LOOKS_EVERY_S, Companion, program_of
from springtide.kernels.launch import Software, Start, environment_of_companion, fill_in, launch_of
from springtide.kernels.names import remove_orphans
from springtide.kernels.places import CHANNELS, KernelFolder
from springtide.kernels.words import end_in_words, language, start_in_words
from springtide.texts import translate
from springtide.units import describe_duration, parse_memory

_READY_WITHIN_S = 120.0
# A submission is given up later than that by the queue layer itself.
_SUBMITTED_WITHIN_S = 600.0
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
    site = Dict(help="A batch site with its name, as in the lab file; empty: this machine.")
    walltime = Unicode(help="At a batch site, how long it may run: 90m, 2h. Default: 2 h.")
    queue = Unicode(help="At a batch site, its queue; empty: the site's.")
    ledger = Unicode(help="At a batch site, where its job is written down; empty: this account's own ledger.")

    last_words = ""
    """How the last kernel ended, if it was not asked to."""
    _companion: Companion | None = None
    _waited_for = False
    _folder: KernelFolder | None = None
    _own_environment: dict[str, str]
    _cwd = ""

    @property
    def name(self) -> str:
        """What people call the kernel."""
        return str(self.kernel_spec.display_name or self.environment)

    # --- before and at the start --------------------------------------------------------------------------------

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Choose the sockets and fill in the command. Called before each start, restarts included."""
        manager = self.parent
        if self._folder is None:
            self._folder = KernelFolder.made()
            # One of a start that failed names another folder.
            manager.cleanup_connection_file()
        # Not ports: see `springtide.kernels.places`.
        manager.transport, manager.ip = "ipc", self._folder.sockets
        kwargs.pop("transport_encryption", None)
        manager.write_connection_file(jupyter_session=kwargs.get("env", {}).get("JPY_SESSION_NAME", ""))
        self.connection_info = manager.get_connection_info()
        inside = folder_on_node(self._folder) if self.site else self._folder
        places = {"connection_file": inside.connection, "prefix": sys.prefix}
        values = {**kwargs, **places, "resource_dir": self.kernel_spec.resource_dir}
        command = fill_in([*self.kernel_spec.argv, *kwargs.pop("extra_arguments", [])], values)
        prepared = await super().pre_launch(cmd=command, **kwargs)
        self._own_environment = {name: prepared["env"][name] for name in self.kernel_spec.env}
        return prepared

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel; return once it listens, at a batch site once its job is in the queue.

        A batch kernel that is restarted keeps its job.

        Raises
        ------
        KernelError
            If it does not; with its last lines.
        EnvironmentsError
            If the runtime is not here, or cannot do what is asked.
        """
        assert self._folder is not None
        self._cwd = str(kwargs.get("cwd") or Path.cwd())
        environment = environment_of_companion(kwargs["env"])
        start = Start(self._with_last_words(cmd), environment, self._own_environment, self._cwd)
        try:
            await self._start(start)
        except BaseException:
            # Jupyter forgets a kernel that did not start.
            await self.kill()
            await self.cleanup()
            self.parent.cleanup_connection_file()
            raise
        return self.connection_info

    async def _start(self, start: Start) -> None:
        assert self._folder is not None
        former = self._companion if self._companion is not None and self._companion.rests else None
        if former is None:
            await self._former_is_over()
            self._folder.clear()
        program = self._prepare_batch(start) if self.site else self._prepare(start)
        self.last_words, self._waited_for = "", False
        if former is not None:
            former.again()
        self._companion = former or Companion(program, self._folder, start.environment)
        await self._is_up(self._companion)

    def _with_last_words(self, command: list[str]) -> list[str]:
        """Have the new kernel say why its predecessor died."""
        if not self.last_words or "ipykernel_launcher" not in command:
            return command
        self._own_environment[_LAST_END] = self.last_words
        return [*command, f"--IPKernelApp.code_to_run={_SAY_LAST_END}"]

    def _prepare(self, start: Start) -> list[str]:
        assert self._folder is not None
        self._folder.write_connection(self.connection_info)
        launch = launch_of(self._software(), start, self._folder)
        if launch["engine"]:
            _remove_orphans_once(launch["engine"])
        guard.write_whole(self._folder.path / guard.LAUNCH, launch)
        return program_of(guard.__file__, alone=True)

    def _prepare_batch(self, start: Start) -> list[str]:
        assert self._folder is not None
        wishes = {"kernel": self.name, "walltime": self.walltime, "queue": self.queue, "ledger": self.ledger}
        plan = batch_plan(self._software(), start, self._folder, self.connection_info, self.site, **wishes)
        guard.write_whole(self._folder.path / batch_kernel.PLAN, plan)
        return program_of(batch_kernel.__name__, alone=False)

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

    async def _former_is_over(self) -> None:
        """Wait for a kernel whose end took longer than Jupyter waits: two would answer at the same sockets."""
        if self._companion is not None:
            await self._companion.is_over()
        self._let_go()

    async def _is_up(self, companion: Companion) -> None:
        ports = {name: number for name, number in self.connection_info.items() if name.endswith("_port")}
        sockets = [companion.folder.socket(int(str(ports[f"{channel}_port"]))) for channel in CHANNELS]
        signs = [companion.folder.path / batch_kernel.SUBMITTED] if self.site else sockets
        patience_s = _SUBMITTED_WITHIN_S if self.site else _READY_WITHIN_S
        give_up_at = time.monotonic() + patience_s
        while not all(sign.exists() for sign in signs):
            if companion.poll() is not None:
                raise KernelError(start_in_words(companion.report(), self._software().memory_bytes, self.name))
            if time.monotonic() > give_up_at:
                waited = describe_duration(patience_s)
                raise KernelError(translate(language(), "kernels.silent", kernel=self.name, duration=waited))
            await asyncio.sleep(LOOKS_EVERY_S)

    async def post_launch(self, **kwargs: Any) -> None:
        """Keep a batch kernel that has ended from being submitted again by itself. Called after each start."""
        restarter = getattr(self.parent, "_restarter", None)
        if self.site and restarter is not None:
            restarter.restart_limit = 0

    # --- while it runs ------------------------------------------------------------------------------------------

    @property
    def has_process(self) -> bool:
        """Whether there is a kernel that was not waited for yet."""
        return self._companion is not None and not self._waited_for

    async def poll(self) -> int | None:
        """Return None while the kernel runs, else its exit status. Called every few seconds, and at each request."""
        if self._companion is None or self._waited_for:
            return 0
        for words in self._companion.news(batch_kernel.SAID):
            self.log.info("%s", words)
        status = self._companion.poll()
        if status is not None and not self.last_words:
            self.last_words = end_in_words(self._companion.report(), self._software().memory_bytes, self.name)
            if self.last_words:
                self.log.warning("%s", self.last_words)
        return status

    async def wait(self) -> int | None:
        """Wait for the kernel's end. Called after a shutdown request, and after `kill`."""
        status: int | None = 0
        while self._companion is not None and (status := await self.poll()) is None:
            await asyncio.sleep(LOOKS_EVERY_S)
        if self._companion is not None and self._companion.rests:
            # A restart, if it is one, goes on with it.
            self._waited_for = True
        else:
            self._let_go()
        return status

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel. Called for an interrupt, where the kernelspec wants signals."""
        if self._companion is not None:
            self._companion.signal(int(signum))

    async def terminate(self, restart: bool = False) -> None:
        """Have it end. Called where a shutdown request has not been heeded."""
        await self.send_signal(signal.SIGTERM)

    async def kill(self, restart: bool = False) -> None:
        """Have it end at once. Called for a shutdown or restart without grace."""
        await self.send_signal(signal.SIGKILL)

    # --- after its end ------------------------------------------------------------------------------------------

    async def cleanup(self, restart: bool = False) -> None:
        """Remove its folder, unless a next kernel needs it. Called after each shutdown."""
        if restart:
            return
        await self._former_is_over()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def _let_go(self) -> None:
        if self._companion is not None:
            self._companion.let_go()
        self._companion = None

    def get_shutdown_wait_time(self, recommended: float = 5.0) -> float:
        """Return how long an orderly shutdown may take: the end of a container or a job is slower than a process's."""
        return max(recommended, 20.0 if self.site else 10.0)

    def resolve_path(self, path: str) -> str | None:
        """Return the file that `path` means to the kernel, None where there is none."""
        found = Path(self._cwd, Path(path).expanduser())
        return str(found.resolve()) if self._cwd and found.exists() else None

    async def get_provisioner_info(self) -> dict[str, Any]:
        """Return what identifies the kernel for those who keep such notes."""
        info: dict[str, Any] = await super().get_provisioner_info()
        return {**info, "pid": self._companion.pid if self._companion else None, "environment": self.environment}


@cache
def _remove_orphans_once(engine: str) -> None:
    """Remove containers of servers that were killed with all their companions; the kernel does not wait for that."""
    threading.Thread(target=remove_orphans, args=(engine,), daemon=True).start()
