"""A ledger of any version becomes one of today's, whoever opens it, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from springtide.errors import LedgerError
from springtide.ledger import migrate, migrations
from springtide.ledger.engine import make_engine, parse_place, writing
from springtide.ledger.records import OVER, Event, JobRecord, MachineRecord
from springtide.ledger.schema import STILL_OPEN, metadata
from springtide.ledger.store import Ledger
from tests.ledger.make import full

SCRIPT = ScriptDirectory(str(Path(migrations.__file__).parent))
FIRST = SCRIPT.get_base()


@pytest.fixture
def engine(new_place: str) -> Iterator[Engine]:
    made = make_engine(parse_place(new_place), 10)
    yield made
    made.dispose()


def indexes(engine: Engine) -> dict[str | None, list[str]]:
    """Return what the database itself says of its indexes: columns, and conditions in its own words."""
    tables = inspect(engine).get_table_names()
    found = [index for table in tables for index in inspect(engine).get_indexes(table)]
    return {
        index["name"]: [str(index["column_names"]), *map(str, index.get("dialect_options", {}).values())]
        for index in found
    }


def test_migrations_make_exactly_the_tables_that_the_code_uses(engine: Engine) -> None:
    migrate.migrate(engine)
    with engine.connect() as connection:
        options = {"version_table": migrate.VERSIONS, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []


def test_migrations_make_exactly_the_indexes_that_the_code_uses(engine: Engine) -> None:
    migrate.migrate(engine)
    made = indexes(engine)
    with writing(engine).begin() as connection:
        metadata.drop_all(connection)
        metadata.create_all(connection)
    assert indexes(engine) == made
    assert "finished" in str(made["jobs_still_open"])


def test_the_code_knows_the_newest_step() -> None:
    assert SCRIPT.get_heads() == [migrate.HEAD]


def test_a_ledger_of_the_first_version_becomes_one_of_today(engine: Engine, new_place: str) -> None:
    assert FIRST
    with writing(engine).begin() as connection:
        migrate.upgrade(connection, FIRST)
    with Ledger.open(new_place) as ledger:
        ledger.add_jobs([written := full(JobRecord, "a")])
        assert ledger.job("a") == written


def test_a_ledger_of_today_is_left_alone(new_place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger.open(new_place).close()
    monkeypatch.delattr(migrate, "upgrade")
    Ledger.open(new_place).close()


def test_a_ledger_of_a_newer_version_is_refused_and_left_alone(engine: Engine, new_place: str) -> None:
    Ledger.open(new_place).close()
    with writing(engine).begin() as connection:
        connection.execute(text(f"UPDATE {migrate.VERSIONS} SET version_num = '9999'"))
    with pytest.raises(LedgerError, match=r"newer Springtide.*9999") as caught:
        Ledger.open(new_place)
    assert "upgrade" in caught.value.hint
    assert not caught.value.transient
    with engine.connect() as connection:
        assert connection.execute(text(f"SELECT version_num FROM {migrate.VERSIONS}")).scalars().all() == ["9999"]


def test_a_migration_that_fails_leaves_nothing(engine: Engine, new_place: str) -> None:
    with writing(engine).begin() as connection:
        connection.execute(text("CREATE TABLE machines (something_else INTEGER)"))
    with pytest.raises(LedgerError, match="not a ledger's"):
        Ledger.open(new_place)
    assert inspect(engine).get_table_names() == ["machines"]


def test_a_ledger_may_share_its_database_with_the_hub(engine: Engine, new_place: str) -> None:
    with writing(engine).begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('4dc2d5a8c53c')"))
    with Ledger.open(new_place) as ledger:
        ledger.add_event(Event(1.0, "made", ""))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["4dc2d5a8c53c"]


@pytest.mark.parametrize(("name", "record"), [("jobs", JobRecord), ("machines", MachineRecord), ("events", Event)])
def test_a_table_has_its_records_fields_in_their_order(name: str, record: type) -> None:
    assert metadata.tables[name].c.keys() == ["number", *(field.name for field in fields(record))]


def test_jobs_that_are_over_are_those_that_are_not_open() -> None:
    assert str(STILL_OPEN) == f"state NOT IN {OVER}"


def test_questions_about_open_jobs_use_their_index(file: Path) -> None:
    Ledger.open(file).close()
    engine = create_engine(parse_place(file))
    with engine.connect() as connection:
        question = f"EXPLAIN QUERY PLAN SELECT * FROM jobs WHERE {STILL_OPEN} ORDER BY number DESC"
        assert "jobs_still_open" in str(connection.execute(text(question)).all())
    engine.dispose()
