"""Workers that are processes of this machine: the embedded default, which needs nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from springtide.cluster.bodies import Body, BodyState, Look, Terms
from springtide.cluster.observation import PoolKind
from springtide.cluster.pools.base import Contact, Pool, Started, tail_of
from springtide.errors import SpringtideError

_GRACE_S = 3.0


@dataclass
class LocalPool(Pool):
    """Processes of this machine, each with a nanny, in a session of its own."""

    name: str = "local"
    maximum: int = field(default_factory=lambda: 4 * (os.cpu_count() or 1))
    kind = PoolKind.LOCAL
    look_every_s = 0.5
    _contact: Contact | None = None
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _started: dict[str, float] = field(default_factory=dict)

    @property
    def terms(self) -> Terms:
        """What the cluster plans with."""
        return Terms(self.name, self.maximum, join_within_s=self.worker.death_timeout_s + 30.0)

    async def open(self, contact: Contact) -> None:
        """Remember where the scheduler is."""
        self._contact = contact

    async def start(self, names: Collection[str]) -> Mapping[str, Started]:
        """Start a process for each."""
        return {name: self._start(name) for name in names}

    def _start(self, name: str) -> Started:
        assert self._contact is not None
        try:
            with open(self._contact.folder / f"{name}.log", "ab", buffering=0) as log:
                process = subprocess.Popen(
                    self._command(name, self._contact),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C in a terminal is for the analysis, not for its workers.
                    start_new_session=True,
                )
        except OSError as error:
            return SpringtideError(f"The worker could not be started: {error}")
        self._processes[name] = process
        self._started[name] = time.time()
        return self._body(name)

    def _command(self, name: str, contact: Contact) -> list[str]:
        worker = self.worker
        # The same machine: where the scheduler listens, its workers can listen, too.
        where = () if worker.interface else ("--host", contact.host)
        return [
            worker.own_python,
            *("-m", "distributed.cli.dask_worker", contact.address, "--name", name),
            *("--nthreads", str(worker.cores), "--memory-limit", str(worker.memory_bytes), "--nanny"),
            *("--death-timeout", f"{worker.death_timeout_s:.0f}", *where),
            *("--local-directory", os.path.join(tempfile.gettempdir(), f"springtide-{os.getuid()}")),
            *contact.files.options,
            *worker.extra(),
        ]

    async def look(self, *, fresh: bool = False) -> Look:
        """Return which processes still run."""
        return Look({name: self._body(name) for name in self._processes})

    def _body(self, name: str) -> Body:
        process = self._processes[name]
        end = _end_of(process)
        if end is None:
            return Body(BodyState.RUNNING, str(process.pid), started=self._started[name])
        return Body(BodyState.ENDED, str(process.pid), f"The worker's process ended: {end}.")

    async def end(self, names: Collection[str]) -> None:
        """End the processes, the nanny's children included."""
        ending = [self._processes[name] for name in names if name in self._processes]
        for process in ending:
            _signal(process, signal.SIGTERM)
        give_up_at = time.monotonic() + _GRACE_S
        while any(_end_of(process) is None for process in ending) and time.monotonic() < give_up_at:
            await asyncio.sleep(0.02)
        for process in ending:
            # Whatever of the session outlived its leader, too.
            _signal(process, signal.SIGKILL)
            process.wait()

    async def log(self, name: str) -> str:
        """Return the end of the worker's log."""
        return tail_of(self._contact.folder / f"{name}.log") if self._contact else ""

    async def close(self) -> None:
        """End what is left of processes that ended by themselves."""
        await self.end(list(self._processes))


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    # Of one that was waited for, the number may be another's by now.
    if process.returncode is None:
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            return


def _end_of(process: subprocess.Popen[bytes]) -> str | None:
    """Return how a process ended, None while it runs; it is not waited for, so that its number stays its own."""
    if process.returncode is not None:
        return f"exit status {process.returncode}"
    found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    if found.si_code == os.CLD_EXITED:
        return f"exit status {found.si_status}"
    return f"signal {signal.Signals(found.si_status).name}"
