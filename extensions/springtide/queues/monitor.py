"""The one poller of a site: everyone else reads what it saw last.

However many sessions watch, the scheduler gets at most one bulk command an interval, and one look into the history
for each job that left the bulk answer.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from springtide.errors import QueueUnreachable
from springtide.queues.base import Capacity, JobInfo, JobState, Queue

_TIMES_ABSENT_UNTIL_GONE = 2


@dataclass(frozen=True)
class Sight:
    """What the monitor knows of one job.

    ``job`` is None in two cases kept apart by ``gone``: asked successfully, twice, and not there (gone); or the
    scheduler could not be asked (unknown), for ``age_s`` seconds already.
    """

    job: JobInfo | None
    gone: bool = False
    outage: str = ""
    age_s: float = 0.0

    @property
    def ended(self) -> bool:
        """Whether the scheduler answered that the job is over."""
        return self.gone or (self.job is not None and not self.job.state.alive)


@dataclass
class Monitor:
    """Polls one queue for all its watchers.

    Parameters
    ----------
    queue : Queue
        The queue to ask.
    interval_s : float
        Least time between two bulk commands.
    """

    queue: Queue
    interval_s: float = 10.0
    _jobs: dict[str, JobInfo] = field(default_factory=dict)
    _ended: dict[str, JobInfo] = field(default_factory=dict)
    _absent: dict[str, int] = field(default_factory=dict)
    _watched: set[str] = field(default_factory=set)
    _asked_at: float = float("-inf")
    _answered_at: float = field(default_factory=time.monotonic)
    _outage: str = ""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _capacity: tuple[float, Capacity] | None = None

    async def look(self, job_id: str, *, within_s: float | None = None) -> Sight:
        """Return what is known of `job_id`, asking the scheduler only if the last answer is older than the interval.

        Parameters
        ----------
        within_s : float, optional
            A shorter interval for somebody who waits in front of a page.
        """
        self._watched.add(job_id)
        await self._refresh(self.interval_s if within_s is None else min(within_s, self.interval_s))
        return self._sight(job_id)

    def forget(self, job_id: str) -> None:
        """Stop watching a job that is over."""
        self._watched.discard(job_id)
        self._ended.pop(job_id, None)
        self._absent.pop(job_id, None)

    async def capacity(self, *, within_s: float = 10.0) -> Capacity:
        """Return the site's capacity, at most `within_s` seconds old.

        Raises
        ------
        QueueUnreachable
            If the scheduler could not be asked.
        """
        if self._capacity is None or time.monotonic() - self._capacity[0] > within_s:
            try:
                self._capacity = (time.monotonic(), await self.queue.capacity())
            except (ValueError, KeyError, TypeError) as error:
                raise QueueUnreachable(f"the scheduler's answer cannot be read ({error})") from error
        return self._capacity[1]

    async def _refresh(self, interval_s: float) -> None:
        async with self._lock:
            if time.monotonic() - self._asked_at < interval_s:
                return
            self._asked_at = time.monotonic()
            try:
                self._jobs = await self.queue.live_jobs()
                self._ended.update(self._watched_that_ended())
                await self._look_for_absent()
            except QueueUnreachable as outage:
                self._outage = outage.message
                return
            except (ValueError, KeyError, TypeError) as error:
                # An answer that cannot be read says nothing about any job.
                self._outage = f"the scheduler's answer cannot be read ({error})"
                return
            self._outage = ""
            self._answered_at = time.monotonic()

    def _watched_that_ended(self) -> dict[str, JobInfo]:
        found = ((job_id, self._jobs.get(job_id)) for job_id in self._watched)
        return {job_id: job for job_id, job in found if job is not None and not job.state.alive}

    async def _look_for_absent(self) -> None:
        absent = {job_id for job_id in self._watched if job_id not in self._jobs and job_id not in self._ended}
        if absent:
            self._ended.update(await self.queue.ended_jobs(absent))
        self._absent = {job_id: self._absent.get(job_id, 0) + 1 for job_id in absent - set(self._ended)}

    def _sight(self, job_id: str) -> Sight:
        age_s = time.monotonic() - self._answered_at
        if job_id in self._ended:
            return Sight(self._ended[job_id], age_s=age_s)
        if self._outage:
            return Sight(None, outage=self._outage, age_s=age_s)
        job = self._jobs.get(job_id)
        if job is not None:
            return Sight(job, age_s=age_s)
        return Sight(None, gone=self._absent.get(job_id, 0) >= _TIMES_ABSENT_UNTIL_GONE, age_s=age_s)


def is_waiting(sight: Sight) -> bool:
    """Whether the job is in the queue and has no node yet."""
    return sight.job is not None and sight.job.state in (JobState.QUEUED, JobState.HELD, JobState.WAITING)
