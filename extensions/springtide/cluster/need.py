"""How many cores the work wants, and how many are there, or may be expected in time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from springtide.cluster.decision import PolicySettings
from springtide.cluster.observation import Observation, Pool, PoolKind, Wait, Work, Worker, WorkerState

_QUEUED, _BOOTING, _RUNNING = WorkerState.QUEUED, WorkerState.BOOTING, WorkerState.RUNNING


@dataclass(frozen=True, slots=True)
class Need:
    """The work in figures, none of them unknown any more, and the cores that are there for it."""

    cores: int
    """Wanted, so that the work is done within the target."""
    core_seconds: float
    task_s: float
    """Of a typical task."""
    longest_s: float
    """Of the longest task: a worker with less time left takes no more."""
    running: int
    """Cores of registered workers that can still hold a task."""
    coming: int
    """Cores of machines that boot and of jobs that start, those taken for dead not counted."""
    queued: int

    @property
    def asked_for(self) -> int:
        """All cores that are there or asked for."""
        return self.running + self.coming + self.queued


def need_of(observation: Observation, settings: PolicySettings) -> Need:
    """Return what the work wants and what is there."""
    work, now = observation.work, observation.now
    task_s = _first_known(work.median_task_s, work.hint_task_s, settings.unknown_task_s)
    longest_s = max(task_s, work.longest_task_s or 0.0)
    wanted_at_most = work.tasks * work.cores_per_task
    core_seconds = wanted_at_most * task_s if work.core_seconds is None else work.core_seconds
    running = coming = queued = 0
    for pool in observation.pools:
        for worker in pool.workers:
            if worker.state is _RUNNING:
                running += _usable_cores(worker, work, longest_s, now)
            elif worker.state is _QUEUED:
                queued += worker.cores
            elif worker.state is _BOOTING and not overdue(worker, pool, settings, now):
                coming += worker.cores
    cores = _wanted(work, core_seconds, settings)
    return Need(cores, core_seconds, task_s, longest_s, running, coming, queued)


def overdue(worker: Worker, pool: Pool, settings: PolicySettings, now: float) -> bool:
    """Return whether a worker that starts should have been there long ago: its boot time and the grace are over."""
    return now - worker.here_since > pool.boot_s + settings.boot_grace_s


def can_hold_a_task(worker: Worker, longest_s: float, now: float) -> bool:
    """Return whether a task that begins now on `worker` can end there."""
    return worker.ends is None or worker.ends - now >= longest_s


def reckoned(wait: Wait, settings: PolicySettings) -> float:
    """Return the one figure that is taken of a foreseen wait: the median, or with caution nearer to its upper end."""
    return wait.median_s + settings.caution * (wait.high_s - wait.median_s)


def wait_of(worker: Worker, pool: Pool, now: float) -> tuple[Wait, bool]:
    """Return how much longer a worker has to wait in its queue, and whether that is predicted.

    Where nothing is predicted, or where the prediction has been proved wrong, as long as it has waited already: among
    waits of which nothing else is known, the longest are those that go on longest.
    """
    if worker.wait is not None:
        return worker.wait, True
    elapsed_s = max(0.0, now - worker.asked)
    wait = pool.wait
    if wait is not None and elapsed_s <= wait.high_s:
        left = (max(0.0, seconds - elapsed_s) for seconds in (wait.median_s, wait.low_s, wait.high_s))
        return Wait(*left), True
    return Wait(elapsed_s, elapsed_s, elapsed_s), False


def free_pools(observation: Observation) -> list[Pool]:
    """Return the pools that cost nothing, those without a queue first."""
    local = [pool for pool in observation.pools if pool.kind is PoolKind.LOCAL]
    return local + [pool for pool in observation.pools if pool.kind is PoolKind.BATCH]


def enough(cores: int, wanted: int, work: Work, settings: PolicySettings) -> bool:
    """Return whether `cores` are so near to what is wanted that nothing is asked for the difference."""
    if work.together:
        return cores >= wanted
    return cores >= wanted or (cores > 0 and wanted <= cores * (1 + settings.hysteresis))


def _usable_cores(worker: Worker, work: Work, longest_s: float, now: float) -> int:
    if can_hold_a_task(worker, longest_s, now):
        return worker.cores
    return min(worker.cores, worker.tasks * work.cores_per_task)


def _wanted(work: Work, core_seconds: float, settings: PolicySettings) -> int:
    if work.tasks <= 0:
        return 0
    most = work.tasks * work.cores_per_task
    if work.together:
        return most
    in_time = math.ceil(core_seconds / settings.target_s)
    return min(most, max(work.cores_per_task, in_time))


def _first_known(*numbers: float | None) -> float:
    return next(number for number in numbers if number is not None)
