"""Between what a scheduler says of a job and the job's row in the ledger: pure functions, no clock, nothing asked."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from springtide.errors import ScriptError
from springtide.ledger.records import JobRecord
from springtide.queues.model import Cause, JobInfo, JobRequest, JobState

_TOKEN_LETTERS = "abcdefghijkmnpqrstuvwxyz"
_TOKEN_SIGNS = _TOKEN_LETTERS + "23456789"
_TOKEN_LENGTH = 8
_LONGEST_NAME = 200
_LONGEST_WORDS = 2000
_NAME_LIMITS = {"torque": 15, "slurm-pbs": 15, "pbspro": 230, "slurm": 200, "local": 200}
_SHORTEST_LIMIT = 15
_OUTSIDE_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")
_QUOTES = frozenset("\"'`\\$")
# Causes that a job ended by our own cancel may show, where the scheduler cannot tell who sent the signal.
_MAY_BE_CANCELLED = (None, Cause.SIGNAL, Cause.CANCELLED, Cause.LOST)
_WHILE_ALIVE = (Cause.REQUEUED, Cause.NEVER_RUNS)


def new_token() -> str:
    """Return a fresh token of a job: never mistaken for a scheduler's id, as it starts with a letter."""
    return secrets.choice(_TOKEN_LETTERS) + "".join(secrets.choice(_TOKEN_SIGNS) for _ in range(_TOKEN_LENGTH - 1))


def name_limit(dialect: str) -> int:
    """Return how long a job's name may be so that the scheduler shows all of it."""
    return _NAME_LIMITS.get(dialect, _SHORTEST_LIMIT)


def scheduler_name_of(name: str, token: str, limit: int) -> str:
    """Return a job's name at the scheduler: as much of its user's as leaves room for the whole token.

    What some scheduler does not take in a name becomes ``_``; accents are dropped.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    kept = _OUTSIDE_NAMES.sub("_", plain).strip("_.-")
    kept = kept if kept[:1].isalpha() else f"job{kept}"
    return f"{kept[: limit - len(token) - 1]}-{token}"


def check_name(name: str) -> None:
    """Accept a job's name as its user chose it.

    Raises
    ------
    ScriptError
        If it is empty, longer than 200 characters, or holds quotes or what cannot be printed on one line.
    """
    problem = (
        "is empty" * (not name.strip())
        or f"has {len(name)} characters" * (len(name) > _LONGEST_NAME)
        or "holds line breaks or other characters that cannot be printed" * (not name.isprintable())
        or "holds quotes, backslashes or dollar signs" * bool(_QUOTES & set(name))
    )
    if problem:
        shown = name[:40] + "…" * (len(name) > 40)
        raise ScriptError(
            f"The job's name {shown!r} {problem}.", f"Choose one of 1 to {_LONGEST_NAME} letters, digits, “_”, “-”."
        )


def record_of(
    request: JobRequest, *, site: str, user: str, account: str, dialect: str, token: str = "", **more: Any
) -> JobRecord:
    """Return the row of a job that is about to be submitted, under a fresh token unless one is given."""
    token = token or new_token()
    return JobRecord(
        token=token,
        site=site,
        user=user,
        account=account,
        name=request.name,
        scheduler_name=scheduler_name_of(request.name, token, name_limit(dialect)),
        dialect=dialect,
        queue=request.queue,
        project=request.account,
        nodes=request.nodes,
        cores=request.cores * request.nodes,
        memory_bytes=request.memory_bytes * request.nodes,
        walltime_s=request.walltime_s,
        array_size=len(request.array) if request.array else 0,
        output=request.output,
        errors=request.errors,
        **more,
    )


def printable(words: str) -> str:
    """Return a scheduler's words as every database takes them, cut where they have no end."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "�" for sign in words[:_LONGEST_WORDS])


def changes_of(row: JobRecord, job: JobInfo, *, now: float) -> dict[str, Any]:
    """Return the fields of `row` in which it differs from what the scheduler says of its job."""
    said = _end_of(row, job, now) if not job.state.alive else _life_of(row, job)
    return {field: value for field, value in said.items() if getattr(row, field) != value}


