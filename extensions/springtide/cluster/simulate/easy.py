"""A batch queue: first come, first served, with EASY backfill.

A later job may start before the first one that waits if it does not delay that one's reservation, which is made by the
walltimes asked for (Lifka: "The ANL/IBM SP Scheduling System", JSSPP 1995; Mu'alem, Feitelson, IEEE TPDS 12(6), 2001).
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable


class EasyQueue:
    """A cluster of `cores` cores and what waits for them. Times never run backwards.

    Each call that may start jobs returns the ids of those that start now.
    """

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self.free = cores
        self.waiting: dict[int, tuple[int, float]] = {}
        """Cores and walltime of each waiting job, in order."""
        self._running: dict[int, tuple[float, int]] = {}
        self._ends: list[tuple[float, int, int]] = []
        """When running jobs end at the latest, their ids and cores; sorted."""
        # The reservation of the first that waits: when, and how many cores are free then beside it.
        self._shadow, self._extra = math.inf, 0

    @classmethod
    def supposed(
        cls,
        cores: int,
        running: Iterable[tuple[int, int, float]],
        waiting: Iterable[tuple[int, int, float]],
        now: float,
    ) -> EasyQueue:
        """Return a queue as it would be if jobs (id, cores, duration from now) ran and waited like this."""
        queue = cls(cores)
        for job, job_cores, left_s in running:
            queue._start(job, job_cores, left_s, now)
        queue.waiting = {job: (job_cores, duration_s) for job, job_cores, duration_s in waiting}
        if queue.waiting:
            queue._reserve()
        return queue

    def start_of(self, job: int, now: float) -> float:
        """Return when `job`, which waits, starts if all jobs run as long as they may and no more come.

        The queue is played to that moment: it is of no use afterwards.
        """
        started = self._schedule(now)
        while job not in started:
            now, ending, _ = self._ends[0]
            started = self.finish(ending, now)
        return now

    def submit(self, job: int, cores: int, walltime_s: float, now: float) -> list[int]:
        """Add a job at the end of the queue."""
        if self.starts_at_once(cores, walltime_s, now):
            if self.waiting and now + walltime_s > self._shadow:
                self._extra -= cores
            self._start(job, cores, walltime_s, now)
            return [job]
        self.waiting[job] = (cores, walltime_s)
        if len(self.waiting) == 1:
            self._reserve()
        return []

    def starts_at_once(self, cores: int, walltime_s: float, now: float) -> bool:
        """Return whether such a job would start if it was submitted now.

        Nothing else has to be looked at: what waits could not start when something last changed, and the time until
        the reservation has only become shorter since.
        """
        if cores > self.free:
            return False
        return not self.waiting or now + walltime_s <= self._shadow or cores <= self._extra

    def finish(self, job: int, now: float) -> list[int]:
        """Take note that a running job has ended."""
        end, cores = self._running.pop(job)
        del self._ends[bisect_left(self._ends, (end, job, cores))]
        self.free += cores
        return self._schedule(now)

    def withdraw(self, job: int, now: float) -> list[int]:
        """Take a waiting job out of the queue."""
        first = next(iter(self.waiting)) == job
        del self.waiting[job]
        return self._schedule(now) if first else []

    def running_until(self) -> list[tuple[float, int, int]]:
        """Return when running jobs end at the latest, their ids and cores; the first to end first."""
        return self._ends

    def _schedule(self, now: float) -> list[int]:
        started: list[int] = []
        for job, (cores, walltime_s) in self.waiting.items():
            if cores > self.free:
                break
            self._start(job, cores, walltime_s, now)
            started.append(job)
        for job in started:
            del self.waiting[job]
        if self.waiting:
            self._reserve()
            if self.free:
                started += self._backfill(now)
        return started

    def _backfill(self, now: float) -> list[int]:
        started: list[int] = []
        free, extra, window_s = self.free, self._extra, self._shadow - now
        for job, (cores, walltime_s) in self.waiting.items():
            if cores <= free and (walltime_s <= window_s or cores <= extra):
                if walltime_s > window_s:
                    extra -= cores
                free -= cores
                started.append(job)
                if not free:
                    break
        for job in started:
            cores, walltime_s = self.waiting.pop(job)
            self._start(job, cores, walltime_s, now)
        self._extra = extra
        return started

    def _start(self, job: int, cores: int, walltime_s: float, now: float) -> None:
        self.free -= cores
        self._running[job] = (now + walltime_s, cores)
        insort(self._ends, (now + walltime_s, job, cores))

    def _reserve(self) -> None:
        """Reserve for the first that waits: it does not fit now, and it fits the cluster."""
        wanted = next(iter(self.waiting.values()))[0]
        free = self.free
        for end, _, cores in self._ends:
            free += cores
            if free >= wanted:
                self._shadow, self._extra = end, free - wanted
                return
