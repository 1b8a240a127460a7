"""The local queue's database: what was submitted, and where each of its jobs is.

SQLite with a write-ahead log, synced at each commit. Several processes write: `submit`, `cancel`, the keeper, and the
shepherd of each job. Who may change what of a job is decided by its ``claim``, a number that grows each time the job
is given to a shepherd: a shepherd with an older claim changes nothing and starts nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from springtide.errors import QueueError, QueueUnreachable
from springtide.queues.local.directives import Submission
from springtide.queues.local.machine import Spool

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 10.0
_SMALLEST_ROOM_BYTES = 2**16
# Array index of a job that is not in an array.
SINGLE = -1
_SCHEMA = """
CREATE TABLE counter (next INTEGER NOT NULL);
INSERT INTO counter VALUES (1);
CREATE TABLE submissions (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, interpreter TEXT NOT NULL, cores INTEGER NOT NULL,
    memory INTEGER NOT NULL, walltime INTEGER NOT NULL, ranks INTEGER NOT NULL, is_array INTEGER NOT NULL,
    at_once INTEGER NOT NULL, rerunnable INTEGER NOT NULL, start_after REAL, output TEXT NOT NULL,
    errors TEXT NOT NULL, folder TEXT NOT NULL, umask INTEGER NOT NULL, submitted REAL NOT NULL,
    waits_for TEXT NOT NULL);
CREATE TABLE jobs (
    key INTEGER PRIMARY KEY, number INTEGER NOT NULL, position INTEGER NOT NULL, state TEXT NOT NULL,
    claim INTEGER NOT NULL DEFAULT 0, runs INTEGER NOT NULL DEFAULT 0, failures INTEGER NOT NULL DEFAULT 0,
    wish TEXT NOT NULL DEFAULT '', wished_by TEXT NOT NULL DEFAULT '', boot TEXT NOT NULL DEFAULT '',
    mark TEXT NOT NULL DEFAULT '', scratch TEXT NOT NULL DEFAULT '', shepherd INTEGER, shepherd_start INTEGER,
    leader INTEGER, leader_start INTEGER, started REAL, ended REAL, exit_status INTEGER, cause TEXT,
    reason TEXT NOT NULL DEFAULT '', cpu_s REAL, peak INTEGER, used_s REAL, UNIQUE (number, position));
CREATE INDEX live ON jobs (number, position) WHERE state != 'finished';
CREATE INDEX ended ON jobs (ended) WHERE state = 'finished';
"""
_JOINED = "SELECT * FROM jobs JOIN submissions USING (number)"
# The very words of the index `live`: without them SQLite does not use it.
LIVE = "jobs.state != 'finished'"


class StoreBusy(QueueUnreachable):
    """Another process holds the database for longer than can be waited for."""


class Store:
    """An open database.

    Raises
    ------
    QueueError
        From the constructor and every method, where the database cannot be read or written.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        with _explained(spool):
            self._connection = sqlite3.connect(spool.database, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA synchronous=FULL")
            self._bring_up_to_date()

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection inside one transaction: all of it is kept, or nothing."""
        with _explained(self.spool):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk ends the transaction by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Return the answer of a reading query."""
        with _explained(self.spool):
            return self._connection.execute(query, values).fetchall()

    def change(self, query: str, *values: object) -> int:
        """Run one writing query; how many rows it changed."""
        with self.writing() as connection:
            return connection.execute(query, values).rowcount

    def live_jobs(self) -> list[sqlite3.Row]:
        """Return all jobs that are not over, with their submissions, in the order they came."""
        return self.rows(f"{_JOINED} WHERE {LIVE} ORDER BY number, position")

    def jobs_of(self, numbers: Collection[int]) -> list[sqlite3.Row]:
        """Return all jobs of these submissions, ended ones included."""
        marks = ",".join("?" * len(numbers))
        return self.rows(f"{_JOINED} WHERE number IN ({marks}) ORDER BY number, position", *numbers)

    def ids_called(self, name: str) -> list[str]:
        """Return the id of the newest submission of this name, ended ones included; empty without any."""
        newest = "SELECT number, is_array FROM submissions WHERE name = ? ORDER BY number DESC LIMIT 1"
        return [f"{row['number']}[]" if row["is_array"] else str(row["number"]) for row in self.rows(newest, name)]

    def job(self, key: int) -> sqlite3.Row | None:
        """Return one job with its submission."""
        return next(iter(self.rows(f"{_JOINED} WHERE key = ?", key)), None)

    def add(self, submission: Submission, folder: str, umask: int) -> str:
        """Keep a submission and its script; its id.

        Neither is there when this fails. The script is written inside the transaction: the keeper removes scripts
        without a row, and waits for the transaction to end.
        """
        array, script = submission.array, None
        state = "held" if submission.held else "queued"
        positions = range(array.first, array.last + 1, array.step) if array else (SINGLE,)
        try:
            with self.writing() as connection:
                connection.execute("UPDATE counter SET next = next + 1")
                number = int(connection.execute("SELECT next - 1 FROM counter").fetchone()[0])
                script = self.spool.script(number)
                write_durably(script, submission.script)
                row = _row_of(submission) | {"number": number, "folder": folder, "umask": umask}
                connection.execute(f"INSERT INTO submissions ({','.join(row)}) VALUES (:{',:'.join(row)})", row)
                jobs = ((number, position, state) for position in positions)
                connection.executemany("INSERT INTO jobs (number, position, state) VALUES (?, ?, ?)", jobs)
        except BaseException:
            if script:
                script.unlink(missing_ok=True)
            raise
        return f"{number}[]" if array else str(number)

    def drop_script(self, number: int) -> None:
        """Remove a submission's script, which may hold secrets, once all its jobs are over."""
        if not self.rows(f"SELECT 1 FROM jobs WHERE number = ? AND {LIVE} LIMIT 1", number):
            with contextlib.suppress(OSError):
                self.spool.script(number).unlink(missing_ok=True)

    def _bring_up_to_date(self) -> None:
        if self._version() == SCHEMA_VERSION:
            return
        # One process at a time: switching to the write-ahead log does not wait for others.
        with (self.spool.folder / "create.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            version = self._version()
            if version > SCHEMA_VERSION:
                raise QueueError(f"The queue in {self.spool.folder} was written by a newer Springtide.")
            if version < SCHEMA_VERSION:
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.executescript(
                    f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
                )

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])


