"""Connections to the database that holds the ledger: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from springtide.errors import LedgerError
from springtide.ledger.filesystem import is_shared

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_KINDS = "sqlite:///FILE or postgresql://USER@HOST/DATABASE"
_RETRY_S = 0.05
_WRITES = "springtide_writes"
# A server that vanished is noticed within half a minute; one that never answers, after ten seconds.
_POSTGRES = {
    "application_name": "springtide",
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def parse_place(place: str | Path) -> URL:
    """Return the URL of the ledger at `place`, a URL or the path of an SQLite file.

    Raises
    ------
    LedgerError
        If it is neither, or a database that cannot hold a ledger.
    """
    words = str(place)
    if "://" not in words:
        return URL.create("sqlite", database=str(Path(words).expanduser().absolute()))
    try:
        # The name that PostgreSQL's own tools take too.
        url = make_url(words.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):
        raise LedgerError("The ledger's address is not a database URL.", f"Write {_KINDS}.") from None
    match url.get_backend_name():
        case "postgresql":
            return url.set(drivername="postgresql+psycopg")
        case "sqlite" if url.database and url.database != ":memory:" and not url.query:
            return URL.create("sqlite", database=str(Path(url.database).expanduser().absolute()))
        case "sqlite":
            raise LedgerError("The ledger's SQLite database has to be a file.", f"Write {_KINDS}.")
    raise LedgerError(f"A ledger cannot be kept in {url.get_backend_name()}.", f"Write {_KINDS}.")


def describe(url: URL) -> str:
    """Return where the ledger lies, without its password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    # A password may stand among the parameters too.
    return url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)


def make_engine(url: URL, patience_s: float) -> Engine:
    """Return an engine for `url`; whatever is missing of an SQLite file is created.

    Parameters
    ----------
    patience_s : float
        How long to wait for a lock that another process holds.

    Raises
    ------
    LedgerError
        If the driver is missing.
    OSError
        If the file or its folder cannot be created.
    """
    return _sqlite(url, patience_s) if url.get_backend_name() == "sqlite" else _postgres(url, patience_s)


def writing(engine: Engine) -> Engine:
    """Return `engine` for transactions that write."""
    return engine.execution_options(**{_WRITES: True})


def _postgres(url: URL, patience_s: float) -> Engine:
    arguments = {**_POSTGRES, "options": f"-c lock_timeout={round(patience_s * 1000)}"}
    try:
        # What the URL itself says comes first.
        kept = {name: value for name, value in arguments.items() if name not in url.query}
        return create_engine(url, connect_args=kept, pool_pre_ping=True)
    except ImportError:
        raise LedgerError(
            "The driver for PostgreSQL is not installed.", "Install it with: pip install 'springtide[postgres]'."
        ) from None


def _sqlite(url: URL, patience_s: float) -> Engine:
    file = Path(str(url.database))
    _create(file)
    # With isolation_level None the driver leaves transactions to us: see `_begin`.
    engine = create_engine(url, connect_args={"timeout": patience_s, "isolation_level": None})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    try:
        _set_journal(engine, "delete" if is_shared(file) else "wal", patience_s)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _create(file: Path) -> None:
    """Create the file, where it is missing, for its owner only. SQLite gives its journals the same mode."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
    # One that exists is not opened here: closing it again would release the locks that this process has on it.
    if not file.exists():
        try:
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE))
        except FileExistsError:
            return


def _prepare(connection: sqlite3.Connection, _: Any) -> None:
    # What is written before a submission has to be there after a power cut.
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    # A transaction that begins reading cannot wait for a lock when it comes to write: SQLite refuses it at once.
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _set_journal(engine: Engine, mode: str, patience_s: float) -> None:
    """Set the file's journal mode, which stays. SQLite does not wait for others here, so that we do."""
    deadline = time.monotonic() + patience_s
    with closing(engine.raw_connection()) as raw, closing(raw.cursor()) as cursor:
        while cursor.execute("PRAGMA journal_mode").fetchone()[0] != mode:
            try:
                cursor.execute(f"PRAGMA journal_mode = {mode}")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_S)
