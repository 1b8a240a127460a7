"""For whom runs count, so that quotas can be kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make their table."""
    op.create_table(
        "charges",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), primary_key=True),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("jobs", sa.BigInteger, nullable=False),
        sa.Column("cores", sa.BigInteger, nullable=False),
        sa.Column("core_s", sa.Double, nullable=False),
        sa.Column("recorded", sa.Double, nullable=False),
    )
    op.create_index("charges_of_holder", "charges", ["holder", "recorded"])
    op.create_index("charges_of_run", "charges", ["token"])
