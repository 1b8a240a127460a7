"""The words all dialects share: a job's state, its cause of end, what it asks for, and what a site has.

Times are seconds since 1970 (UTC), sizes are bytes, durations are seconds. None means that the scheduler did not say.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_TOKEN_BYTES = 6


class JobState(enum.Enum):
    """Where a job is in its life, in words common to all schedulers."""

    QUEUED = "queued"
    HELD = "held"
    WAITING = "waiting"
    RUNNING = "running"
    SUSPENDED = "suspended"
    ENDING = "ending"
    FINISHED = "finished"

    @property
    def alive(self) -> bool:
        """Whether the job still is, or will be, in the scheduler's hands."""
        return self is not JobState.FINISHED

    @property
    def placed(self) -> bool:
        """Whether the job has nodes."""
        return self in (JobState.RUNNING, JobState.SUSPENDED, JobState.ENDING)

    @property
    def waits(self) -> bool:
        """Whether the job has no nodes yet."""
        return self in (JobState.QUEUED, JobState.HELD, JobState.WAITING)


class Cause(enum.Enum):
    """Why a job ended, or why one that is alive is where it is (`REQUEUED`, `NEVER_RUNS`)."""

    EXIT = "exit"
    """Its script ended by itself; the exit status says how."""
    SIGNAL = "signal"
    """A signal ended it, and nobody is known to have sent it."""
    WALLTIME = "walltime"
    """It ran longer than it had asked for."""
    MEMORY = "memory"
    """It used more memory than it had asked for."""
    CANCELLED = "cancelled"
    """Somebody deleted it."""
    DEPENDENCY = "dependency"
    """A job it was to follow did not end as it should."""
    NEVER_RUNS = "never-runs"
    """The scheduler cannot ever start it; such a job may still stand in the queue."""
    REQUEUED = "requeued"
    """It ran, and the scheduler put it back into the queue: it starts again from the beginning."""
    LOST = "lost"
    """Its node failed, or nothing is left of it."""


@dataclass(frozen=True)
class Used:
    """What a job has used."""

    cpu_s: float | None = None
    memory_bytes: int | None = None
    """The most at any time."""
    walltime_s: float | None = None


@dataclass(frozen=True, slots=True)
class JobInfo:
    """What the scheduler said of one job."""

    id: str
    state: JobState
    name: str = ""
    """Empty where the bulk answer leaves it out."""
    owner: str = ""
    queue: str = ""
    nodes: tuple[str, ...] = ()
    reason: str = ""
    """The scheduler's own words for why the job waits or how it ended."""
    exit_status: int | None = None
    """What its script returned; 128 + the signal's number where a signal ended it."""
    cause: Cause | None = None
    """None while nothing is to be said, or where this answer does not say."""
    cancelled_by: str = ""
    cores: int = 0
    """Of all its nodes together."""
    memory_bytes: int = 0
    node_count: int = 0
    walltime_s: int | None = None
    submitted: float | None = None
    started: float | None = None
    ended: float | None = None
    expected_start: float | None = None
    """The scheduler's own forecast."""
    runs: int | None = None
    """How often it was started; more than once: it was requeued."""
    array: str = ""
    """Id of the array it is one of; empty for a single job and for the array as a whole."""
    used: Used | None = None


@dataclass(frozen=True)
class Node:
    """One node of a site."""

    name: str
    usable: bool
    """Whether it takes jobs, now or when those on it have ended."""
    state: str
    """The scheduler's own word."""
    cores: int
    free_cores: int
    memory_bytes: int = 0
    free_memory_bytes: int = 0
    gpus: int = 0
    queues: tuple[str, ...] = ()
    """The only queues whose jobs it takes; empty: all."""


@dataclass(frozen=True)
class QueueLimits:
    """One queue (Slurm: partition) of a site and the most that one job in it may ask for; None: no limit."""

    name: str
    default: bool = False
    open: bool = True
    """Whether it takes jobs."""
    started: bool = True
    """Whether its jobs are started."""
    walltime_s: int | None = None
    cores: int | None = None
    nodes: int | None = None
    memory_bytes: int | None = None
    cores_per_node: int | None = None
    waiting: int = 0
    running: int = 0
    routes: bool = False
    """Whether it only passes its jobs on to other queues."""


