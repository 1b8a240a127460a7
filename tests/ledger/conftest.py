"""Ledgers in both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.ledger.engine import make_engine, parse_place, writing
from springtide.ledger.schema import metadata
from springtide.ledger.store import Ledger
from tests.support import logs
from tests.support.need import require
from tests.support.postgres import Postgres, find_programs, running_postgres

BOTH = ("sqlite", "postgresql")


@pytest.fixture(scope="package")
def postgres() -> Iterator[Postgres]:
    """Yield a PostgreSQL server, stopped when these tests have ended."""
    programs = find_programs()
    require("PostgreSQL", programs)
    assert programs
    with running_postgres(programs) as server:
        logs.show_on_failure("postgres", lambda: [server.log])
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where a ledger in SQLite is to lie."""
    return tmp_path / "state" / "ledger.sqlite"


@pytest.fixture(params=BOTH)
def new_place(request: pytest.FixtureRequest) -> str:
    """Return the address of a ledger that is still to be made."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("file"))
    return str(request.getfixturevalue("postgres").new_database())


@pytest.fixture(scope="package", params=BOTH)
def shared_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "sqlite":
        return str(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
    return str(request.getfixturevalue("postgres").new_database())


@pytest.fixture
def ledger(shared_place: str) -> Iterator[Ledger]:
    """Yield an empty ledger."""
    with Ledger.open(shared_place) as opened:
        empty(shared_place)
        yield opened


@pytest.fixture
def place(ledger: Ledger, shared_place: str) -> str:
    """Return the address of `ledger`."""
    return shared_place


def empty(place: str) -> None:
    """Remove all rows."""
    engine = make_engine(parse_place(place), 10)
    with writing(engine).begin() as connection:
        for table in metadata.tables.values():
            connection.execute(table.delete())
    engine.dispose()
