"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _number() -> sa.Column[int]:
    return sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), primary_key=True)


def _token() -> sa.Column[str]:
    return sa.Column("token", sa.Text, nullable=False, unique=True)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _whole(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def _figures(*names: str, nullable: bool = True) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Double, nullable=nullable) for name in names]


def upgrade() -> None:
    """Make them."""
    _make_jobs()
    _make_machines()
    _make_events()


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        _number(),
        _token(),
        *_texts("site", "user", "account", "name", "scheduler_name", "kind", "dialect", "job_id", "state", "cause"),
        sa.Column("exit_status", sa.BigInteger),
        *_texts("cancelled_by", "reason", "queue", "project"),
        *_whole("nodes", "cores", "memory_bytes", "walltime_s", "array_size"),
        *_texts("folder", "output", "errors", "environment"),
        *_figures("used_cpu_s"),
        sa.Column("used_memory_bytes", sa.BigInteger),
        *_figures("used_walltime_s"),
        *_whole("runs"),
        *_figures("recorded", nullable=False),
        *_figures("submitted", "started", "ended", "expected_start_low", "expected_start", "expected_start_high"),
        *_texts("server", "origin"),
    )
    op.create_index("jobs_by_id", "jobs", ["site", "job_id"])
    op.create_index("jobs_of_user", "jobs", ["user", "number"])
    op.create_index("jobs_of_site", "jobs", ["site", "number"])
    op.create_index("jobs_by_time", "jobs", ["recorded"])
    op.create_index("jobs_by_start", "jobs", ["site", "started"])
    still_open = sa.text("state NOT IN ('finished', 'refused', 'lost')")
    op.create_index("jobs_still_open", "jobs", ["number"], sqlite_where=still_open, postgresql_where=still_open)


def _make_machines() -> None:
    op.create_table(
        "machines",
        _number(),
        _token(),
        *_texts("site", "user", "name", "machine_id", "state", "flavour"),
        *_whole("cores", "memory_bytes"),
        *_figures("price_per_hour", "recorded", nullable=False),
        *_figures("created", "destroyed"),
        *_texts("reason"),
    )
    op.create_index("machines_by_time", "machines", ["recorded"])
    there = sa.text("state NOT IN ('destroyed', 'failed')")
    op.create_index("machines_still_there", "machines", ["number"], sqlite_where=there, postgresql_where=there)


def _make_events() -> None:
    op.create_table(
        "events",
        _number(),
        *_figures("time", nullable=False),
        *_texts("kind", "token", "text", "actor", "site"),
    )
    op.create_index("events_of_token", "events", ["token", "number"])
    op.create_index("events_by_time", "events", ["time"])