@dataclass(frozen=True)
class Capacity:
    """What a site has and what of it is free, as the scheduler counts it."""

    total_cores: int
    free_cores: int
    largest_node_cores: int
    largest_node_memory_bytes: int
    waiting_jobs: int
    waiting_reason: str = ""
    node: str = ""
    """The name of one of the nodes."""


@dataclass(frozen=True)
class JobArray:
    """Run the script once for each index; the scheduler tells each its own (``PBS_ARRAY_INDEX``, …)."""

    first: int
    last: int
    step: int = 1
    at_once: int = 0
    """The most that may run at a time; 0: no limit."""

    def __len__(self) -> int:
        return len(range(self.first, self.last + 1, self.step))


class After(enum.Enum):
    """When a job may follow another."""

    OK = "ok"
    """Once it ended with exit status 0."""
    FAILURE = "failure"
    """Once it ended otherwise."""
    ANY = "any"
    """Once it ended."""
    START = "start"
    """Once it started."""


@dataclass(frozen=True)
class Dependency:
    """Jobs that come first."""

    after: After
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Mail:
    """Whom to write to, and when."""

    to: tuple[str, ...] = ()
    """Empty: the owner."""
    at_begin: bool = False
    at_end: bool = False
    at_abort: bool = False


@dataclass(frozen=True)
class JobRequest:
    """A shell script to run with these resources."""

    body: str
    """Shell lines; secrets may stand here, as the script travels on standard input only."""
    name: str
    cores: int = 1
    """On each node."""
    memory_bytes: int = 2**30
    """On each node; 0: what the site gives by default."""
    walltime_s: int = 3600
    """0: what the site gives by default."""
    queue: str = ""
    account: str = ""
    directives: tuple[str, ...] = ()
    """Further directives without their prefix, in the words of the site's dialect."""
    nodes: int = 1
    ranks: int = 0
    """MPI processes on each node; 0: one for each core."""
    gpus: int = 0
    """On each node."""
    array: JobArray | None = None
    dependencies: tuple[Dependency, ...] = ()
    rerunnable: bool = False
    """Whether it may silently start again from the beginning when its node fails."""
    held: bool = False
    start_after: float | None = None
    """Not before this time."""
    output: str = "/dev/null"
    """Absolute path of its standard output; written while it runs. An array's jobs add ``.INDEX`` to it."""
    errors: str = ""
    """Absolute path of its standard error; empty: with the output."""
    mail: Mail | None = None
    shell: str = "/bin/bash -l"
    """What runs the body."""


@dataclass(frozen=True)
class Estimate:
    """When a job may be expected to start, in seconds from now."""

    median_s: float
    low_s: float
    high_s: float
    """Nine of ten such jobs start between `low_s` and `high_s`."""
    source: str
    """"free": there is room now; "scheduler": its own forecast; "history": this site's measured waits; "both"."""
    samples: int = 0
    """How many measured waits stand behind it."""


def new_job_token() -> str:
    """Return a fresh job name that finds its job again: 15 characters, the longest every scheduler accepts."""
    return f"st-{secrets.token_hex(_TOKEN_BYTES)}"


def first_waiting_reason(jobs: Mapping[str, JobInfo]) -> str:
    """Return the scheduler's words for the job that has waited longest, "" when none waits."""
    waiting = (job for job in jobs.values() if job.state is JobState.QUEUED and job.reason)
    return next((job.reason for job in waiting), "")


def capacity_of(nodes: Collection[Node], jobs: Mapping[str, JobInfo]) -> Capacity:
    """Return what the usable ones of `nodes` have together, and what waits for them."""
    usable = [node for node in nodes if node.usable]
    return Capacity(
        total_cores=sum(node.cores for node in usable),
        free_cores=sum(node.free_cores for node in usable),
        largest_node_cores=max((node.cores for node in usable), default=0),
        largest_node_memory_bytes=max((node.memory_bytes for node in usable), default=0),
        waiting_jobs=sum(job.state is JobState.QUEUED for job in jobs.values()),
        waiting_reason=first_waiting_reason(jobs),
        node=next((node.name for node in nodes), ""),
    )
