"""What can be foreseen in a replay: durations from each user's past, waits from the queue as it stands.

Nothing of the future is used: what a job took is learnt when it has ended, what it waited when it has started.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable, Mapping

from springtide.cluster.observation import Wait
from springtide.cluster.simulate.easy import EasyQueue
from springtide.cluster.simulate.swf import TraceJob

# Before anything has ended: users ask for about twice what they need.
_OF_REQUEST = 0.5
# How fast the past is forgotten.
_KEEP = 0.95
# A job that runs longer than foreseen runs for so much of what is left of its request.
_OF_OVERRUN = 0.3
# Of so many forecasts it is remembered what came true; at first they are taken to be right within a factor of four.
_REMEMBERED = 200
_FIRST_QUOTIENTS = (0.25, 0.5, 1.0, 1.0, 2.0, 4.0)
_LEVELS = (0.05, 0.5, 0.95)
_GRAIN_S = 60.0
# The queue is played forward with no more waiting jobs than these, as real schedulers do (Slurm: bf_max_job_test).
_PLAYED = 200


class Durations:
    """How long jobs run: as the mean of the user's last two like jobs, at most as long as asked for.

    Tsafrir, Etsion, Feitelson: "Backfilling Using System-Generated Predictions Rather than User Runtime Estimates",
    IEEE TPDS 18(6), 2007; jobs of the same size and request come before the user's others here.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[int, ...], tuple[float, float]] = {}
        self._share_of_request = _OF_REQUEST

    def of(self, job: TraceJob) -> float:
        """Return how long `job` may be expected to run."""
        for key in _keys(job):
            if key in self._last:
                return min(job.requested_s, max(1.0, sum(self._last[key]) / 2))
        return max(1.0, job.requested_s * self._share_of_request)

    def learn(self, job: TraceJob) -> None:
        """Take note of how long `job`, which has ended, ran."""
        for key in _keys(job):
            _, last_s = self._last.get(key, (job.run_s, job.run_s))
            self._last[key] = (last_s, job.run_s)
        share = job.run_s / job.requested_s
        self._share_of_request = _KEEP * self._share_of_request + (1 - _KEEP) * share


class Waits:
    """How long jobs wait: the queue played forward with foreseen durations, corrected by how wrong that was until now.

    That is how schedulers forecast, but for the durations: they take the walltimes asked for. Of the last forecasts,
    the quotient of what came true and what was foreseen gives the median and the interval.
    """

    def __init__(self) -> None:
        self._quotients: deque[float] = deque(_FIRST_QUOTIENTS, maxlen=_REMEMBERED)
        self._ordered = sorted(self._quotients)

    def of(self, forecast_s: float) -> Wait:
        """Return the wait to be expected where `forecast_s` is forecast."""
        low, median, high = (self._ordered[int(level * len(self._ordered))] for level in _LEVELS)
        least_s = max(_GRAIN_S, forecast_s)
        return Wait(median * least_s, low * least_s, high * least_s)

    def learn(self, forecast_s: float, waited_s: float) -> None:
        """Take note of how long a job waited for which `forecast_s` was forecast when it was submitted."""
        if len(self._quotients) == _REMEMBERED:
            self._ordered.remove(self._quotients[0])
        quotient = waited_s / max(_GRAIN_S, forecast_s)
        self._quotients.append(quotient)
        insort(self._ordered, quotient)


def forecast_s(
    queue: EasyQueue, foreseen_ends: Mapping[int, float], guesses: Mapping[int, float], job: int, now: float
) -> float:
    """Return how long `job`, which waits in `queue`, waits from `now` if jobs run as long as foreseen."""
    running = (
        (number, cores, foreseen_ends[number] - now if foreseen_ends[number] > now else (end - now) * _OF_OVERRUN)
        for end, number, cores in queue.running_until()
    )
    before: list[tuple[int, int, float]] = []
    for number, (cores, _) in queue.waiting.items():
        if len(before) < _PLAYED or number == job:
            before.append((number, cores, guesses[number]))
        if number == job:
            break
    return EasyQueue.supposed(queue.cores, running, before, now).start_of(job, now) - now


def _keys(job: TraceJob) -> Iterable[tuple[int, ...]]:
    return ((job.user, job.cores, int(job.requested_s)), (job.user,))
