"""What Slurm's qstat and pbsnodes print, read.

``qstat -f`` prints a job's name as it is, line breaks included: whole records of other people's jobs would fit into it.
In the table of ``qstat -a`` a name has 20 bytes and cannot hold a row, and rows are read one behind the other, from
column to column. The full form is read for one job at a time, where the lines behind the name win.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from springtide.errors import QueueUnreachable
from springtide.queues.model import JobInfo, JobState, Node, QueueLimits, Used
from springtide.queues.slurm.words import parse_count, parse_limit

NAME_BYTES = 20
"""Bytes of a job's name in the table."""

# "U": unknown to the wrapper, which is full memory and deadline, both ends.
_STATES = {
    "Q": JobState.QUEUED,
    "R": JobState.RUNNING,
    "S": JobState.SUSPENDED,
    "C": JobState.FINISHED,
    "U": JobState.FINISHED,
}
_MIB = 2**20
_HEADING = re.compile(r"\s*\S+:\n +Req'd[^\n]*\nJob id [^\n]*\n-[- ]*\n")
# The name is shorter than its column where it is not ASCII.
_ROW = re.compile(
    r"(?P<id>\d{1,20}) +(?P<owner>\S{1,8}) +(?P<queue>\S{1,8}) +(?s:(?P<name>.{1,20})) --     "
    r" *(?P<nodes>\d+|--) +(?P<cores>\d+|--) +\S+ (?P<limit>[\d:]{5}|Infin) (?P<state>[A-Z]) [\d:Infin]{5}"
    r"(?: {3}(?P<hosts>\S+))? *\n",
    re.ASCII,
)
_HOST = re.compile(r"([^/+]+)/(\d+)", re.ASCII)
_LINE = re.compile(r"\t([A-Za-z_.]+) = (.*)")
_TIME = "%a %b %d %H:%M:%S %Y"
_UNUSABLE = re.compile(r"down|offline|drain|fail|unk|maint|inval|future|reserved")
_AVAILABLE_MEMORY = re.compile(r"(?:^|,)availmem=(\d+)mb", re.ASCII)
_QUEUE = re.compile(
    r"(?P<name>\S+) +-- +-- +(?P<limit>[\d:]+|--) +(?P<nodes>\d+|--) +(?P<running>\d+) +(?P<waiting>\d+) --"
    r" +(?P<open>[ED]) (?P<started>[RS]) *",
    re.ASCII,
)


@dataclass(frozen=True)
class Row:
    """A job of the table, and the cores it has on each node."""

    job: JobInfo
    cores: Mapping[str, int]


def parse_rows(text: str) -> Iterator[Row]:
    """Yield the jobs of a ``qstat -a -n -1`` answer.

    Raises
    ------
    QueueUnreachable
        If it is no such table, or not the whole.
    """
    if not text.strip():
        return
    heading = _HEADING.match(text)
    place = heading.end() if heading else 0
    while heading and place < len(text) and (row := _ROW.match(text, place)):
        yield _row(row)
        place = row.end()
    if not heading or place < len(text):
        raise QueueUnreachable(f"qstat's answer cannot be read: {text[place : place + 80]!r}")


def _row(row: re.Match[str]) -> Row:
    cores = {host: int(number) for host, number in _HOST.findall(row["hosts"] or "")}
    state = _STATES.get(row["state"], JobState.RUNNING)
    limit = row["limit"]
    job = JobInfo(
        id=row["id"],
        state=state,
        name=row["name"].strip(),
        owner=row["owner"],
        queue=row["queue"],
        nodes=tuple(cores) if state.placed else (),
        cores=parse_count(row["cores"]) or 0,
        node_count=parse_count(row["nodes"]) or 0,
        # Hours and minutes, cut at five characters: longer limits cannot be told.
        walltime_s=parse_limit(f"{limit}:00") if limit[2:3] == ":" else None,
    )
    return Row(job, cores)


def parse_detail(job_id: str, text: str) -> JobInfo:
    """Return the one job of a ``qstat -f ID`` answer.

    Raises
    ------
    QueueUnreachable
        If it is no answer about this job.
    """
    if not text.startswith(f"Job Id:\t{job_id}\n"):
        raise QueueUnreachable(f"qstat's answer cannot be read: {text[:80]!r}")
    # The last line of each kind: the name, which may hold lines of any kind, comes before all others.
    values = dict(_LINE.findall(text))
    state = _STATES.get(values.get("job_state", ""), JobState.RUNNING)
    hosts = tuple(host for host, _ in _HOST.findall(values.get("exec_host", "")))
    begin, end = _seconds(values.get("mtime", "")), _seconds(values.get("ctime", ""))
    started = begin if hosts else None
    ended = end if not state.alive else None
    return JobInfo(
        id=job_id,
        state=state,
        name=_name(text),
        owner=values.get("Job_Owner", "").partition("@")[0],
        queue=values.get("queue", ""),
        nodes=hosts if state.placed else (),
        cores=parse_count(values.get("Resource_List.ncpus", "")) or 0,
        node_count=parse_count(values.get("Resource_List.nodect", "")) or 0,
        walltime_s=parse_limit(values.get("Resource_List.walltime", "")),
        submitted=_seconds(values.get("qtime", "")),
        started=started,
        ended=ended,
        expected_start=begin if state.waits else None,
        used=Used(walltime_s=ended - started) if started is not None and ended is not None else None,
    )


def _name(text: str) -> str:
    _, _, behind = text.partition("\tJob_Name = ")
    return behind.rpartition("\n\tJob_Owner = ")[0]


def _seconds(local: str) -> float | None:
    """Return the seconds since 1970 of "Mon Nov 23 23:03:22 2026" in UTC."""
    try:
        return float(calendar.timegm(time.strptime(local, _TIME)))
    except ValueError:
        return None


def parse_nodes(text: str, taken: Mapping[str, int]) -> Iterator[Node]:
    """Yield the nodes of a ``pbsnodes -a`` answer, less the cores that are taken."""
    for block in re.split(r"\n\n+", text.strip()):
        name, *lines = block.split("\n")
        values = dict(line.strip().partition(" = ")[::2] for line in lines)
        if not name or name[0].isspace() or "state" not in values:
            raise QueueUnreachable(f"pbsnodes' answer cannot be read: {block[:80]!r}")
        state, cores = values["state"], parse_count(values.get("np", "")) or 0
        usable = not _UNUSABLE.match(state)
        memory = _AVAILABLE_MEMORY.search(values.get("status", ""))
        yield Node(
            name=name,
            usable=usable,
            state=state,
            cores=cores,
            free_cores=max(0, cores - taken.get(name, 0)) if usable else 0,
            memory_bytes=int(memory[1]) * _MIB if memory else 0,
            gpus=parse_count(values.get("gpus", "")) or 0,
        )


def parse_queues(text: str) -> Iterator[QueueLimits]:
    """Yield the partitions of a ``qstat -q`` answer."""
    heading, *lines = text.splitlines() or [""]
    if not heading.startswith("Queue "):
        raise QueueUnreachable(f"qstat's answer cannot be read: {text[:80]!r}")
    for found in filter(None, map(_QUEUE.fullmatch, lines)):
        yield QueueLimits(
            name=found["name"],
            open=found["open"] == "E",
            started=found["started"] == "R",
            walltime_s=parse_limit(found["limit"]) if found["limit"] != "--" else None,
            nodes=parse_count(found["nodes"]),
            waiting=int(found["waiting"]),
            running=int(found["running"]),
        )
