"""What the policy looks at: one frozen picture of work, pools and money. Seconds and core-seconds throughout.

All clocks count seconds since 1970 (UTC), as the ledger does. What is not known is None, never a guess: the policy has
its own, and says so.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class PoolKind(enum.Enum):
    """Where the workers of a pool live."""

    LOCAL = "local"
    """Processes on this machine: there at once, and free."""
    BATCH = "batch"
    """Jobs of a batch queue: free, after a wait."""
    CLOUD = "cloud"
    """Virtual machines: there after their boot, and paid for."""


class WorkerState(enum.Enum):
    """Where a worker is in its life, as the policy needs to know it."""

    QUEUED = "queued"
    """Asked of the queue; its job has not started."""
    BOOTING = "booting"
    """Its machine is asked for (the ledger has the row), or its job runs, and it has not registered yet."""
    RUNNING = "running"
    """Registered with the scheduler."""
    LEAVING = "leaving"
    """Being retired or cancelled: no capacity any more."""


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a worker may be expected to wait, in seconds from now."""

    median_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker of the plan, from the moment it is asked for until nothing of it is left."""

    name: str
    """Its name with Dask, unique in the cluster."""
    state: WorkerState
    asked: float
    """When it was asked for: a machine's billing is taken to begin here."""
    cores: int
    since: float = 0.0
    """When it entered its state; 0 where that is not known (then `asked` is taken)."""
    tasks: int = 0
    """Tasks it works on now."""
    idle_since: float | None = None
    """Since when it has had nothing to do; None while it has, and where it has not registered."""
    ends: float | None = None
    """When its walltime or its lifetime ends; None while that is not known."""
    holds_results: bool = False
    """Whether results lie in its memory that lie nowhere else."""
    wait: Wait | None = None
    """How much longer it may be expected to wait in the queue, where that is foreseen for this very job."""
    flavour: str = ""
    """Of a machine."""
    reason: str = ""
    """The scheduler's or cloud's own words for why it waits."""

    @property
    def here_since(self) -> float:
        """When it entered its state."""
        return self.since or self.asked


@dataclass(frozen=True, slots=True)
class CloudFlavour:
    """A size of machine and what an hour of it costs."""

    name: str
    cores: int
    price_per_hour: float
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Pool:
    """The workers of one site, and what the site allows and charges."""

    name: str
    kind: PoolKind
    maximum: int
    """The most workers at a time, those that are asked for included."""
    minimum: int = 0
    """So many are kept, work or none."""
    workers: tuple[Worker, ...] = ()
    cores: int = 1
    """Of each worker asked for here; of a machine, its flavour's count."""
    walltime_s: float | None = None
    """How long a worker may stay; None: as long as one likes."""
    wait: Wait | None = None
    """Expected of a worker that is asked for now."""
    largest_cores: int | None = None
    """Of its largest node: a worker with more never runs. None: not known."""
    refused: str = ""
    """Why nothing more can be asked of it now, in its own words (queue stopped, cloud unreachable, quota)."""
    flavours: tuple[CloudFlavour, ...] = ()
    quantum_s: float = 60.0
    """A machine is billed in whole steps of this length."""
    boot_s: float = 0.0
    """From asking for a machine until its worker has registered, as measured, or as foreseen."""
    bandwidth_bytes_per_s: float | None = None
    """Towards its workers, as measured; None: not measured."""
    asked_at: tuple[float, ...] = ()
    """When workers were asked for within the last minute, by the ledger, those that failed included."""


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do."""

    tasks: int = 0
    """Tasks that run or could run now."""
    core_seconds: float | None = None
    """Of them all; None: from their number and duration."""
    median_task_s: float | None = None
    """As measured; None before the first task has ended."""
    longest_task_s: float | None = None
    hint_task_s: float | None = None
    """What the user says of a task's duration: taken until one is measured."""
    cores_per_task: int = 1
    together: bool = False
    """Whether all tasks have to run at the same time, as the ranks of one MPI job do."""
    bytes_to_move: int = 0
    """That would have to reach the cloud before work could begin there."""
    empty_since: float | None = None
    """Since when there has been no task; None while there are some."""


@dataclass(frozen=True, slots=True)
class Money:
    """The budget and what is gone of it; `springtide.cluster.money.money_of` makes it from the ledger's rows."""

    budget: float | None = None
    """The most that may ever be spent; None: without limit."""
    spent: float = 0.0
    """By machines that are gone."""
    reserved: float = 0.0
    """By machines that exist or may exist, each until the end of its lifetime."""

    @property
    def left(self) -> float:
        """What may still be reserved."""
        return float("inf") if self.budget is None else self.budget - self.spent - self.reserved


@dataclass(frozen=True, slots=True)
class Observation:
    """All that a decision rests on."""

    now: float
    work: Work
    pools: tuple[Pool, ...]
    money: Money = Money()
