"""Which of the cores that are wanted do not come in time, and how slow the queues are for them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from springtide.cluster.decision import Ask, PolicySettings
from springtide.cluster.need import Need, enough, reckoned, wait_of
from springtide.cluster.observation import Observation, Pool, PoolKind, Wait, WorkerState

_AT_ONCE = Wait(0.0, 0.0, 0.0)
_NEVER = Wait(math.inf, math.inf, math.inf)
_LEAST_LOOK_S = 60.0


@dataclass(frozen=True, slots=True)
class Late:
    """The cores that are wanted and do not come in time."""

    cores: int
    wait: Wait
    """Of the slowest queue that has some of them; infinite where no queue takes them."""
    predicted: bool
    look_again_s: float | None
    """When a worker that still waits would tell something new."""

    @property
    def nowhere(self) -> bool:
        """Whether no queue takes them."""
        return self.wait.median_s == math.inf

    def spared_s(self, ready_s: float) -> float:
        """Return the wait that is spared on average if they come after `ready_s` instead.

        By a rule of thumb over the quantiles: the ends of the interval count a quarter each, the median a half.
        """
        quantiles = ((0.25, self.wait.low_s), (0.5, self.wait.median_s), (0.25, self.wait.high_s))
        return sum(weight * max(0.0, wait_s - ready_s) for weight, wait_s in quantiles)


@dataclass(frozen=True, slots=True)
class _Queued:
    cores: int
    wait: Wait
    predicted: bool
    look_again_s: float | None


def late_cores(
    observation: Observation, settings: PolicySettings, need: Need, free: Sequence[Ask], limit_s: float, covered: int
) -> Late:
    """Return what does not come within `limit_s`.

    Parameters
    ----------
    free : sequence of Ask
        What is being asked of queues in the same decision.
    covered : int
        Cores being asked of other clouds.
    """
    on_time, slow_cores = need.running + need.coming + covered, 0
    slowest: _Queued | None = None
    times: list[float] = []
    for pool in observation.pools:
        if pool.kind is PoolKind.CLOUD:
            continue
        for queued in _queued(observation, pool, free, limit_s):
            if reckoned(queued.wait, settings) > limit_s:
                slow_cores += queued.cores
                if slowest is None or reckoned(queued.wait, settings) > reckoned(slowest.wait, settings):
                    slowest = queued
            else:
                on_time += queued.cores
                if queued.look_again_s is not None:
                    times.append(queued.look_again_s)
    again_s = min(times) if times else None
    if enough(on_time, need.cores, observation.work, settings):
        return Late(0, _AT_ONCE, True, again_s)
    if slowest is None or not enough(on_time + slow_cores, need.cores, observation.work, settings):
        return Late(need.cores - on_time, _NEVER, False, again_s)
    return Late(need.cores - on_time, slowest.wait, slowest.predicted, again_s)


def _queued(observation: Observation, pool: Pool, free: Sequence[Ask], limit_s: float) -> Iterator[_Queued]:
    """Yield all that waits in `pool`, or will when this decision is carried out."""
    now = observation.now
    for worker in pool.workers:
        if worker.state is WorkerState.QUEUED:
            wait, predicted = wait_of(worker, pool, now)
            yield _Queued(worker.cores, wait, predicted, _again_s(pool, worker.asked, worker.wait, now, limit_s))
    for ask in free:
        if ask.pool == pool.name:
            wait = _AT_ONCE if pool.wait is None or pool.kind is PoolKind.LOCAL else pool.wait
            again_s = _again_s(pool, now, None, now, limit_s)
            yield _Queued(ask.count * ask.cores, wait, pool.wait is not None, again_s)


def _again_s(pool: Pool, asked: float, own: Wait | None, now: float, limit_s: float) -> float | None:
    """Return when a worker that still waits tells something new: its prediction was wrong, or it has waited too long.

    A second later than that, as the limits are to be exceeded.
    """
    if pool.kind is PoolKind.LOCAL:
        return None
    if own is not None:
        return max(_LEAST_LOOK_S, own.high_s + 1.0)
    wrong_after_s = max(limit_s, pool.wait.high_s) if pool.wait is not None else limit_s
    return max(1.0, asked + wrong_after_s + 1.0 - now)