def _life_of(row: JobRecord, job: JobInfo) -> dict[str, Any]:
    again = job.cause is Cause.REQUEUED or (row.started is not None and job.state.waits)
    cause = Cause.REQUEUED if again and job.state.waits else job.cause
    runs = job.runs if job.runs is not None else row.runs or int(job.state.placed)
    return {
        "job_id": row.job_id or job.id,
        "state": job.state.value,
        "cause": cause.value if cause in _WHILE_ALIVE else "",
        "reason": printable(job.reason),
        "exit_status": None,
        "ended": None,
        "runs": runs,
        **_times(row, job),
    }


def _end_of(row: JobRecord, job: JobInfo, now: float) -> dict[str, Any]:
    ours = bool(row.cancelled_by) and job.cause in _MAY_BE_CANCELLED
    cause = Cause.CANCELLED if ours else job.cause
    by = row.cancelled_by if ours else (job.cancelled_by if cause is Cause.CANCELLED else "")
    used = job.used
    return {
        "job_id": row.job_id or job.id,
        "state": JobState.FINISHED.value,
        "cause": cause.value if cause else "",
        "reason": printable(job.reason),
        "exit_status": job.exit_status,
        "cancelled_by": by,
        "ended": job.ended if job.ended is not None else (row.ended or now),
        "runs": job.runs if job.runs is not None else row.runs,
        "used_cpu_s": used.cpu_s if used else row.used_cpu_s,
        "used_memory_bytes": used.memory_bytes if used else row.used_memory_bytes,
        "used_walltime_s": used.walltime_s if used else row.used_walltime_s,
        **_times(row, job),
    }


def _times(row: JobRecord, job: JobInfo) -> dict[str, Any]:
    return {
        "queue": job.queue or row.queue,
        "submitted": job.submitted if job.submitted is not None else row.submitted,
        "started": job.started if job.started is not None else row.started,
    }


def event_of(row: JobRecord, changes: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return kind and text of the event that these changes are; None where only figures changed."""
    state = str(changes.get("state", row.state))
    cause = str(changes.get("cause", row.cause))
    if cause == Cause.REQUEUED.value and "cause" in changes:
        return "requeued", f"{row.state} -> {state}"
    runs = changes.get("runs") or 0
    if runs > max(row.runs, 1) and row.cause != Cause.REQUEUED.value and JobState(state).placed:
        # Put back and started anew between two looks.
        return "requeued", f"{row.state} -> {state}, start {runs}"
    if state == row.state:
        return None
    if state != JobState.FINISHED.value:
        return "state", f"{row.state} -> {state}"
    status = changes.get("exit_status", row.exit_status)
    return "state", f"{row.state} -> {state}: {cause or 'ended'}" + (f", exit status {status}" if status else "")


def whole_of(job_id: str, known: Mapping[str, JobInfo]) -> JobInfo | None:
    """Return what is known of a job; of an array, one entry made of all of its jobs."""
    own = known.get(job_id)
    parts = [job for job in known.values() if job.array == job_id and job.id != job_id]
    if not parts or (own is not None and own.state.alive):
        return own
    return _array_of(own or replace(parts[0], id=job_id, array=""), parts)


def _array_of(whole: JobInfo, parts: Sequence[JobInfo]) -> JobInfo:
    alive = [job for job in parts if job.state.alive]
    if alive:
        return replace(whole, state=max(alive, key=lambda job: job.state.placed).state, exit_status=None, cause=None)
    bad = next((job for job in parts if job.exit_status or job.cause not in (None, Cause.EXIT)), None)
    return replace(
        whole,
        state=JobState.FINISHED,
        exit_status=bad.exit_status if bad else 0,
        cause=bad.cause if bad else Cause.EXIT,
        cancelled_by=bad.cancelled_by if bad else "",
        reason=", ".join(f"{count} x {end}" for end, count in Counter(map(_end_in_words, parts)).most_common()),
        started=min(_known(job.started for job in parts), default=whole.started),
        ended=max(_known(job.ended for job in parts), default=whole.ended),
    )


def _known(times: Any) -> Collection[float]:
    return [time for time in times if time is not None]


def _end_in_words(job: JobInfo) -> str:
    if job.cause is None or job.cause is Cause.EXIT:
        return f"exit {job.exit_status if job.exit_status is not None else '?'}"
    return str(job.cause.value)
