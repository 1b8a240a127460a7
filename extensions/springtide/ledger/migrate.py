"""Bringing a ledger's tables up to date, by whoever opens it first."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from springtide.errors import LedgerError
from springtide.ledger.engine import writing

HEAD = "0004"
"""The newest step in ``migrations/versions``."""
VERSIONS = "ledger_version"
"""The table that says which step was the last. Not Alembic's usual name: the database may be the hub's too."""

_MIGRATIONS = Path(__file__).parent / "migrations"
# Any number that nobody else uses as the key of a lock in the same database.
_LOCK = 0x5350_5249_4E47


def migrate(engine: Engine) -> None:
    """Bring the tables to `HEAD`, in one transaction that only one process at a time can be in.

    Raises
    ------
    LedgerError
        If a newer Springtide has written the ledger.
    """
    with engine.begin() as connection:
        if _version(connection) == HEAD:
            return
    # SQLite's transactions that write exclude each other by themselves.
    with writing(engine).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        if _version(connection) != HEAD:
            upgrade(connection)


def upgrade(connection: Connection, to: str = HEAD) -> None:
    """Run the steps that are missing, up to `to`.

    Raises
    ------
    LedgerError
        If the last step made is none of ours.
    """
    # Read when there is something to do: it takes longer than all the rest of opening a ledger.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(_MIGRATIONS))
    version = _version(connection)
    if version and version not in {step.revision for step in script.walk_revisions()}:
        raise LedgerError(
            f"A newer Springtide has written the ledger: its tables are of version {version}, this one knows {HEAD}.",
            "Use that Springtide here too: pip install --upgrade springtide.",
        )
    steps = EnvironmentContext(Config(), script, fn=lambda current, _: script._upgrade_revs(to, current))
    steps.configure(connection=connection, version_table=VERSIONS)
    steps.run_migrations()


def _version(connection: Connection) -> str:
    """Return the last step made, "" where there was none."""
    if not inspect(connection).has_table(VERSIONS):
        return ""
    return str(connection.execute(text(f"SELECT version_num FROM {VERSIONS}")).scalar() or "")