def id_of(row: Mapping[str, Any] | sqlite3.Row) -> str:
    """Return a job's id: "7", or "7[3]" in an array."""
    return f"{row['number']}[{row['position']}]" if row["is_array"] else str(row["number"])


def write_durably(path: os.PathLike[str], text: str) -> None:
    """Write a file that its owner alone may read, and that is whole after a power failure."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _row_of(submission: Submission) -> dict[str, Any]:
    return {
        "name": submission.name,
        "interpreter": json.dumps(submission.interpreter),
        "cores": submission.cores,
        "memory": submission.memory_bytes,
        "walltime": submission.walltime_s,
        "ranks": submission.ranks,
        "is_array": submission.array is not None,
        "at_once": submission.array.at_once if submission.array else 0,
        "rerunnable": submission.rerunnable,
        "start_after": submission.start_after,
        "output": submission.output,
        "errors": submission.errors,
        "submitted": time.time(),
        "waits_for": json.dumps([[needed.after.value, needed.ids] for needed in submission.after]),
    }


@contextlib.contextmanager
def _explained(spool: Spool) -> Iterator[None]:
    """Say what is wrong with the database, and what to do, instead of SQLite's words alone."""
    try:
        yield
    except sqlite3.Error as error:
        words, where = str(error), f"the queue in {spool.folder}"
        if "locked" in words or "busy" in words:
            raise StoreBusy(f"The database is locked: {where}.", "It is used by another process; try again.") from error
        if "full" in words or _disk_is(spool, "full"):
            raise QueueError(f"The disk is full: {where} cannot be changed.", "Free some space there.") from error
        if "readonly" in words or _disk_is(spool, "read-only"):
            raise QueueError(f"The disk is read-only: {where} cannot be changed.") from error
        raise QueueError(f"The database of {where} cannot be used: {words}.") from error
    except OSError as error:
        path = error.filename or spool.folder
        raise QueueError(f"{path} cannot be written: {error.strerror}; nothing was changed.") from error


def _disk_is(spool: Spool, state: str) -> bool:
    """Whether that is what ails the disk: SQLite says as little as that it cannot open or write a file."""
    with contextlib.suppress(OSError):
        disk = os.statvfs(spool.folder)
        full = disk.f_bavail * disk.f_frsize < _SMALLEST_ROOM_BYTES
        return full if state == "full" else bool(disk.f_flag & os.ST_RDONLY)
    return False
