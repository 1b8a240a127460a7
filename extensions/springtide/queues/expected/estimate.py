"""When a job may be expected to start, and which smaller or shorter request would start sooner: pure functions.

Three things tell: free cores and memory now, the scheduler's own forecast, and the waits measured at this site
(`estimate_history`). Each is put as weighted samples of "seconds from now"; the interval is their pooled quantiles
(a linear opinion pool: Stone, "The Opinion Pool", Annals of Mathematical Statistics 32, 1961).

Measured on a real cluster's jobs (HPC2N's trace in our tests; each estimated from those started before it): history's
interval holds 91 % of the starts, and its median width is 0.6 times that of the interval over all waits before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from springtide.ledger.records import JobRecord
from springtide.queues.expected.calibration import Calibration, calibration, share_outside
from springtide.queues.expected.history import Sample, effective, quantiles, samples_of, weighing
from springtide.queues.expected.less import in_shorter_queues, shorter, smaller
from springtide.queues.expected.room import fits_now
from springtide.queues.model import Estimate, JobRequest, Node, QueueLimits

__all__ = ["Calibration", "Suggestion", "calibration", "estimate", "sooner"]

# A job that there is room for starts in one of the scheduler's next rounds.
_ROUNDS_S = (0.0, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 55.0)
# Room that has been there for longer, and did not help: something else keeps the job from starting.
_ROUNDS_END_S = 120.0
# Of free room, where history weighs 1: the interval's end is then about the median of the waits until now.
_FREE_WEIGHT = 9.0

# A forecast supposes that all jobs run as long as they may. They run anything from none to all of it (HPC2N's trace in
# our tests: quartiles 0.05, 0.45 and 0.83 of it); and jobs that come later may have precedence.
_OF_FORECAST = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.0, 1.0, 1.0, 1.1, 1.25, 1.5, 2.0)
_FORECAST_GRAIN_S = 60.0
# A forecast that passed longer ago, while the job still waits, was wrong.
_STALE_S = 300.0
# Where history weighs 1.
_FORECAST_WEIGHT = 0.5

# Schedulers start jobs in rounds: history's interval is wider by one on each side.
_ROUND_S = 30.0

_REAL_GAIN_S = 300.0
_REAL_GAIN_SHARE = 0.25


@dataclass(frozen=True)
class Suggestion:
    """A request that would start sooner."""

    request: JobRequest
    estimate: Estimate
    gain_s: float
    """How much sooner, from median to median."""


def estimate(
    request: JobRequest,
    *,
    now: float,
    nodes: Collection[Node] = (),
    waits: Sequence[JobRecord] = (),
    forecast: float | None = None,
    waited_s: float = 0.0,
    waiting_jobs: int = 0,
) -> Estimate | None:
    """Return when `request` may be expected to start; None where nothing is known.

    Parameters
    ----------
    now : float
        Seconds since 1970.
    waits : sequence of JobRecord
        Started jobs of the site, the last started first.
    forecast : float, optional
        When the scheduler expects it to start, in seconds since 1970; long past, it is not believed.
    waited_s : float
        How long it has waited already.
    waiting_jobs : int
        How many other jobs wait there.
    """
    earliest_s = max(0.0, (request.start_after or 0.0) - now)
    forecast_s = None if forecast is None or forecast < now - _STALE_S else max(0.0, forecast - now)
    history = samples_of(request, waits, waited_s) if _like_others(request) else []
    outside = share_outside(waits)
    later_s = max(waited_s, earliest_s, forecast_s or 0.0)
    if later_s <= _ROUNDS_END_S and not waiting_jobs and _like_others(request) and fits_now(request, nodes):
        found = _free(history, outside)
    elif history:
        found = _measured(history, outside, forecast_s)
    elif forecast_s is not None:
        found = _of(_forecast_samples(forecast_s), outside, "scheduler")
    else:
        return None
    return _not_before(earliest_s, found)


def sooner(
    request: JobRequest,
    *,
    nodes: Collection[Node],
    queues: Collection[QueueLimits],
    waits: Sequence[JobRecord],
    now: float,
    forecast: float | None = None,
) -> list[Suggestion]:
    """Return at most three requests that would really start sooner, the soonest first.

    One with fewer cores or nodes, one for a queue of shorter jobs, one with a shorter walltime: of each kind the least
    change that gains enough.

    Parameters
    ----------
    forecast : float, optional
        When the scheduler expects `request` to start, in seconds since 1970.
    """

    def expected(wish: JobRequest, forecast: float | None = None) -> Estimate | None:
        waiting = sum(queue.waiting for queue in queues if wish.queue in ("", queue.name))
        return estimate(wish, now=now, nodes=nodes, waits=waits, forecast=forecast, waiting_jobs=waiting)

    first = expected(request, forecast)
    # Against the scheduler's word alone, any wish without one may seem better: it must be so by history too.
    others = [first, expected(request)] if forecast is not None else [first]
    kinds: tuple[Iterable[JobRequest], ...] = (
        smaller(request, nodes),
        in_shorter_queues(request, queues),
        shorter(request),
    )
    best = (_first_gain(((wish, expected(wish)) for wish in kind), others) for kind in kinds)
    return sorted(filter(None, best), key=lambda suggestion: suggestion.estimate.median_s)


def _first_gain(
    wishes: Iterable[tuple[JobRequest, Estimate | None]], others: Sequence[Estimate | None]
) -> Suggestion | None:
    """Return the first of `wishes` that starts really sooner than all of `others`."""
    for wish, found in wishes:
        gains = [_real_gain_s(found, other) for other in others if found and other]
        if found and gains and all(gains):
            return Suggestion(wish, found, gains[0])
    return None


def _real_gain_s(found: Estimate, other: Estimate) -> float:
    """Return how much sooner `found` is than `other`; 0 where it is no more than chance."""
    gain_s = other.median_s - found.median_s
    real = gain_s >= max(_REAL_GAIN_S, _REAL_GAIN_SHARE * other.median_s) and found.high_s <= other.high_s
    return gain_s if real else 0.0


def _free(history: Sequence[Sample], outside: float) -> Estimate:
    """There is room. What nobody has told may stand against it (limits of users, reservations): history has its say."""
    rounds = [(seconds, 1.0) for seconds in _ROUNDS_S]
    return _of([*weighing(rounds, _FREE_WEIGHT), *weighing(history, 1.0)], outside, "free", history)


def _measured(history: Sequence[Sample], outside: float, forecast_s: float | None) -> Estimate:
    if forecast_s is None:
        found = _of(history, outside, "history", history)
    else:
        told = weighing(_forecast_samples(forecast_s), _FORECAST_WEIGHT)
        found = _of([*_likely(history, forecast_s), *told], outside, "both", history)
    return dataclasses.replace(found, low_s=max(0.0, found.low_s - _ROUND_S), high_s=found.high_s + _ROUND_S)


def _likely(history: Sequence[Sample], forecast_s: float) -> list[Sample]:
    """Return what `history` says once a forecast is known: waits that go far beyond it are less likely."""
    upper_s = forecast_s + _FORECAST_GRAIN_S
    return [(left_s, weight * min(1.0, upper_s / max(1.0, left_s)) ** 2) for left_s, weight in weighing(history, 1.0)]


def _forecast_samples(forecast_s: float) -> list[Sample]:
    return [(share * (forecast_s + _FORECAST_GRAIN_S), 1.0) for share in _OF_FORECAST]


def _of(samples: Sequence[Sample], outside: float, source: str, history: Sequence[Sample] = ()) -> Estimate:
    low, median, high = quantiles(samples, (outside / 2, 0.5, 1 - outside / 2))
    return Estimate(median, low, high, source, samples=round(effective(history)))


def _like_others(request: JobRequest) -> bool:
    """Whether a request waits for room alone, as most do."""
    return not request.held and not request.dependencies


def _not_before(earliest_s: float, found: Estimate) -> Estimate:
    low, median, high = (max(earliest_s, seconds) for seconds in (found.low_s, found.median_s, found.high_s))
    return dataclasses.replace(found, low_s=low, median_s=median, high_s=high)
