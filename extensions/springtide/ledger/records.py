"""The rows of the ledger, as plain values.

Times are seconds since 1970 (UTC), sizes are bytes, durations are seconds; None is what nobody has said yet.
"""

from __future__ import annotations

from dataclasses import dataclass

SUBMITTING = "submitting"
"""State of a job whose row stands before its submission: it may or may not exist."""
REFUSED = "refused"
"""State of a job that the scheduler, or our own check, did not take. It never existed."""
LOST = "lost"
"""State of a job that should exist and does not: asked successfully, and not there."""
OVER = ("finished", REFUSED, LOST)
"""States after which nothing happens any more."""
ON = "on"
PAUSED = "paused"
ENDED = "ended"
"""States of a schedule."""


@dataclass(frozen=True)
class JobRecord:
    """One submission: what was asked, where it went, what became of it."""

    token: str
    """Random; the primary key. The end of the job's name at the scheduler."""
    site: str
    user: str
    """Whose it is, in the hub's words."""
    account: str
    """The account it was submitted as."""
    name: str
    """What its user calls it."""
    scheduler_name: str
    """The job's name at the scheduler, which finds it again: never the user's alone."""
    kind: str = "job"
    """"job", "session" or "worker"."""
    dialect: str = ""
    job_id: str = ""
    """The scheduler's id; empty until it has answered."""
    state: str = SUBMITTING
    """A word of `JobState`, or one of this module's."""
    cause: str = ""
    exit_status: int | None = None
    cancelled_by: str = ""
    reason: str = ""
    """The scheduler's own words."""
    queue: str = ""
    project: str = ""
    """Account or project charged."""
    nodes: int = 1
    cores: int = 1
    """Of all nodes together."""
    memory_bytes: int = 0
    """Of all nodes together."""
    walltime_s: int = 0
    array_size: int = 0
    """0: not an array."""
    folder: str = ""
    output: str = ""
    errors: str = ""
    """Empty: with the output."""
    environment: str = ""
    """Image digest or environment it ran in, where there is one."""
    used_cpu_s: float | None = None
    used_memory_bytes: int | None = None
    used_walltime_s: float | None = None
    runs: int = 0
    recorded: float = 0.0
    """When this row was written, before the submission."""
    submitted: float | None = None
    started: float | None = None
    ended: float | None = None
    expected_start_low: float | None = None
    """The interval in which it was expected to start, as foreseen when it was submitted."""
    expected_start: float | None = None
    expected_start_high: float | None = None
    server: str = ""
    """Of a session: the name of its server at the hub; empty: the user's default one."""
    origin: str = ""
    """Of a session: the hub that started it, which alone may end it."""

    @property
    def over(self) -> bool:
        """Whether nothing happens to it any more."""
        return self.state in OVER

    @property
    def waited_s(self) -> float | None:
        """How long it waited in the queue; None until it has started."""
        if self.started is None or self.submitted is None:
            return None
        return max(0.0, self.started - self.submitted)


@dataclass(frozen=True)
class MachineRecord:
    """One virtual machine of a cloud site."""

    token: str
    """Random; the primary key, and the machine's tag at the cloud."""
    site: str
    user: str
    name: str
    machine_id: str = ""
    """The cloud's id; empty until it has answered."""
    state: str = "creating"
    """"creating", "running", "destroying", "destroyed" or "failed"."""
    flavour: str = ""
    cores: int = 0
    memory_bytes: int = 0
    price_per_hour: float = 0.0
    recorded: float = 0.0
    created: float | None = None
    destroyed: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class RunRecord:
    """What an application was asked for: written before its job, which it can be submitted again from."""

    token: str
    """Random; the primary key, and what the job is called for ever."""
    job: str
    """Token of the job's own row, which is there once it is being submitted: the same one, or that of a further try
    where it is certain that the first made no job."""
    user: str
    application: str
    """``ENVIRONMENT/NAME``."""
    site: str
    folder: str
    spec: str
    """What was asked for, as JSON."""
    parent: str = ""
    """Token of the run that this one repeats."""
    progress: float | None = None
    """From 0 to 1, as its program said last."""
    progress_words: str = ""
    progress_time: float | None = None
    recorded: float = 0.0


@dataclass(frozen=True)
class ChargeRecord:
    """For whom a run counts, and how much: one for each quota that it falls under."""

    token: str
    """Of the run."""
    holder: str
    """``user NAME`` or ``group NAME``."""
    jobs: int
    cores: int
    core_s: float
    """Cores for the whole walltime, of all its jobs."""
    recorded: float


@dataclass(frozen=True)
class ScheduleRecord:
    """An application that runs again and again, when a cron expression is due."""

    token: str
    """Random; the primary key."""
    user: str
    application: str
    """``ENVIRONMENT/NAME``."""
    cron: str
    """Five fields."""
    zone: str
    """Name of the time zone in which it is due."""
    missed: str
    """What becomes of times at which nobody was there: "skip", "once" or "all"."""
    overlap: bool
    """Whether a run may start while the one before still goes on."""
    request: str
    """What is submitted, as JSON."""
    keeper: str = ""
    """Who starts it: "broker", or empty: its user's own account."""
    state: str = ON
    """"on", "paused" or "ended"."""
    due: float | None = None
    """When it is due next; None while it is not on, or if that never comes."""
    last_due: float | None = None
    last_run: str = ""
    """Token of the run that was submitted last."""
    problem: str = ""
    """Why nothing was submitted when it was due last."""
    claimed_by: str = ""
    """Which process starts what is due just now."""
    claimed_until: float = 0.0
    """Until then, unless it says so again."""
    recorded: float = 0.0


@dataclass(frozen=True)
class Event:
    """Something that happened to a job or a machine."""

    time: float
    kind: str
    """A short word: "submitted", "adopted", "state", "cancelled", "refused", "lost", …."""
    token: str
    """Of the job or machine; empty: of the site or the ledger itself."""
    text: str = ""
    actor: str = ""
    """Who made it happen; empty: the scheduler or Springtide itself."""
    site: str = ""
