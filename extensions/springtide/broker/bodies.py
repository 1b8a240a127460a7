"""What requests hold and what answers look like; the OpenAPI description is made from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Token = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{7}$")]
_Text = Annotated[str, Field(max_length=200)]
_Amount = Annotated[int, Field(ge=0, le=2**53)] | _Text | None
_Jobs = Annotated[list[_Text], Field(max_length=100)]
_Values = Annotated[dict[str, Any], Field(max_length=200)]
MOST_STEPS = 100


class _Body(BaseModel):
    """What people send: nothing unknown."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Options(_Body):
    """Where and how something runs."""

    site: _Text = ""
    """A site's name; "auto" or empty: where it may be expected to start first."""
    cores: _Amount = None
    memory: _Amount = None
    """Bytes, or a text such as ``4G``."""
    walltime: _Amount = None
    """Seconds, or a text such as ``2h``."""
    name: _Text = ""
    after: _Jobs = []
    """Jobs that must succeed first."""
    after_failure: _Jobs = []
    after_any: _Jobs = []
    token: Token | None = None
    """What the job is to be called. Who asks twice with the same token gets the same job."""
    sweep: Annotated[dict[str, _Text], Field(max_length=200)] = {}
    """Values of parameters as people type several: ``1..8``."""


class Submission(Options):
    """An application with its parameters. A list of values runs it once for each: a sweep."""

    application: _Text
    parameters: _Values = {}


class Changes(Options):
    """What changes when a job runs again."""

    parameters: _Values = {}


class Chain(_Body):
    """Steps that follow each other: ``after`` names other steps."""

    steps: Annotated[dict[_Text, Submission], Field(min_length=1, max_length=MOST_STEPS)]


class NewSchedule(Submission):
    """An application that is to run again and again."""

    cron: Annotated[str, Field(max_length=100)]
    """Five fields: minute, hour, day of the month, month, day of the week; or ``@daily``."""
    zone: _Text = ""
    """Name of the time zone; empty: that of the broker's machine."""
    missed: Literal["skip", "once", "all"] = "once"
    """What becomes of times at which the broker was stopped."""
    overlap: bool = False
    """Whether a run may start while the one before still goes on."""


class Schedule(BaseModel):
    """An application that runs again and again."""

    token: str
    user: str
    application: str
    cron: str
    zone: str
    missed: str
    overlap: bool
    state: str
    """``on``, ``paused`` or ``ended``."""
    due: list[str]
    """When it is due next, a few times."""
    last_due: str | None
    last_job: str | None
    problem: str | None
    """Why nothing was submitted when it was due last."""
    parameters: dict[str, Any]
    options: dict[str, Any]
    sweep: dict[str, str]
    recorded: str | None


class Amounts(BaseModel):
    """How much jobs take; null is without a limit."""

    jobs: int | None
    """Not over, each run of a sweep counted."""
    cores: int | None
    """Of those together."""
    core_hours: float | None
    """Within the period: used, and asked for by those that are not over."""


class Standing(BaseModel):
    """What somebody may have, and has spent of it."""

    whose: str
    """``user NAME`` or ``group NAME``."""
    period_s: float
    used: Amounts
    allowed: Amounts


class Job(BaseModel):
    """A job."""

    model_config = ConfigDict(extra="allow")

    token: str
    application: str
    site: str
    state: str
    user: str
    parameters: dict[str, Any]
    runs: int
    progress: float | None
    exit_status: int | None
    cause: str | None
    explanation: str | None
    recorded: str | None
    spec: dict[str, Any]


class Jobs(BaseModel):
    """A page of jobs, the newest first."""

    jobs: list[Job]
    next: str | None = None
    """What to give as ``before`` for the next page."""


class Cancelled(BaseModel):
    """What became of a wish to cancel."""

    cancelled: bool
    """False: it was over already."""


class Candidate(BaseModel):
    """A site that could run something."""

    site: str
    expected_start_s: tuple[float, float, float] | None
    """In how many seconds it may be expected to start: early, median, late."""
    objection: str | None
    """Why it can never run there."""


class Estimate(BaseModel):
    """What would happen."""

    application: str
    runs: int
    site: str
    reason: str
    candidates: list[Candidate]


class Application(BaseModel):
    """An application, as it is declared."""

    name: str
    environment: str
    declaration: dict[str, Any]
    parameters: dict[str, Any]
    """JSON schema of the parameters of a submission."""


class Run(BaseModel):
    """One run of a job."""

    index: int
    parameters: dict[str, Any]
    exit_status: int | None
    provenance: dict[str, Any]


class Description(BaseModel):
    """What a job's folder says of it."""

    runs: list[Run]
    outputs: dict[str, str]
    plots: dict[str, str]
    swept: list[str]
    folder: str


class OutputFile(BaseModel):
    """A file that a run has left."""

    file: str
    """Its name below the job's ``outputs``."""
    bytes: int
    modified: float


class Input(BaseModel):
    """A file that was sent."""

    file: str
    """What to give for a parameter of the kind ``file``."""


class Me(BaseModel):
    """Who calls."""

    name: str
    groups: list[str]
    scopes: list[str]
    account: str | None
    sites: list[str]


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None
    transient: bool = False
    field: str | None = None
    errors: list[dict[str, str]] = []
