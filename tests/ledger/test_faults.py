"""Whatever is wrong with the database is said in words, and nothing is half-written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from springtide.errors import LedgerError
from springtide.ledger.engine import parse_place
from springtide.ledger.store import Ledger
from tests.ledger.make import job
from tests.support.need import require
from tests.support.postgres import Postgres

NOBODY = 65534
PATIENCE_S = 0.3
BATCH = 20


@contextmanager
def refused(words: str, *, transient: bool = False) -> Iterator[None]:
    """Expect a `LedgerError` that says `words`, with a hint."""
    with pytest.raises(LedgerError, match=words) as caught:
        yield
    assert caught.value.hint
    assert caught.value.transient is transient
    assert "\n" not in caught.value.message


@pytest.fixture
def ordinary() -> Iterator[Path]:
    """Yield a folder with a ledger of an ordinary account, as which the test runs: root may write everything."""
    folder = Path(tempfile.mkdtemp(prefix="springtide-ledger-", dir="/tmp"))
    Ledger.open(folder / "ledger.sqlite").close()
    user = os.geteuid()
    if user == 0:
        for path in (folder, *folder.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        os.seteuid(user)
        folder.chmod(0o700)
        shutil.rmtree(folder)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Yield a disk of 600 kB."""
    require("root's rights, for a small disk", os.geteuid() == 0, "run the tests as root")
    with mounted("600k") as disk:
        yield disk


@contextmanager
def mounted(size: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="springtide-disk-", dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
        subprocess.run(["umount", str(folder)], check=True)
    finally:
        # Nothing of it may stay on the machine, whatever still has it open.
        if folder.is_mount():
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def fill(ledger: Ledger) -> int:
    """Write until the disk is full; return how many jobs were written."""
    written = 0
    with refused("is full"):
        while written < 100_000:
            ledger.add_jobs([job(f"{written}-{number}", reason="x" * 1500) for number in range(BATCH)])
            written += BATCH
    return written


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[8192:-4096] = os.urandom(len(content) - 8192 - 4096)
    file.write_bytes(content)


# --- SQLite ---------------------------------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone(file: Path) -> None:
    with Ledger.open(file) as ledger:
        ledger.add_jobs([job("a")])
        assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in (file.parent, *file.parent.iterdir())} == {
            "state": 0o700,
            "ledger.sqlite": 0o600,
            "ledger.sqlite-wal": 0o600,
            "ledger.sqlite-shm": 0o600,
        }


def test_a_file_or_folder_that_is_there_keeps_its_mode(file: Path) -> None:
    file.parent.mkdir(mode=0o711)
    file.touch()
    file.chmod(0o640)
    Ledger.open(file).close()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o711
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_what_is_written_survives_a_power_cut(file: Path) -> None:
    names = ("journal_mode", "synchronous")
    with Ledger.open(file) as ledger, ledger._writes() as connection:
        settings = {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in names}
    assert settings == {"journal_mode": "wal", "synchronous": 2}


def test_a_locked_ledger_can_be_read_and_written_later(file: Path) -> None:
    with Ledger.open(file, patience_s=PATIENCE_S) as ledger:
        ledger.add_jobs([job("a")])
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with refused("locked", transient=True):
            ledger.add_jobs([job("b")])
        with refused("locked", transient=True):
            ledger.update_job("a", state="running")
        assert [one.state for one in ledger.jobs()] == ["submitting"]
        other.close()
        ledger.update_job("a", state="running")


def test_a_ledger_locked_while_it_is_made_can_be_made_later(file: Path) -> None:
    file.parent.mkdir()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with refused("locked", transient=True):
        Ledger.open(file, patience_s=PATIENCE_S)
    other.close()
    Ledger.open(file, patience_s=PATIENCE_S).close()


def test_a_full_disk_leaves_whole_batches_and_can_be_read(small_disk: Path) -> None:
    with Ledger.open(small_disk / "ledger.sqlite") as ledger:
        written = fill(ledger)
        assert written
        assert len(ledger.jobs()) == written
    with Ledger.open(small_disk / "ledger.sqlite") as ledger:
        assert len(ledger.jobs()) == written


