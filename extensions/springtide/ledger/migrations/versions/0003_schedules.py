"""Applications that run again and again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ASKED = ("user", "application", "cron", "zone", "missed")
_STATE = ("request", "keeper", "state")


def upgrade() -> None:
    """Make their table."""
    op.create_table(
        "schedules",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), primary_key=True),
        sa.Column("token", sa.Text, nullable=False, unique=True),
        *[sa.Column(name, sa.Text, nullable=False) for name in _ASKED],
        sa.Column("overlap", sa.Boolean, nullable=False),
        *[sa.Column(name, sa.Text, nullable=False) for name in _STATE],
        sa.Column("due", sa.Double),
        sa.Column("last_due", sa.Double),
        sa.Column("last_run", sa.Text, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("claimed_by", sa.Text, nullable=False),
        sa.Column("claimed_until", sa.Double, nullable=False),
        sa.Column("recorded", sa.Double, nullable=False),
    )
    op.create_index("schedules_of_user", "schedules", ["user", "number"])
    op.create_index("schedules_by_due", "schedules", ["due"])
