"""What can be foreseen in a replay: durations from each user's past, waits from the work that stands before a job.

Nothing of the future is used: what a job took is learnt when it has ended, what it waited when it has started.
"""

from __future__ import annotations

from collections.abc import Iterable

from springtide.cluster.observation import Wait
from springtide.cluster.simulate.easy import EasyQueue
from springtide.cluster.simulate.swf import TraceJob

# Before anything has ended: users ask for about twice what they need.
_OF_REQUEST = 0.5
# How fast the past is forgotten, and how much the first guess weighs against it.
_KEEP = 0.95
_PRIOR_S = 600.0
# Of the wait itself, where nothing better is known; the interval is only used to say when a prediction was wrong.
_LOW, _HIGH = 0.25, 2.5


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
    """How long jobs wait: the core-seconds before them over the cores, times what that was wrong by for like jobs."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._measured: dict[tuple[int, int], tuple[float, float]] = {}
        self.queued_work = 0.0
        """Core-seconds foreseen of all that waits."""

    def drained_s(self, queue: EasyQueue, ends: dict[int, float], now: float) -> float:
        """Return when all that runs and waits now would be done if it filled every core; `ends` foreseen of each."""
        running = queue.running_until()
        work = sum(cores * max(0.0, min(end, ends[job]) - now) for end, job, cores in running)
        return (work + self.queued_work) / self._cores

    def of(self, job: TraceJob, drained_s: float) -> Wait:
        """Return the wait foreseen for `job`, which does not start at once."""
        waited, foreseen = self._measured.get(_kind(job), (0.0, 0.0))
        median_s = drained_s * (waited + _PRIOR_S) / (foreseen + _PRIOR_S)
        return Wait(median_s, _LOW * median_s, _HIGH * median_s)

    def learn(self, job: TraceJob, drained_s: float, waited_s: float) -> None:
        """Take note of how long `job` waited, for which `drained_s` had been found."""
        waited, foreseen = self._measured.get(_kind(job), (0.0, 0.0))
        self._measured[_kind(job)] = (_KEEP * waited + waited_s, _KEEP * foreseen + drained_s)


def _keys(job: TraceJob) -> Iterable[tuple[int, ...]]:
    return ((job.user, job.cores, int(job.requested_s)), (job.user,))


def _kind(job: TraceJob) -> tuple[int, int]:
    """Jobs of about the same size and request: within a factor of four."""
    return job.cores.bit_length() // 2, int(job.requested_s).bit_length() // 2