def test_a_disk_with_room_again_is_written_again(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with Ledger.open(small_disk / "ledger.sqlite") as ledger:
        ballast.write_bytes(bytes(300_000))
        written = fill(ledger)
        ballast.unlink()
        ledger.add_jobs([job("a")])
        assert len(ledger.jobs()) == written + 1


def test_a_ledger_is_not_made_on_a_full_disk(small_disk: Path) -> None:
    with suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while ballast.write(bytes(4096)):
            pass
    with refused("is full"):
        Ledger.open(small_disk / "ledger.sqlite")


def test_a_read_only_file_is_said(ordinary: Path) -> None:
    (ordinary / "ledger.sqlite").chmod(0o400)
    with refused("read-only"), Ledger.open(ordinary / "ledger.sqlite") as ledger:
        ledger.add_jobs([job("a")])


def test_a_read_only_folder_is_said(ordinary: Path) -> None:
    ordinary.chmod(0o500)
    with refused("read-only|cannot be opened"), Ledger.open(ordinary / "ledger.sqlite") as ledger:
        ledger.add_jobs([job("a")])


@pytest.mark.parametrize("place", ["other.sqlite", "folder/ledger.sqlite"])
def test_a_ledger_is_not_made_in_a_read_only_folder(ordinary: Path, place: str) -> None:
    ordinary.chmod(0o500)
    with refused("cannot be opened"):
        Ledger.open(ordinary / place)


def test_a_read_only_disk_is_said(small_disk: Path) -> None:
    Ledger.open(small_disk / "ledger.sqlite").close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with refused("read-only|cannot be opened"), Ledger.open(small_disk / "ledger.sqlite") as ledger:
        ledger.add_jobs([job("a")])


def test_a_file_of_another_account_is_said(ordinary: Path) -> None:
    (ordinary / "ledger.sqlite").chmod(0o000)
    with refused("cannot be opened"):
        Ledger.open(ordinary / "ledger.sqlite")


@pytest.mark.parametrize("content", [b"this is not a database " * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_ledger_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    with refused("damaged or is no ledger"):
        Ledger.open(file)
    assert file.read_bytes() == content


def test_a_damaged_file_is_said(file: Path) -> None:
    with Ledger.open(file) as ledger:
        ledger.add_jobs([job(f"{number}", reason="x" * 300) for number in range(300)])
    damage(file)
    with refused("damaged"), Ledger.open(file) as ledger:
        ledger.jobs()


@pytest.mark.parametrize("place", ["", "below/a/file/ledger.sqlite"])
def test_a_place_that_can_hold_no_file_is_said(tmp_path: Path, place: str) -> None:
    (tmp_path / "below").write_text("")
    with refused("cannot be opened"):
        Ledger.open(tmp_path / place)


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


def test_a_server_that_stops_and_starts_loses_nothing(postgres: Postgres) -> None:
    with Ledger.open(place := postgres.new_database()) as ledger:
        ledger.add_jobs([job("a")])
        postgres.stop()
        try:
            with refused("does not answer", transient=True):
                ledger.add_jobs([job("b")])
            with refused("does not answer", transient=True):
                ledger.jobs()
            with refused("does not answer", transient=True):
                Ledger.open(place)
        finally:
            postgres.start()
        ledger.add_jobs([job("b")])
        assert len(ledger.jobs()) == 2


def test_a_connection_that_breaks_is_made_again(postgres: Postgres) -> None:
    with Ledger.open(postgres.new_database()) as ledger:
        with refused("does not answer", transient=True), ledger._writes() as connection:
            own = connection.execute(text("SELECT pg_backend_pid()")).scalar()
            postgres.sql(f"SELECT pg_terminate_backend({own}, 5000)")
            connection.execute(text("SELECT 1"))
        ledger.add_jobs([job("a")])


def test_nobody_there_is_said_without_the_password() -> None:
    with refused(r"postgresql://alice:\*\*\*@127.0.0.1:1/lab does not answer", transient=True):
        Ledger.open("postgresql://alice:hidden-words@127.0.0.1:1/lab?password=hidden-words")


def test_no_password_is_shown_wherever_it_stands() -> None:
    with pytest.raises(LedgerError) as caught:
        Ledger.open("postgresql://alice:hidden-words@127.0.0.1:1/lab?password=hidden-words")
    assert "hidden-words" not in str(caught.value)


def test_tables_that_are_locked_can_be_used_later(postgres: Postgres) -> None:
    place = postgres.new_database()
    other = create_engine(parse_place(place))
    with Ledger.open(place, patience_s=PATIENCE_S) as ledger:
        ledger.add_jobs([job("a")])
        with other.begin() as connection:
            connection.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
            with refused("locked", transient=True):
                ledger.update_job("a", state="running")
        ledger.update_job("a", state="running")
    other.dispose()


def test_a_database_of_somebody_else_is_said(postgres: Postgres) -> None:
    postgres.sql("DROP ROLE IF EXISTS bob; CREATE ROLE bob LOGIN")
    place = postgres.new_database().replace("springtide@", "bob@")
    with refused("refuses this account"):
        Ledger.open(place)


def test_a_read_only_server_is_said(postgres: Postgres) -> None:
    place = postgres.new_database()
    Ledger.open(place).close()
    postgres.sql(f"ALTER DATABASE {parse_place(place).database} SET default_transaction_read_only = on")
    with refused("read-only"), Ledger.open(place) as ledger:
        ledger.add_jobs([job("a")])


def test_a_servers_full_disk_leaves_whole_batches(postgres: Postgres) -> None:
    require("root's rights, for a small disk", os.geteuid() == 0, "run the tests as root")
    with mounted("12m") as disk:
        (disk / "tables").mkdir(mode=0o700)
        shutil.chown(disk / "tables", postgres.account)
        postgres.sql(f"CREATE TABLESPACE small LOCATION '{disk}/tables'")
        postgres.sql("CREATE DATABASE small TABLESPACE small")
        with Ledger.open(postgres.url("small")) as ledger:
            written = fill(ledger)
            # It cannot even be read reliably until there is room: the server has to write what it has in memory.
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            assert len(ledger.jobs()) == written
            ledger.add_jobs([job("a")])
        postgres.sql("DROP DATABASE small")
        postgres.sql("DROP TABLESPACE small")


def test_a_missing_driver_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with refused("driver for PostgreSQL is not installed"):
        Ledger.open("postgresql://127.0.0.1:1/lab")


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "mysql://alice@db/lab",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///a.sqlite?mode=ro",
        "://",
        "postgresql://h:x/d",
    ],
)
def test_an_address_that_can_hold_no_ledger_is_said(place: str) -> None:
    with refused("ledger"):
        Ledger.open(place)
