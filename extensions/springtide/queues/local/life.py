"""A job's life in the local queue: every change of its state, each one transaction.

::

    held <-> queued -> running [-> ending] -> finished
                ^---------'  its owner's wish, or its shepherd was lost and it may run again

What a person wishes of a running job stands in ``wish``, and its shepherd fulfils it.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass

from springtide.errors import SubmitRefused
from springtide.queues.local.directives import parse_id
from springtide.queues.local.processes import ProcessName
from springtide.queues.local.store import Store
from springtide.queues.model import Cause

# As in PBS: a job that was started so often is not tried again by itself.
_MOST_RUNS = 20
_MOST_FAILED_STARTS = 3
_FINISH = "UPDATE jobs SET state = 'finished', ended = :now, cause = :cause, reason = :reason"


@dataclass(frozen=True)
class Outcome:
    """How one run of a job ended."""

    cause: Cause
    reason: str = ""
    exit_status: int | None = None
    cpu_s: float | None = None
    memory_bytes: int | None = None
    walltime_s: float | None = None


def selected(store: Store, job_id: str) -> list[sqlite3.Row]:
    """Return the jobs that an id names: one, or all of an array.

    Raises
    ------
    ScriptError
        If it is not an id.
    SubmitRefused
        If there is no such job.
    """
    number, position, is_array = parse_id(job_id)
    rows = [row for row in store.jobs_of([number]) if bool(row["is_array"]) == is_array]
    if position is not None:
        rows = [row for row in rows if row["position"] == position]
    if not rows:
        raise SubmitRefused(f"Unknown job {job_id}.")
    return rows


def cancel(store: Store, job_id: str, by: str) -> list[ProcessName]:
    """End a job, or all of an array; the shepherds to be told.

    Raises
    ------
    SubmitRefused
        If it is unknown or over.
    """
    with store.writing() as connection:
        rows = [row for row in selected(store, job_id) if row["state"] != "finished"]
        if not rows:
            raise SubmitRefused(f"Job has finished: {job_id}.")
        told = [shepherd_of(row) for row in rows if row["state"] in ("running", "ending")]
        values = {"now": time.time(), "cause": Cause.CANCELLED.value, "reason": f"Deleted by {by}", "by": by}
        keys = [{**values, "key": row["key"]} for row in rows]
        waits = "AND state IN ('queued', 'held')"
        connection.executemany(f"{_FINISH}, wish = 'cancel', wished_by = :by WHERE key = :key {waits}", keys)
        connection.executemany(
            "UPDATE jobs SET state = 'ending', wish = 'cancel', wished_by = :by"
            " WHERE key = :key AND state IN ('running', 'ending') AND wish != 'cancel'",
            keys,
        )
    store.drop_script(rows[0]["number"])
    return [shepherd for shepherd in told if shepherd]


def requeue(store: Store, job_id: str) -> list[ProcessName]:
    """Stop a running job, or an array's, and put it back into the queue; the shepherds to be told.

    Raises
    ------
    SubmitRefused
        If it is unknown, does not run, or must not run twice.
    """
    with store.writing() as connection:
        rows = [row for row in selected(store, job_id) if row["state"] == "running"]
        if not rows:
            raise SubmitRefused(f"The job {job_id} does not run.")
        if not rows[0]["rerunnable"]:
            raise SubmitRefused(f"The job {job_id} must not run twice: it was submitted with rerunnable=no.")
        keys = [(row["key"],) for row in rows]
        connection.executemany("UPDATE jobs SET state = 'ending', wish = 'requeue' WHERE key = ?", keys)
    return [shepherd for row in rows if (shepherd := shepherd_of(row))]


def hold(store: Store, job_id: str) -> None:
    """Keep a waiting job from starting."""
    _switch(store, job_id, "queued", "held")


def release(store: Store, job_id: str) -> None:
    """Let a held job start again."""
    _switch(store, job_id, "held", "queued")


def shepherd_of(row: sqlite3.Row) -> ProcessName | None:
    """Return the process that looks after a job, None where none has registered."""
    return None if row["shepherd"] is None else ProcessName(row["shepherd"], row["shepherd_start"])


def claim(store: Store, keys: Iterable[int], boot: str) -> list[tuple[int, int]]:
    """Mark these waiting jobs as running, for a shepherd each to be started: (key, claim).

    The job's temporary folder is named now and made later, so that it is found and removed whatever happens.
    """
    claimed = []
    with store.writing() as connection:
        for key in keys:
            mark = secrets.token_hex(16)
            scratch = os.path.join(tempfile.gettempdir(), f"springtide-job-{mark}")
            changed = connection.execute(
                "UPDATE jobs SET state = 'running', claim = claim + 1, runs = runs + 1, boot = ?, mark = ?, wish = '',"
                " wished_by = '', reason = '', scratch = ?, shepherd = NULL, shepherd_start = NULL, leader = NULL,"
                " leader_start = NULL, started = NULL WHERE key = ? AND state = 'queued'",
                (boot, mark, scratch, key),
            ).rowcount
            if changed:
                answer = connection.execute("SELECT claim FROM jobs WHERE key = ?", (key,)).fetchone()
                claimed.append((key, int(answer[0])))
    return claimed


def take_back(store: Store, key: int, claim: int) -> None:
    """Give a claimed job for which there is no shepherd back to the queue, as if it had not been claimed."""
    store.change(
        "UPDATE jobs SET state = 'queued', claim = claim + 1, runs = runs - 1"
        " WHERE key = ? AND claim = ? AND shepherd IS NULL AND state = 'running'",
        key,
        claim,
    )


def register(store: Store, key: int, claim: int, shepherd: ProcessName) -> bool:
    """Take charge of a job, as its shepherd; False where somebody else has, or the job was given up."""
    return bool(
        store.change(
            "UPDATE jobs SET shepherd = ?, shepherd_start = ?, started = ?"
            " WHERE key = ? AND claim = ? AND shepherd IS NULL AND state IN ('running', 'ending')",
            *shepherd,
            time.time(),
            key,
            claim,
        )
    )


def end(store: Store, key: int, claim: int, outcome: Outcome) -> None:
    """Record how a run ended: the job is over, or goes back into the queue. An older claim changes nothing."""
    with store.writing() as connection:
        row = store.job(key)
        if row is None or row["claim"] != claim or row["state"] == "finished":
            return
        again = outcome.cause is Cause.REQUEUED or (outcome.cause is Cause.LOST and row["rerunnable"])
        if again and row["wish"] != "cancel":
            _back_into_queue(connection, row, outcome.reason)
        else:
            _finish(connection, row, outcome, time.time())
    store.drop_script(row["number"])


def give_up_start(store: Store, row: sqlite3.Row, words: str) -> None:
    """Take back a claim whose shepherd never registered: it did not start, and cannot any more."""
    cancelled, failures = row["wish"] == "cancel", row["failures"] + 1
    over = cancelled or failures >= _MOST_FAILED_STARTS
    cause = Cause.CANCELLED if cancelled else Cause.NEVER_RUNS
    state = f"state = 'finished', ended = {time.time()!r}, cause = '{cause.value}'" if over else "state = 'queued'"
    store.change(
        f"UPDATE jobs SET {state}, claim = claim + 1, runs = runs - 1, failures = ?, reason = ?"
        " WHERE key = ? AND claim = ? AND shepherd IS NULL",
        failures,
        words if over and not cancelled else "",
        row["key"],
        row["claim"],
    )
    store.drop_script(row["number"])


def finish_waiting(store: Store, number: int, cause: Cause, reason: str) -> None:
    """End all jobs of a submission that have not started."""
    with store.writing() as connection:
        values = {"now": time.time(), "cause": cause.value, "reason": reason, "number": number}
        connection.execute(f"{_FINISH} WHERE number = :number AND state IN ('queued', 'held')", values)
    store.drop_script(number)


def _finish(connection: sqlite3.Connection, row: sqlite3.Row, outcome: Outcome, now: float) -> None:
    cancelled = row["wish"] == "cancel" and outcome.cause in (Cause.REQUEUED, Cause.LOST)
    if row["started"] is not None:
        # The clock may have been set since: what a job shows fits together.
        now = row["started"] + outcome.walltime_s if outcome.walltime_s is not None else max(now, row["started"])
    values = {
        "now": now,
        "cause": Cause.CANCELLED.value if cancelled else outcome.cause.value,
        "reason": outcome.reason,
        "exit_status": outcome.exit_status,
        "cpu_s": outcome.cpu_s,
        "peak": outcome.memory_bytes,
        "used_s": outcome.walltime_s,
        "key": row["key"],
    }
    connection.execute(
        f"{_FINISH}, exit_status = :exit_status, cpu_s = :cpu_s, peak = :peak, used_s = :used_s, claim = claim + 1"
        " WHERE key = :key",
        values,
    )


def _back_into_queue(connection: sqlite3.Connection, row: sqlite3.Row, reason: str) -> None:
    tired = row["runs"] >= _MOST_RUNS
    words = f"Held: it was started {row['runs']} times" if tired else reason
    connection.execute(
        "UPDATE jobs SET state = ?, reason = ?, wish = '', wished_by = '', claim = claim + 1, started = NULL,"
        " shepherd = NULL, shepherd_start = NULL, leader = NULL, leader_start = NULL WHERE key = ?",
        ("held" if tired else "queued", words, row["key"]),
    )


def _switch(store: Store, job_id: str, old: str, new: str) -> None:
    with store.writing() as connection:
        keys = [(new, row["key"]) for row in selected(store, job_id) if row["state"] == old]
        if not keys:
            raise SubmitRefused(f"The job {job_id} is not {old}.")
        connection.executemany("UPDATE jobs SET state = ?, reason = '' WHERE key = ?", keys)
