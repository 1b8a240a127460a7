"""Workload traces in the Standard Workload Format (version 2.2: Chapin et al., JSSPP 1999; parallelworkloads.org)."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from springtide.errors import TraceError

_FIELDS = 18
_SUBMITTED, _RUN, _USED_CORES, _CORES, _REQUESTED, _USER = 1, 3, 4, 7, 8, 11
_HEADER = re.compile(r";\s*(MaxProcs|MaxNodes):\s*(\d+)")


@dataclass(frozen=True, slots=True)
class TraceJob:
    """One job of a trace."""

    number: int
    submitted: float
    """Seconds since the trace's first submission."""
    run_s: float
    cores: int
    requested_s: float
    """The walltime its user asked for; never less than it ran, as schedulers' limits have some grace."""
    user: int


@dataclass(frozen=True)
class Trace:
    """What a cluster was asked to run."""

    name: str
    cores: int
    """Of the whole cluster."""
    jobs: tuple[TraceJob, ...]
    """The first submitted first."""
    skipped: int = 0
    """Jobs that never ran, or of which it is not said how long or on how many cores."""

    @property
    def load(self) -> float:
        """Core-seconds asked for per core-second that the cluster has while jobs are submitted."""
        lasted_s = self.jobs[-1].submitted - self.jobs[0].submitted
        return sum(job.cores * job.run_s for job in self.jobs) / (self.cores * lasted_s) if lasted_s > 0 else math.inf

    def scaled(self, load: float) -> Trace:
        """Return the same jobs submitted `load` times as fast one after the other."""
        jobs = tuple(dataclasses.replace(job, submitted=job.submitted / load) for job in self.jobs)
        return dataclasses.replace(self, jobs=jobs)

    def part(self, begin: int, end: int) -> Trace:
        """Return the jobs from the `begin`-th to before the `end`-th, as a trace that begins at 0."""
        jobs = self.jobs[begin:end]
        moved = tuple(dataclasses.replace(job, submitted=job.submitted - jobs[0].submitted) for job in jobs)
        return dataclasses.replace(self, jobs=moved)


def read_trace(path: Path) -> Trace:
    """Return the trace in a file.

    Raises
    ------
    TraceError
        If the file cannot be read, is no trace (the line is named), or holds no job that ran.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror}.") from None
    return parse_trace(text.splitlines(), path.name)


def parse_trace(lines: Iterable[str], name: str) -> Trace:
    """Return the trace that `lines` are.

    Raises
    ------
    TraceError
        As `read_trace`.
    """
    header: dict[str, int] = {}
    found: list[TraceJob] = []
    skipped = 0
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if stripped.startswith(";"):
            if match := _HEADER.match(stripped):
                header[match[1]] = int(match[2])
        elif stripped:
            job = _job(stripped.split(), f"{name}:{number}")
            if job is None:
                skipped += 1
            else:
                found.append(job)
    cores = header.get("MaxProcs") or header.get("MaxNodes") or max((job.cores for job in found), default=0)
    fitting = sorted((job for job in found if job.cores <= cores), key=lambda job: (job.submitted, job.number))
    if not fitting:
        raise TraceError(
            f"{name} holds no job that ran.", "A trace in the Standard Workload Format has a line of 18 fields a job."
        )
    return Trace(name, cores, tuple(fitting), skipped + len(found) - len(fitting)).part(0, len(fitting))


def _job(fields: list[str], place: str) -> TraceJob | None:
    """Return the job on one line; None where it never ran."""
    if len(fields) != _FIELDS:
        raise TraceError(
            f"{place}: {len(fields)} fields where the Standard Workload Format has {_FIELDS}.",
            "Unpack the file if it is compressed, and delete lines that are no jobs.",
        )
    try:
        values = [float(field) for field in fields]
    except ValueError:
        wrong = next(field for field in fields if not _is_number(field))
        raise TraceError(f"{place}: “{wrong}” is not a number.") from None
    if not all(map(math.isfinite, values)) or values[_SUBMITTED] < 0:
        raise TraceError(f"{place}: the times and counts of a job are finite, and it is not submitted before 0.")
    run_s = values[_RUN]
    cores = int(values[_CORES] if values[_CORES] > 0 else values[_USED_CORES])
    if run_s < 0 or cores <= 0:
        return None
    requested_s = max(values[_REQUESTED], run_s, 1.0)
    return TraceJob(int(values[0]), values[_SUBMITTED], run_s, cores, requested_s, int(values[_USER]))


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
