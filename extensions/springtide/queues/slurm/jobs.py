"""What squeue says of jobs, read into `JobInfo`.

``squeue --Format`` prints any field of a job between delimiters of our choice. It is asked for nothing that a user
fills in freely: a job's name may hold line breaks, and with them whole rows of other people's jobs. ``scontrol show
job`` prints such texts among its ``key=value`` (and needs a command for each job); ``squeue --json`` escapes them, but
is 4 KB a job and has another shape in every version. Names come from a question of their own (`name_format`), whose
answer changes nothing but names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from springtide.errors import QueueUnreachable
from springtide.queues.model import Cause, JobInfo, JobState, Used
from springtide.queues.slurm.words import (
    end_of,
    expand_hosts,
    has_ended,
    live_state,
    memory_of,
    parse_limit,
    parse_time,
    shown_reason,
    waiting_cause,
)

_FIELDS = (
    "arrayjobid",
    "arraytaskid",
    "state",
    "exit_code",
    "restartcnt",
    "submittime",
    "starttime",
    "endtime",
    "username",
    "partition",
    "numcpus",
    "numnodes",
    "tres-alloc",
    "timelimit",
    "batchhost",
    "nodelist",
    # Last, for its words are the scheduler's free text.
    "reason",
)
_ROW_END = "|;"
FORMAT = "".join(f"{field}:|," for field in _FIELDS[:-1]) + f"{_FIELDS[-1]}:{_ROW_END}"
_HEADING = "ARRAY_JOB_ID|"
_NO_INDEX = ("N/A", "")
_NO_NODE = ("n/a", "(null)", "")
# Which of its jobs stand for an array as a whole.
_LIVELIEST_FIRST = (
    JobState.RUNNING,
    JobState.ENDING,
    JobState.SUSPENDED,
    JobState.QUEUED,
    JobState.WAITING,
    JobState.HELD,
    JobState.FINISHED,
)


def parse_jobs(text: str) -> list[JobInfo]:
    """Return the rows of an answer to `FORMAT`; of an array, its started jobs each and its waiting rest.

    Raises
    ------
    QueueUnreachable
        If it is no such answer, or not the whole: then nothing is known of any job.
    """
    try:
        return [_job(*row.split("|", len(_FIELDS) - 1)) for row in _rows(text, _ROW_END)]
    except (ValueError, TypeError) as error:
        raise QueueUnreachable(f"squeue's answer cannot be read: {error}") from error


def name_format(row_end: str) -> str:
    """Return the question for ids and names alone; `row_end` must be a text that nobody can know beforehand."""
    return f"arrayjobid:|,arraytaskid:|,name:{row_end}"


def parse_names(text: str, row_end: str) -> dict[str, str]:
    """Return each job's name by its id, and by its array's.

    Raises
    ------
    QueueUnreachable
        If it is no answer to `name_format`.
    """
    names = {}
    for row in _rows(text, row_end):
        array, index, name = [*row.split("|", 2), "", ""][:3]
        names[array] = names[_job_id(array, index)] = name
    return names


def one_each(rows: Iterable[JobInfo]) -> dict[str, JobInfo]:
    """Return the jobs by id, all rows of an array as one job under the array's id."""
    jobs: dict[str, JobInfo] = {}
    arrays: dict[str, list[JobInfo]] = {}
    for job in rows:
        jobs[job.array or job.id] = job
        if job.array:
            arrays.setdefault(job.array, []).append(job)
    return jobs | {array: as_one(parts) for array, parts in arrays.items()}


def as_one(parts: list[JobInfo]) -> JobInfo:
    """Return an array as one job: what its liveliest jobs do, and once all ended, how the first to fail did."""
    first = min(parts, key=lambda job: _LIVELIEST_FIRST.index(job.state))
    if not first.state.alive:
        first = next((job for job in parts if (job.cause, job.exit_status) != (Cause.EXIT, 0)), first)
    placed = [job for job in parts if job.state.placed]
    nodes = tuple(dict.fromkeys(node for job in placed for node in job.nodes))
    return replace(
        first,
        id=first.array,
        array="",
        nodes=nodes,
        cores=sum(job.cores for job in placed or [first]),
        memory_bytes=sum(job.memory_bytes for job in placed or [first]),
        node_count=len(nodes) or first.node_count,
        started=min((job.started for job in parts if job.started is not None), default=None),
        ended=None if first.state.alive else max((job.ended for job in parts if job.ended is not None), default=None),
        used=None,
    )


def _rows(text: str, row_end: str) -> list[str]:
    """Return the rows behind the heading: it proves that an answer without jobs is one."""
    heading, *rows = text.split(f"{row_end}\n")
    if not heading.startswith(_HEADING) or not rows or rows.pop():
        raise QueueUnreachable(f"squeue's answer cannot be read: {text[:80]!r}")
    return rows


def _job_id(array: str, index: str) -> str:
    return f"{array}_{index}" if index.isdecimal() else array


def _job(
    array: str,
    index: str,
    word: str,
    code: str,
    restarts: str,
    submitted: str,
    started: str,
    ended: str,
    owner: str,
    partition: str,
    cores: str,
    nodes: str,
    tres: str,
    limit: str,
    first_node: str,
    hosts: str,
    reason: str,
) -> JobInfo:
    if not array.isdecimal():
        raise ValueError(f"{array!r} is no job's id")
    placed = first_node not in _NO_NODE or hosts not in _NO_NODE
    state = JobState.FINISHED if has_ended(word) else live_state(word, reason, placed=placed)
    begin, starts = parse_time(started), int(restarts)
    if state.waits:
        more = _waiting(reason, starts, begin)
    elif state.alive:
        more = {"nodes": _in_order(first_node, hosts), "started": begin, "runs": starts + 1}
    else:
        more = _finished(word, reason, code, starts, begin if placed else None, parse_time(ended))
    return JobInfo(
        id=_job_id(array, index),
        state=state,
        owner=owner,
        queue=partition,
        reason=shown_reason(word, reason, alive=state.alive, waits=state.waits),
        cores=int(cores),
        memory_bytes=memory_of(tres),
        node_count=int(nodes.partition("-")[0]),
        walltime_s=parse_limit(limit),
        submitted=parse_time(submitted),
        array="" if index in _NO_INDEX else array,
        **more,
    )


def _waiting(reason: str, restarts: int, begin: float | None) -> dict[str, Any]:
    return {"cause": waiting_cause(reason, restarts), "runs": restarts, "expected_start": begin}


def _finished(
    word: str, reason: str, code: str, restarts: int, started: float | None, ended: float | None
) -> dict[str, Any]:
    cause, status = end_of(word, reason, code, placed=started is not None)
    return {
        "cause": cause,
        "exit_status": status,
        "started": started,
        "ended": ended,
        "runs": restarts + (started is not None),
        "used": Used(walltime_s=ended - started) if started is not None and ended is not None else None,
    }


def _in_order(first: str, hosts: str) -> tuple[str, ...]:
    """Return the job's nodes, the one that runs its script first."""
    names = expand_hosts(hosts) if hosts not in _NO_NODE else ()
    return names if first not in names else (first, *(name for name in names if name != first))
