"""How often jobs started inside the intervals foreseen for them, and what follows for the next interval."""

from __future__ import annotations

import math
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from springtide.ledger.records import JobRecord

NOMINAL = 0.9
"""How often the truth is to fall inside an interval."""

# So many of the last outcomes are looked at, and each moves the share outside by so much.
_MOST = 1000
_STEP = 0.01
# Weeks of jobs that started at once must not make us bold about the next that does not.
_LEAST_OUTSIDE, _MOST_OUTSIDE = 0.002, 0.2


@dataclass(frozen=True)
class Calibration:
    """How often jobs started inside the interval that had been foreseen for them."""

    n: int
    """Jobs whose start was foreseen and of which it is known whether they started inside."""
    inside: int
    share: float | None
    """`inside` / `n`; None where there is no such job."""
    nominal: float = NOMINAL
    median_width_s: float | None = None
    """A good interval is right as often as it says, and narrow."""


def calibration(records: Iterable[JobRecord], *, now: float | None = None) -> Calibration:
    """Return how often jobs started inside the interval that had been foreseen for them.

    A job that has not started tells nothing while it may still start inside its interval. Past the upper bound it
    counts as outside, whether it still waits or was cancelled since: leaving it out would flatter, as the longest
    waits are the last to end. One cancelled before that is left out: nobody knows.

    Parameters
    ----------
    now : float, optional
        Until when the records are known, in seconds since 1970; by default the time of now.
    """
    now = time.time() if now is None else now
    told = [(record, right) for record in records if (right := _was_inside(record, now)) is not None]
    inside = sum(right for _, right in told)
    return Calibration(
        n=len(told),
        inside=inside,
        share=inside / len(told) if told else None,
        median_width_s=statistics.median(_width_s(record) for record, _ in told) if told else None,
    )


def calibrations(records: Iterable[JobRecord], *, now: float | None = None) -> list[tuple[str, Calibration]]:
    """Return for each site how often its jobs started inside their intervals, by the sites' names."""
    by_site: dict[str, list[JobRecord]] = defaultdict(list)
    for record in records:
        by_site[record.site].append(record)
    return [(site, calibration(by_site[site], now=now)) for site in sorted(by_site)]


def share_outside(waits: Sequence[JobRecord]) -> float:
    """Return the share that quantiles must leave outside for intervals to be right as often as they should.

    Adaptive conformal inference (Gibbs, Candès: "Adaptive Conformal Inference Under Distribution Shift", NeurIPS
    2021): each miss widens the next interval, each hit narrows it a ninth as much.

    Parameters
    ----------
    waits : sequence of JobRecord
        Started jobs, the last started first; those whose start had been foreseen tell.
    """
    share = 1 - NOMINAL
    for record in reversed(waits[:_MOST]):
        right = _was_inside(record, math.inf)
        if right is not None:
            missed = 0.0 if right else 1.0
            share = min(_MOST_OUTSIDE, max(_LEAST_OUTSIDE, share + _STEP * (1 - NOMINAL - missed)))
    return share


def _was_inside(record: JobRecord, now: float) -> bool | None:
    """Return whether a job started inside its interval; None where that is not known (yet)."""
    low, high = record.expected_start_low, record.expected_start_high
    if low is None or high is None:
        return None
    if record.started is not None:
        return low <= record.started <= high
    known_until = record.ended if record.over else now
    return False if known_until is not None and known_until > high else None


def _width_s(record: JobRecord) -> float:
    return (record.expected_start_high or 0.0) - (record.expected_start_low or 0.0)
