"""What a site's measured waits say of a job's wait: weighted samples and their quantiles.

A wait is compared with those of similar jobs, the last ones most. That is the idea of QBETS (Nurmi, Brevik, Wolski:
"QBETS: Queue Bounds Estimation from Time Series", JSSPP 2007): clusters of like jobs and quantiles of their waits,
no model of the scheduler. Here a kernel takes the place of the clusters, so that nothing has to be trained.

Only jobs that have started are measured: while a queue grows, its longest waits are still missing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from springtide.ledger.records import JobRecord
from springtide.queues.model import JobRequest

Sample = tuple[float, float]
"""Seconds from now until such a job started, and its weight."""

_FEWEST = 10
_MOST = 1000
# One unit of unlikeness, in doublings.
_CORES_SCALE = 1.5
_WALLTIME_SCALE = 2.0
# The weight of a wait halves with so many jobs that started since.
_HALF_LIFE_JOBS = 200
# The kernel is widened step by step until so many waits count.
_WIDTHS = (1.0, 2.0, 4.0, math.inf)
_ENOUGH = 20.0


def samples_of(request: JobRequest, waits: Sequence[JobRecord], waited_s: float = 0.0) -> list[Sample]:
    """Return when jobs like `request` started, for one that has waited `waited_s` already; [] with too few of them.

    Parameters
    ----------
    waits : sequence of JobRecord
        Started jobs of the site, the last started first. Those of the request's own queue are taken if there are
        enough of them, else all.
    """
    own = [record for record in waits if record.queue == request.queue] if request.queue else waits
    for among in (own, waits):
        chosen = list(_still_waiting(among, waited_s))
        if len(chosen) >= _FEWEST:
            weights = _weights(request, [(rank, record) for rank, record, _ in chosen])
            return [(left_s, weight) for (_, _, left_s), weight in zip(chosen, weights, strict=True)]
    return []


def effective(samples: Sequence[Sample]) -> float:
    """Return how many equally weighted samples say as much (Kish's effective sample size)."""
    squares = sum(weight * weight for _, weight in samples)
    return sum(weight for _, weight in samples) ** 2 / squares if squares > 0 else 0.0


def weighing(samples: Sequence[Sample], total: float) -> list[Sample]:
    """Return `samples` weighing `total` together."""
    weight_of_all = sum(weight for _, weight in samples)
    return [(seconds, weight * total / weight_of_all) for seconds, weight in samples] if weight_of_all > 0 else []


def quantiles(samples: Iterable[Sample], levels: Sequence[float]) -> list[float]:
    """Return the weighted quantiles of `samples`, of which there are some, at `levels`, which rise."""
    ordered = sorted(samples)
    sums = list(itertools.accumulate(weight for _, weight in ordered))
    found, place = [], 0
    for level in levels:
        while place < len(ordered) - 1 and sums[place] < level * sums[-1]:
            place += 1
        found.append(ordered[place][0])
    return found


def _still_waiting(records: Iterable[JobRecord], waited_s: float) -> Iterator[tuple[int, JobRecord, float]]:
    """Yield the rank of each recent record that waited longer than `waited_s`, the record, and for how much longer."""
    measured = ((record, record.waited_s) for record in records)
    known = ((record, wait_s) for record, wait_s in measured if wait_s is not None)
    for rank, (record, wait_s) in enumerate(itertools.islice(known, _MOST)):
        if wait_s > waited_s or waited_s <= 0:
            yield rank, record, wait_s - max(0.0, waited_s)


def _weights(request: JobRequest, ranked: Sequence[tuple[int, JobRecord]]) -> list[float]:
    cores, walltime = _size(request.cores * request.nodes), _size(request.walltime_s)
    unlike = [
        ((cores - _size(record.cores)) / _CORES_SCALE) ** 2
        + ((walltime - _size(record.walltime_s)) / _WALLTIME_SCALE) ** 2
        for _, record in ranked
    ]
    recent = [0.5 ** (rank / _HALF_LIFE_JOBS) for rank, _ in ranked]
    weights: list[float] = []
    for width in _WIDTHS:
        weights = [math.exp(-far / width**2) * new for far, new in zip(unlike, recent, strict=True)]
        if effective([(0.0, weight) for weight in weights]) >= _ENOUGH:
            break
    return weights


def _size(number: float) -> float:
    return math.log2(max(1, number))
