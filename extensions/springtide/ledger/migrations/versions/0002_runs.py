"""Runs of applications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make their table."""
    op.create_table(
        "runs",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), primary_key=True),
        sa.Column("token", sa.Text, nullable=False, unique=True),
        sa.Column("job", sa.Text, nullable=False, unique=True),
        *[sa.Column(name, sa.Text, nullable=False) for name in ("user", "application", "site", "folder", "spec")],
        sa.Column("parent", sa.Text, nullable=False),
        sa.Column("progress", sa.Double),
        sa.Column("progress_words", sa.Text, nullable=False),
        sa.Column("progress_time", sa.Double),
        sa.Column("recorded", sa.Double, nullable=False),
    )
    op.create_index("runs_of_user", "runs", ["user", "number"])
    op.create_index("runs_by_time", "runs", ["recorded"])
