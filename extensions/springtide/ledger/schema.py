"""The ledger's tables. What changes here needs a migration in ``migrations/versions``; a test compares the two.

Each table has the fields of its record in `springtide.ledger.records`, in their order and under their names, after
``number``: the order in which rows were written, which no clock that is set back can disturb.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Identity, Index, Integer, MetaData, Table, Text, text

# SQLite numbers rows by itself only where the column is called INTEGER.
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")

STILL_OPEN = text("state NOT IN ('finished', 'refused', 'lost')")
"""Rows of jobs to which something may still happen. The words themselves, as an index over these rows alone is used
only by questions that say them too: see `springtide.ledger.records.OVER`."""
STILL_THERE = text("state NOT IN ('destroyed', 'failed')")
"""Rows of machines that may still cost money."""

metadata = MetaData()


def _number() -> Column[int]:
    return Column("number", _NUMBER, Identity(), primary_key=True)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _whole(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)


def _figure(name: str, *, nullable: bool = True) -> Column[float]:
    return Column(name, Double, nullable=nullable)


jobs = Table(
    "jobs",
    metadata,
    _number(),
    Column("token", Text, nullable=False, unique=True),
    _text("site"),
    _text("user"),
    _text("account"),
    _text("name"),
    _text("scheduler_name"),
    _text("kind"),
    _text("dialect"),
    _text("job_id"),
    _text("state"),
    _text("cause"),
    Column("exit_status", BigInteger),
    _text("cancelled_by"),
    _text("reason"),
    _text("queue"),
    _text("project"),
    _whole("nodes"),
    _whole("cores"),
    _whole("memory_bytes"),
    _whole("walltime_s"),
    _whole("array_size"),
    _text("folder"),
    _text("output"),
    _text("errors"),
    _text("environment"),
    _figure("used_cpu_s"),
    Column("used_memory_bytes", BigInteger),
    _figure("used_walltime_s"),
    _whole("runs"),
    _figure("recorded", nullable=False),
    _figure("submitted"),
    _figure("started"),
    _figure("ended"),
    _figure("expected_start_low"),
    _figure("expected_start"),
    _figure("expected_start_high"),
    _text("server"),
    _text("origin"),
    Index("jobs_by_id", "site", "job_id"),
    Index("jobs_of_user", "user", "number"),
    Index("jobs_of_site", "site", "number"),
    Index("jobs_by_time", "recorded"),
    Index("jobs_by_start", "site", "started"),
    Index("jobs_still_open", "number", sqlite_where=STILL_OPEN, postgresql_where=STILL_OPEN),
)

machines = Table(
    "machines",
    metadata,
    _number(),
    Column("token", Text, nullable=False, unique=True),
    _text("site"),
    _text("user"),
    _text("name"),
    _text("machine_id"),
    _text("state"),
    _text("flavour"),
    _whole("cores"),
    _whole("memory_bytes"),
    _figure("price_per_hour", nullable=False),
    _figure("recorded", nullable=False),
    _figure("created"),
    _figure("destroyed"),
    _text("reason"),
    Index("machines_by_time", "recorded"),
    Index("machines_still_there", "number", sqlite_where=STILL_THERE, postgresql_where=STILL_THERE),
)

# No foreign key: the row is written before the job's own.
runs = Table(
    "runs",
    metadata,
    _number(),
    Column("token", Text, nullable=False, unique=True),
    Column("job", Text, nullable=False, unique=True),
    _text("user"),
    _text("application"),
    _text("site"),
    _text("folder"),
    _text("spec"),
    _text("parent"),
    _figure("progress"),
    _text("progress_words"),
    _figure("progress_time"),
    _figure("recorded", nullable=False),
    Index("runs_of_user", "user", "number"),
    Index("runs_by_time", "recorded"),
)

charges = Table(
    "charges",
    metadata,
    _number(),
    _text("token"),
    _text("holder"),
    Column("jobs", BigInteger, nullable=False),
    Column("cores", BigInteger, nullable=False),
    _figure("core_s", nullable=False),
    _figure("recorded", nullable=False),
    Index("charges_of_holder", "holder", "recorded"),
    Index("charges_of_run", "token"),
)

schedules = Table(
    "schedules",
    metadata,
    _number(),
    Column("token", Text, nullable=False, unique=True),
    _text("user"),
    _text("application"),
    _text("cron"),
    _text("zone"),
    _text("missed"),
    Column("overlap", Boolean, nullable=False),
    _text("request"),
    _text("keeper"),
    _text("state"),
    _figure("due"),
    _figure("last_due"),
    _text("last_run"),
    _text("problem"),
    _text("claimed_by"),
    _figure("claimed_until", nullable=False),
    _figure("recorded", nullable=False),
    Index("schedules_of_user", "user", "number"),
    Index("schedules_by_due", "due"),
)

# No foreign key: a token may be a job's, a machine's, or of neither.
events = Table(
    "events",
    metadata,
    _number(),
    _figure("time", nullable=False),
    _text("kind"),
    _text("token"),
    _text("text"),
    _text("actor"),
    _text("site"),
    Index("events_of_token", "token", "number"),
    Index("events_by_time", "time"),
)
