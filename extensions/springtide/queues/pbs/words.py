"""Words that PBS Pro and Torque print alike: sizes, durations, moments, hosts, and what an exit status says."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

from springtide.errors import QueueUnreachable
from springtide.queues.model import Cause, JobInfo, QueueLimits, Used

IDS_PER_COMMAND = 20
"""Each id is a connection of its own, from a small pool of reserved ports that the whole machine shares."""
IN_UTC = ("/usr/bin/env", "TZ=UTC")
"""How a command is started whose times are to be read: it prints them in its own zone, without naming it."""
# PBS's own way to tell a signal; and that of the shell around the script, which ends normally itself.
_SIGNAL, _SHELLS_SIGNALS = 256, range(129, 160)
_FACTORS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_SIZE = re.compile(r"(\d{1,18})([kmgtp]?)([bw]?)", re.IGNORECASE)
_WORD_BYTES = 8
_MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: month for month, name in enumerate(_MONTH_NAMES, start=1)}
_NAMED = re.compile(r"(?<![\w.-])\d+(?:\[\d*\])?(?![\w-])")


def size_bytes(size: str) -> int | None:
    """Return the bytes that "200mb", "8gb" or "1024" stands for; None where it is no size."""
    match = _SIZE.fullmatch(size.strip())
    if not match:
        return None
    return int(match[1]) * _FACTORS[match[2].lower()] * (_WORD_BYTES if match[3].lower() == "w" else 1)


def duration_s(text: str) -> int | None:
    """Return the seconds that "01:30:00", "2:00:00:00" or "90" stands for; None where it is no duration."""
    parts = text.strip().split(":")
    if not all(part.isdecimal() and part.isascii() for part in parts) or len(parts) > 4:
        return None
    factors = (86400, 3600, 60, 1)[-len(parts) :]
    return sum(int(part) * factor for part, factor in zip(parts, factors, strict=True))


def moment(text: str) -> float | None:
    """Return seconds since 1970 of "1795442071" or "Mon Nov 23 13:54:10 2026" (UTC); None where it is no moment."""
    if text.isdecimal() and text.isascii():
        return float(text) if len(text) < 12 else None
    try:
        _, month, day, clock, year = text.split()
        hours, minutes, seconds = clock.split(":")
        midnight = _midnight(int(year), _MONTHS[month], int(day))
        return midnight + int(hours) * 3600.0 + int(minutes) * 60 + int(seconds)
    except (ValueError, KeyError, OverflowError):
        return None


@lru_cache(maxsize=1024)
def _midnight(year: int, month: int, day: int) -> float:
    return datetime(year, month, day, tzinfo=UTC).timestamp()


def number(text: str) -> int | None:
    """Return the integer, None where it is none."""
    digits = text[1:] if text.startswith("-") else text
    return int(text) if digits.isdecimal() and digits.isascii() and len(digits) < 19 else None


def user_of(owner: str) -> str:
    """Return the account of "marie@login.lab.fr"."""
    return owner.partition("@")[0]


def hosts_of(exec_host: str) -> tuple[str, ...]:
    """Return the nodes of "node1/0*2+node2/3" in order, each once."""
    return tuple(dict.fromkeys(part.rpartition("/")[0] or part for part in exec_host.split("+") if part))


def used(cpu: str, memory: str, walltime: str) -> Used | None:
    """Return what a job has used, None where the answer says nothing of it."""
    # PBS looks at a job's memory now and then: 0 is that of a job that was over before.
    found = Used(duration_s(cpu), size_bytes(memory) or None, duration_s(walltime))
    return None if found == Used() else found


def status_of(code: int) -> tuple[int | None, Cause]:
    """Return the exit status that PBS's `code` of 0 or more stands for, and whether a signal ended the script."""
    status = 128 + (code & 0x7F) if code >= _SIGNAL else code
    return status, Cause.SIGNAL if status in _SHELLS_SIGNALS else Cause.EXIT


def only_ids(ids: Iterable[str], pattern: re.Pattern[str]) -> list[str]:
    """Return in order what can be a job's id at all: the rest is unknown to every scheduler."""
    return sorted({job_id for job_id in ids if pattern.fullmatch(job_id)})


def in_chunks(ids: Collection[str]) -> Iterator[list[str]]:
    """Yield `ids` in groups that one command may ask for."""
    ordered = list(ids)
    for start in range(0, len(ordered), IDS_PER_COMMAND):
        yield ordered[start : start + IDS_PER_COMMAND]


def unanswered(asked: Iterable[str], answered: Iterable[str], complaints: str = "") -> list[str]:
    """Return the jobs asked for that are neither in the answer nor named as unknown."""
    said = {_key(job_id) for job_id in answered} | set(_NAMED.findall(complaints))
    return [job_id for job_id in asked if _key(job_id) not in said]


def check_complete(asked: Iterable[str], answered: Iterable[str], complaints: str) -> None:
    """Make sure that each job asked for is in the answer or named as unknown: a cut-off answer is no answer.

    Raises
    ------
    QueueUnreachable
        If nothing is said of one of them.
    """
    if missing := unanswered(asked, answered, complaints):
        raise QueueUnreachable(f"the scheduler's answer says nothing of {', '.join(missing)}")


def _key(job_id: str) -> str:
    """Return the id without its server, which a user may leave out."""
    return job_id.partition(".")[0]


def queue_limits(name: str, own: Mapping[str, str], server: Mapping[str, str]) -> QueueLimits:
    """Return a queue's limits from its attributes; where it has none of its own, the server's hold."""

    def most(resource: str) -> str:
        key = f"resources_max.{resource}"
        return own.get(key, server.get(key, ""))

    counts = dict(word.partition(":")[::2] for word in own.get("state_count", "").split())
    waiting = [number(counts.get(word, "")) or 0 for word in ("Queued", "Held", "Waiting", "Transit")]
    running = [number(counts.get(word, "")) or 0 for word in ("Running", "Exiting", "Begun")]
    return QueueLimits(
        name=name,
        default=name == server.get("default_queue"),
        open=own.get("enabled") == "True",
        started=own.get("started") == "True" and server.get("scheduling", "True") == "True",
        walltime_s=duration_s(most("walltime")),
        cores=number(most("ncpus") or most("procct")),
        nodes=number(most("nodect")),
        memory_bytes=size_bytes(most("mem")),
        waiting=sum(waiting),
        running=sum(running),
        routes=own.get("queue_type") == "Route",
    )


def with_ends_of_their_jobs(jobs: Mapping[str, JobInfo]) -> dict[str, JobInfo]:
    """Return `jobs` with each ended array told by its own jobs: the worst status, and the first cause but an exit."""
    members: dict[str, list[JobInfo]] = {}
    for job in jobs.values():
        if job.array:
            members.setdefault(job.array, []).append(job)
    ends = {array: _end_of_array(jobs[array], own) for array, own in members.items() if array in jobs}
    return {**jobs, **ends}


def _end_of_array(array: JobInfo, own: list[JobInfo]) -> JobInfo:
    if array.state.alive:
        return array
    statuses = [job.exit_status for job in own if job.exit_status is not None]
    worst = next((job for job in own if job.cause not in (None, Cause.EXIT)), array)
    if array.cancelled_by:
        worst = array
    return replace(array, exit_status=max(statuses, default=None), cause=worst.cause, cancelled_by=worst.cancelled_by)
