"""What a database complains of, in words: what is wrong, what to do, and whether waiting helps."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from springtide.errors import LedgerError
from springtide.ledger.engine import describe


@dataclass(frozen=True)
class _Trouble:
    """``{place}`` is where the ledger lies; the database's own words follow `message`."""

    message: str
    hint: str
    transient: bool = False


_BUSY = _Trouble(
    "The ledger {place} is locked by another process.",
    "Try again in a moment; if it lasts, find the process that holds it (fuser -v FILE; pg_locks in PostgreSQL).",
    transient=True,
)
_FULL = _Trouble("The disk that holds the ledger {place} is full.", "Make room there. Nothing was half-written.")
_READ_ONLY = _Trouble(
    "The ledger {place} cannot be written: it, its folder or its disk is read-only.",
    "Let the account that runs Springtide write there, or name another: hub.ledger in the lab file, or --ledger.",
)
_CLOSED = _Trouble(
    "The ledger {place} cannot be opened.",
    "See that the file and its folder exist and belong to the account that runs Springtide.",
)
_DAMAGED = _Trouble(
    "The ledger {place} is damaged or is no ledger.",
    "Move it away and start again with an empty one, or a copy; sqlite3's .recover saves what can be read.",
)
_DISK = _Trouble(
    "The disk that holds the ledger {place} fails.", "Look at the disk and at the system's log: dmesg. Is it mounted?"
)
_UNREACHABLE = _Trouble(
    "The database of the ledger {place} does not answer.",
    "See that PostgreSQL runs, that its address is right and that it lets this account in.",
    transient=True,
)
_REFUSED = _Trouble(
    "The database of the ledger {place} refuses this account.",
    "Give it a database of its own: CREATE DATABASE springtide OWNER its_account.",
)
_CONFLICT = _Trouble("The ledger {place} has such a row already.", "A token is used once; make a new one.")
_VALUE = _Trouble(
    "The ledger {place} cannot hold a value.",
    "It is of a wrong kind, missing, or beyond 2**63: a mistake of Springtide.",
)
_TABLES = _Trouble(
    "The tables in {place} are not a ledger's.",
    "Give the ledger a database of its own: hub.ledger in the lab file, or --ledger.",
)
_UNKNOWN = _Trouble("The ledger {place} cannot be used.", "Look at the database's own words and its log.")

# By SQLite's result codes: extended ones before the primary ones, which are their low bytes.
_SQLITE = {
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: _CONFLICT,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_PROTOCOL: _BUSY,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _CLOSED,
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_IOERR: _DISK,
    sqlite3.SQLITE_CONSTRAINT: _VALUE,
    sqlite3.SQLITE_TOOBIG: _VALUE,
    sqlite3.SQLITE_ERROR: _TABLES,
}

# By PostgreSQL's SQLSTATE: whole codes before classes.
_POSTGRES = {
    "23505": _CONFLICT,
    "53100": _FULL,
    "25006": _READ_ONLY,
    "42501": _REFUSED,
    "55P03": _BUSY,
    "57014": _BUSY,
    "40": _BUSY,
    "08": _UNREACHABLE,
    "53": _UNREACHABLE,
    "57": _UNREACHABLE,
    "28": _REFUSED,
    "3D": _REFUSED,
    "22": _VALUE,
    "23": _VALUE,
    "42": _TABLES,
    "58": _DISK,
    "XX": _DAMAGED,
}


@contextmanager
def in_words(url: URL) -> Iterator[None]:
    """Turn whatever the database, the driver or the disk complains of into a `LedgerError`."""
    try:
        yield
    except DBAPIError as error:
        trouble = _disconnected(error) or _trouble_of(error.orig)
        raise _error(trouble, url, error.orig or error) from error
    except (NoFreeConnection, DisconnectionError) as error:
        raise _error(_BUSY, url, error) from error
    except SQLAlchemyError as error:
        raise _error(_UNKNOWN, url, error) from error
    except sqlite3.Error as error:
        raise _error(_trouble_of(error), url, error) from error
    except OverflowError as error:
        raise _error(_VALUE, url, error) from error
    except OSError as error:
        raise _error(_CLOSED, url, error.strerror or error) from error


def _disconnected(error: DBAPIError) -> _Trouble | None:
    return _UNREACHABLE if error.connection_invalidated else None


def _trouble_of(error: BaseException | None) -> _Trouble:
    if isinstance(error, sqlite3.Error):
        # Without a code it is Python's part of the driver that complains.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CONSTRAINT)
        return _SQLITE.get(code) or _SQLITE.get(code & 0xFF, _UNKNOWN)
    state = getattr(error, "sqlstate", None)
    if state is None:
        # Without an answer there is no code: the connection was not made, or broke.
        return _UNREACHABLE if type(error).__name__.endswith(("OperationalError", "ConnectionTimeout")) else _VALUE
    return _POSTGRES.get(state) or _POSTGRES.get(state[:2], _UNKNOWN)


def _error(trouble: _Trouble, url: URL, words: object) -> LedgerError:
    place = describe(url)
    # PostgreSQL adds the whole row, with everything that stands in it.
    said = " ".join(str(getattr(getattr(words, "diag", None), "message_primary", None) or words).split())
    message = f"{trouble.message.format(place=place)} ({said})" if said else trouble.message.format(place=place)
    return LedgerError(message, trouble.hint.format(place=place), transient=trouble.transient)
