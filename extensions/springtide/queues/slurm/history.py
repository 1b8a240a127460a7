"""What sacct still knows of jobs that have left the controller's memory, where a site keeps accounts at all.

It is asked for nothing that a user fills in freely (a job's name, comment and folder may hold line breaks and bars).
A job that the accounts call alive though the controller does not know it ("runaway") is left out: nobody runs it.
"""

from __future__ import annotations

import pwd
import re
from dataclasses import replace

from springtide.errors import QueueUnreachable
from springtide.queues.model import Cause, JobInfo, JobState, Used
from springtide.queues.slurm.words import (
    end_of,
    expand_hosts,
    has_ended,
    memory_of,
    parse_count,
    parse_time,
    shown_reason,
)

_FIELDS = (
    "JobID",
    "State",
    "ExitCode",
    "Submit",
    "Start",
    "End",
    "User",
    "Partition",
    "AllocCPUS",
    "AllocTRES",
    "TimelimitRaw",
    "ElapsedRaw",
    "TotalCPU",
    "MaxRSS",
    "NodeList",
    "Reason",
)
ARGUMENTS = ("--noheader", "--parsable2", "--noconvert", "--allusers", f"--format={','.join(_FIELDS)}")
_CODE, _MEMORY_FIELD = _FIELDS.index("ExitCode") - 1, _FIELDS.index("MaxRSS") - 1
_NO_CODE = "0:0"
NO_ACCOUNTS = "accounting storage is disabled"
_JOB_ID = re.compile(r"(\d+)(?:_(\d+))?(?:\+\d+)?", re.ASCII)
_CPU_TIME = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", re.ASCII)
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)", re.ASCII)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_history(text: str) -> dict[str, JobInfo]:
    """Return the ended jobs of an answer to `ARGUMENTS`, with what their steps used.

    Raises
    ------
    QueueUnreachable
        If it is no such answer.
    """
    wholes: dict[str, list[str]] = {}
    most: dict[str, int] = {}
    try:
        for line in text.splitlines():
            job_id, *fields = line.split("|", len(_FIELDS) - 1)
            whole, _, step = job_id.partition(".")
            if not step:
                wholes[whole] = fields
                continue
            most[whole] = max(most.get(whole, 0), _bytes(fields[_MEMORY_FIELD]))
            if step == "batch" and wholes[whole][_CODE] == _NO_CODE:
                # Of a job that was ended from outside, only its script's own line has the signal.
                wholes[whole][_CODE] = fields[_CODE]
        ended = {whole: fields for whole, fields in wholes.items() if has_ended(fields[0].partition(" ")[0])}
        jobs = [_with_memory(_job(whole, *fields), most.get(whole, 0)) for whole, fields in ended.items()]
    except (ValueError, TypeError, LookupError) as error:
        raise QueueUnreachable(f"sacct's answer cannot be read: {error}") from error
    return {job.id: job for job in jobs}


def _job(
    job_id: str,
    states: str,
    code: str,
    submitted: str,
    started: str,
    ended: str,
    owner: str,
    partition: str,
    cores: str,
    tres: str,
    limit_min: str,
    elapsed: str,
    cpu: str,
    _most: str,
    hosts: str,
    reason: str,
) -> JobInfo:
    named = _JOB_ID.fullmatch(job_id)
    if not named:
        raise ValueError(f"{job_id!r} is no job's id")
    word, _, by = states.partition(" by ")
    nodes = () if hosts in ("None assigned", "") else expand_hosts(hosts)
    if reason == "Dependency" and not by and not nodes:
        # Cancelled by nobody while it waited for another job: by Slurm, for that will never end as it should.
        reason = "DependencyNeverSatisfied"
    cause, status = end_of(word, reason, code, placed=bool(nodes))
    limit = parse_count(limit_min)
    return JobInfo(
        id=f"{named[1]}_{named[2]}" if named[2] else named[1],
        state=JobState.FINISHED,
        owner=owner,
        queue=partition,
        reason=shown_reason(word, reason, alive=False, waits=False),
        exit_status=status,
        cause=cause,
        cancelled_by=_account(by) if cause is Cause.CANCELLED else "",
        cores=int(cores or 0),
        memory_bytes=memory_of(tres),
        node_count=len(nodes),
        walltime_s=None if limit is None else limit * 60,
        submitted=parse_time(submitted),
        started=parse_time(started) if nodes else None,
        ended=parse_time(ended),
        array=named[1] if named[2] else "",
        used=Used(cpu_s=_seconds(cpu), walltime_s=float(elapsed)) if nodes and elapsed else None,
    )


def _with_memory(job: JobInfo, memory_bytes: int) -> JobInfo:
    return replace(job, used=replace(job.used, memory_bytes=memory_bytes)) if job.used and memory_bytes else job


def _account(uid: str) -> str:
    """Return the name of the account with this number, the number where this machine knows none."""
    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (KeyError, ValueError, OverflowError):
        return uid


def _seconds(cpu: str) -> float | None:
    """Return the seconds of "00:01.234", "01:02:03" or "2-01:02:03"."""
    match = _CPU_TIME.fullmatch(cpu)
    if not match:
        return None
    days, hours, minutes, seconds = match.groups()
    return int(days or 0) * 86400 + int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)


def _bytes(size: str) -> int:
    match = _MEMORY.fullmatch(size)
    return int(float(match[1]) * _UNITS[match[2]]) if match else 0
