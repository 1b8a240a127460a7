"""What jobs asked for against what they used. Pure functions of the ledger's rows."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from springtide.ledger.records import LOST, REFUSED, JobRecord

_ENDED_WELL = ("", "exit", "cancelled")


@dataclass(frozen=True)
class Share:
    """How much of something was asked for, and how much of it was used; 0 and None is what nobody has said."""

    asked: float
    used: float | None

    @property
    def known(self) -> bool:
        """Whether the two can be compared."""
        return self.asked > 0 and self.used is not None

    @property
    def percent(self) -> float | None:
        """How much of what was asked for was used."""
        return 100 * self.used / self.asked if self.asked > 0 and self.used is not None else None


@dataclass(frozen=True)
class Usage:
    """What one job asked for and used, or all jobs of a user together."""

    core_s: Share
    """Cores for the whole walltime, against the seconds that processors worked for it."""
    memory_bytes: Share
    walltime_s: Share

    @property
    def named(self) -> dict[str, Share]:
        """The three by name."""
        return {"cpu": self.core_s, "memory": self.memory_bytes, "walltime": self.walltime_s}


@dataclass(frozen=True)
class Total:
    """A user's jobs together. Shares are of the jobs of which both is known, sums of all."""

    user: str
    jobs: int
    open: int
    failed: int
    """Ended otherwise than by exit status 0 or by being cancelled, or was refused or lost."""
    asked_core_s: float
    """Cores for the whole walltime, of all jobs."""
    used_core_s: float
    """Seconds that processors worked."""
    usage: Usage
    median_wait_s: float | None


def usage_of(record: JobRecord) -> Usage:
    """Return what a job asked for and used; an array's walltime and memory are each of its jobs'."""
    walltime = record.used_walltime_s
    if walltime is None and record.started is not None and record.ended is not None:
        walltime = max(0.0, record.ended - record.started)
    asked_core_s = record.cores * record.walltime_s * max(1, record.array_size)
    return Usage(
        core_s=Share(asked_core_s, record.used_cpu_s),
        memory_bytes=Share(record.memory_bytes, record.used_memory_bytes),
        walltime_s=Share(record.walltime_s, walltime),
    )


def totals(records: Iterable[JobRecord]) -> list[Total]:
    """Return what each user's jobs are together, those who asked for most first."""
    by_user: dict[str, list[JobRecord]] = defaultdict(list)
    for record in records:
        by_user[record.user].append(record)
    found = [_total(user, theirs) for user, theirs in by_user.items()]
    return sorted(found, key=lambda total: (-total.asked_core_s, total.user))


def has_failed(record: JobRecord) -> bool:
    """Whether a job ended otherwise than its user wished."""
    badly = record.exit_status not in (None, 0) and record.cause != "cancelled"
    return record.state in (REFUSED, LOST) or (record.over and (badly or record.cause not in _ENDED_WELL))


def _total(user: str, records: Sequence[JobRecord]) -> Total:
    # What was refused has taken nothing from anybody.
    usages = [usage_of(record) for record in records if record.state != REFUSED]
    waits = [wait for record in records if (wait := record.waited_s) is not None]
    return Total(
        user=user,
        jobs=len(records),
        open=sum(not record.over for record in records),
        failed=sum(map(has_failed, records)),
        asked_core_s=sum(usage.core_s.asked for usage in usages),
        used_core_s=sum(usage.core_s.used or 0.0 for usage in usages),
        usage=Usage(
            core_s=_together(usage.core_s for usage in usages),
            memory_bytes=_together(usage.memory_bytes for usage in usages),
            walltime_s=_together(usage.walltime_s for usage in usages),
        ),
        median_wait_s=statistics.median(waits) if waits else None,
    )


def _together(shares: Iterable[Share]) -> Share:
    known = [share for share in shares if share.known]
    return Share(sum(share.asked for share in known), sum(share.used or 0.0 for share in known) if known else None)
