"""What every pool does, whatever its place.

A pool that cannot ask its place says so with an outage; it never takes what it cannot see for gone.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from springtide.cluster.bodies import Body, Look, Order, Terms
from springtide.cluster.keys import ClusterKeys, KeyFiles
from springtide.cluster.observation import PoolKind, Wait
from springtide.environments.packages import ThisImage
from springtide.errors import SpringtideError
from springtide.ledger.store import Ledger
from springtide.units import parse_memory, parse_walltime

Started = Body | SpringtideError
"""What became of a start: what was accepted, or why not; transient: nobody knows."""


@dataclass(frozen=True)
class Contact:
    """What a pool has to know of its cluster before it starts a worker."""

    cluster: str
    """Name of the cluster: part of the names of jobs and machines."""
    address: str
    """Where workers reach the scheduler."""
    host: str
    """Where the scheduler listens on this machine."""
    folder: Path
    """Of this cluster, on the shared file system: keys and logs. Nobody else can enter it."""
    keys: ClusterKeys
    files: KeyFiles
    ledger: Ledger
    user: str


@dataclass(frozen=True)
class WorkerOptions:
    """How the workers of a pool are started.

    Parameters
    ----------
    cores : int
        Threads of a worker.
    memory : int or str
        Its memory: bytes, or "4G".
    death_timeout_s : float
        How long a worker without its scheduler waits for it; then it ends, and its job or machine with it.
    python : str
        Python of the workers; empty: this process's own, and on a machine of its own that of its image.
    interface : str
        Network interface they listen on; empty: the one that leads to the scheduler.
    worker_ports, nanny_ports : str
        Ports they listen on: "9000:9020"; empty: any.
    local_directory : str
        Where they spill to; a shell word, so that ``$TMPDIR`` of the node may stand in it.
    options : tuple of str
        Further options of ``dask worker``.
    """

    cores: int = 1
    memory: int | str = 2 * 2**30
    death_timeout_s: float = 60.0
    python: str = ""
    interface: str = ""
    worker_ports: str = ""
    nanny_ports: str = ""
    local_directory: str = '"${TMPDIR:-/tmp}"'
    options: tuple[str, ...] = ()

    @property
    def own_python(self) -> str:
        """Python of workers that see this machine's files."""
        return self.python or sys.executable

    @property
    def memory_bytes(self) -> int:
        """Memory of a worker."""
        return parse_memory(self.memory) if isinstance(self.memory, str) else self.memory

    def extra(self, lifetime_s: float = 0.0) -> list[str]:
        """Return the options of ``dask worker`` beyond name, threads, memory, keys and death timeout."""
        pairs = {
            "--interface": self.interface,
            "--worker-port": self.worker_ports,
            "--nanny-port": self.nanny_ports,
            "--lifetime": f"{lifetime_s:.0f}s" if lifetime_s else "",
        }
        given = [word for option, value in pairs.items() if value for word in (option, value)]
        # Nobody looks at a worker's own dashboard, and it would take part of a second to start.
        return ["--no-dashboard", *given, *self.options]


@dataclass
class Pool(ABC):
    """The workers of one cluster that live in one place."""

    name: str
    worker: WorkerOptions = field(default_factory=WorkerOptions)
    maximum: int = 1000
    kind: ClassVar[PoolKind]
    together = True
    """Whether many starts are one call, rather than each a call of its own that may be slow."""
    look_every_s = 5.0

    @property
    def terms(self) -> Terms:
        """What the cluster plans with."""
        return Terms(self.name, self.maximum)

    @abstractmethod
    async def open(self, contact: Contact) -> None:
        """Make ready. Called once, when the scheduler's address is known.

        Raises
        ------
        SpringtideError
            If there can be no worker here at all.
        """

    @abstractmethod
    async def start(self, names: Mapping[str, Order]) -> Mapping[str, Started]:
        """Ask for workers; return as soon as queue or cloud have accepted. Called by the reconciler."""

    @abstractmethod
    async def look(self, *, fresh: bool = False) -> Look:
        """Return what has become of all workers that were ever asked for. Called by the reconciler at each interval.

        Parameters
        ----------
        fresh : bool
            Whether something has happened, so that an older answer will not do.
        """

    @abstractmethod
    async def end(self, names: Collection[str]) -> None:
        """Remove processes, jobs or machines, whatever they do; those that are not there are no error.

        Raises
        ------
        SpringtideError
            If the place could not be asked: call again.
        """

    async def expected_wait(self) -> Wait | None:
        """Return how long a worker asked for now may wait; None where nothing is known. Called before each decision."""
        return None

    def offer(self) -> dict[str, Any]:
        """Return what else the policy has to know of the pool: further fields of `observation.Pool`."""
        return {}

    def cores_of(self, flavour: str) -> int:
        """Return the cores of a worker of that flavour."""
        return self.worker.cores

    @abstractmethod
    async def log(self, name: str) -> str:
        """Return the end of what a worker wrote; empty where nothing is known."""

    async def check_image(self, session: ThisImage) -> None:  # noqa: B027  # most have no image, or the session's
        """Return if the workers run in the image that the session runs in. Called once it is open.

        Raises
        ------
        DifferentImages
            If they do not; the message names the packages that differ.
        """

    async def close(self) -> None:  # noqa: B027  # most pools have opened nothing
        """Give back what was opened. Called once, when nothing is left in the pool."""


def seconds(duration: float | str) -> int:
    """Return a duration given in seconds, or as "2h" or "01:30:00"."""
    return parse_walltime(duration) if isinstance(duration, str) else int(duration)


def tail_of(path: Path, most_bytes: int = 20_000) -> str:
    """Return the end of a log file, "" where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - most_bytes))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
