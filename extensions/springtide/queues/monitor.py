"""The one poller of a site: everyone else reads what it saw last.

However many sessions watch, the scheduler gets at most one bulk command an interval, and one look into the history
for the watched jobs that left the bulk answer. How long it is left in peace is decided in `queues.pauses`, who is told
of changes in `queues.subscribers`. Only the monotonic clock counts: a clock set anew changes nothing here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from springtide.errors import QueueUnreachable
from springtide.queues.base import Queue
from springtide.queues.model import Capacity, JobInfo, Node, QueueLimits, capacity_of
from springtide.queues.pauses import Pauses
from springtide.queues.sight import Sight, Snapshot, is_waiting
from springtide.queues.site_facts import SiteCache, SiteFacts, understood, words_of
from springtide.queues.subscribers import Subscriber, Subscribers

__all__ = ["Monitor", "Sight", "SiteFacts", "Snapshot", "is_waiting", "understood"]

_TIMES_ABSENT_UNTIL_GONE = 2
# When thousands of watched jobs vanish at once, each look asks for a part of them: 5 commands on PBS.
_DETAILS_AT_ONCE = 100
_SITE_WITHIN_S = 60.0
# Three commands on PBS, which would be nearly as many as all others where nothing changes.
_SITE_WITHIN_S_WHILE_IDLE = 900.0


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
    _answered: bool = False
    _answered_at: float = field(default_factory=time.monotonic)
    _outage: str = ""
    _history_outage: str = ""
    _asking: asyncio.Task[None] | None = None
    _pauses: Pauses = field(default_factory=Pauses)
    _site: SiteCache | None = None
    _subscribers: Subscribers[Sight] = field(default_factory=Subscribers)
    _poller: asyncio.Task[None] | None = None

    async def look(self, job_id: str, *, within_s: float | None = None) -> Sight:
        """Return what is known of `job_id`, asking the scheduler only if the last answer is older than the interval.

        Parameters
        ----------
        within_s : float, optional
            A shorter interval for somebody who waits in front of a page.
        """
        self._watch([job_id])
        await self._refresh(within_s)
        return self._sight(job_id)

    def forget(self, job_id: str) -> None:
        """Stop watching a job that is over."""
        self._watched.discard(job_id)
        self._ended.pop(job_id, None)
        self._absent.pop(job_id, None)

    async def snapshot(self, *, within_s: float | None = None) -> Snapshot:
        """Return the last good answer about all jobs, after asking as `look` does.

        Raises
        ------
        QueueUnreachable
            If the scheduler has never answered yet.
        """
        await self._refresh(within_s)
        if not self._answered:
            raise QueueUnreachable(self._outage)
        return Snapshot(dict(self._jobs), self._age_s, self._outage)

    async def changes(self, job_ids: Collection[str] | None = None) -> AsyncGenerator[tuple[str, Sight], None]:
        """Yield a job's id and sight: first as all of them are now, then whenever one changes.

        Who is slow gets the newest sight of each job that changed meanwhile. While anybody listens, one task polls for
        all. An outage is told of watched jobs only.

        Parameters
        ----------
        job_ids : collection of str, optional
            The jobs to watch; all the scheduler shows where left out. Of a job that nobody watches, its leaving the
            queue is told, not how it ended.
        """
        wanted = None if job_ids is None else frozenset(job_ids)
        self._watch(wanted or ())
        await self._refresh(None)
        with self._subscribers.subscribe(wanted, self._sights()) as subscriber:
            self._start_poller()
            try:
                async for change in subscriber:
                    yield change
            finally:
                self._stop_poller(subscriber)

    async def capacity(self, *, within_s: float = 10.0) -> Capacity:
        """Return the site's capacity, at most `within_s` seconds old.

        Raises
        ------
        QueueUnreachable
            If the scheduler could not be asked.
        """
        seen, site = await self.snapshot(within_s=within_s), await self.site(within_s=within_s)
        if outage := site.outage or seen.outage:
            raise QueueUnreachable(outage)
        return capacity_of(site.nodes, seen.jobs)

    async def nodes(self, *, within_s: float = _SITE_WITHIN_S) -> tuple[Node, ...]:
        """Return the site's nodes as `site` does."""
        return (await self.site(within_s=within_s)).nodes

    async def queues(self, *, within_s: float = _SITE_WITHIN_S) -> tuple[QueueLimits, ...]:
        """Return the site's queues as `site` does."""
        return (await self.site(within_s=within_s)).queues

    async def site(self, *, within_s: float = _SITE_WITHIN_S) -> SiteFacts:
        """Return nodes and queues, at most `within_s` seconds old unless the scheduler cannot be asked.

        They may be older while no job changes, as nothing is taken or freed then; not for less than an interval.

        Raises
        ------
        QueueUnreachable
            If it has never answered yet.
        """
        if self._site is None:
            self._site = SiteCache(self.queue)
        if within_s >= self.interval_s and self._pauses.idle_since(self._site.answered_at):
            within_s = max(within_s, _SITE_WITHIN_S_WHILE_IDLE)
        return await self._site.facts(within_s)

    @property
    def _age_s(self) -> float:
        return time.monotonic() - self._answered_at

    def _watch(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            if job_id not in self._watched:
                # What was counted before nobody had looked up in the history.
                self._absent.pop(job_id, None)
                self._watched.add(job_id)

    async def _refresh(self, within_s: float | None) -> None:
        if self._asking is not None and not self._asking.done():
            # The question goes on for the others when one who waits for it is cancelled.
            await asyncio.shield(self._asking)
        if self._pauses.left_s(self.interval_s, within_s) > 0:
            return
        # It may have begun before this caller came, and be too old for him; one that began since is not.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="asking the scheduler")
        await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        self._pauses.asked()
        try:
            changed = await self._take_answer()
        except Exception as error:
            # An answer that cannot be read says nothing about any job, whatever the parser stumbled over.
            self._outage = words_of(error)
            self._pauses.failed()
        else:
            self._answered, self._answered_at, self._outage = True, time.monotonic(), ""
            self._pauses.answered(changed=changed)
        self._subscribers.tell(self._sights, complete=not self._outage)

    async def _take_answer(self) -> bool:
        """Ask, and return whether anything changed; a history that cannot be asked leaves the rest as answered."""
        jobs = await self.queue.snapshot()
        self._ended.update(self._watched_that_ended(jobs))
        absent = self._absent_to_ask_for(jobs)
        known = await self._look_up(absent)
        alive = {job_id: job for job_id, job in known.items() if job.state.alive}
        seen = {**jobs, **alive}
        changed = _looks(self._jobs) != _looks(seen)
        self._ended.update((job_id, job) for job_id, job in known.items() if job_id not in alive)
        self._count_absent(seen, () if self._history_outage else absent)
        self._jobs = seen
        return changed or bool(self._absent) or bool(self._history_outage)

    async def _look_up(self, absent: Collection[str]) -> dict[str, JobInfo]:
        self._history_outage = ""
        try:
            found = await self.queue.details(absent) if absent else {}
            return {job_id: found[job_id] for job_id in absent if job_id in found}
        except Exception as error:
            self._history_outage = words_of(error)
            return {}

    def _watched_that_ended(self, jobs: Mapping[str, JobInfo]) -> dict[str, JobInfo]:
        found = ((job_id, jobs.get(job_id)) for job_id in self._watched)
        return {job_id: job for job_id, job in found if job is not None and not job.state.alive}

    def _absent_to_ask_for(self, jobs: Mapping[str, JobInfo]) -> list[str]:
        absent = [job_id for job_id in self._watched if job_id not in jobs and job_id not in self._ended]
        # Those not yet asked for come first, so that each has its turn.
        return sorted(absent, key=lambda job_id: self._absent.get(job_id, 0))[:_DETAILS_AT_ONCE]

    def _count_absent(self, seen: Mapping[str, JobInfo], asked: Collection[str]) -> None:
        """Count how often in a row each job was not there; of watched ones, only where the history was asked too."""
        left = [job_id for job_id in self._jobs if job_id not in self._watched]
        missed = [job_id for job_id, times in self._absent.items() if times < _TIMES_ABSENT_UNTIL_GONE]
        unwatched = {job_id for job_id in (*left, *missed) if job_id not in self._watched}
        counted = {job_id: self._absent.get(job_id, 0) + 1 for job_id in {*asked, *unwatched}}
        kept = {job_id: times for job_id, times in self._absent.items() if job_id in self._watched}
        self._absent = {
            job_id: times
            for job_id, times in {**kept, **counted}.items()
            if job_id not in seen and job_id not in self._ended
        }

    def _sight(self, job_id: str) -> Sight:
        if job_id in self._ended:
            return Sight(self._ended[job_id], age_s=self._age_s)
        if self._outage:
            return Sight(None, outage=self._outage, age_s=self._age_s)
        job = self._jobs.get(job_id)
        if job is not None:
            return Sight(job, age_s=self._age_s)
        if self._absent.get(job_id, 0) >= _TIMES_ABSENT_UNTIL_GONE:
            return Sight(None, gone=True, age_s=self._age_s)
        return Sight(None, outage=self._history_outage, age_s=self._age_s)

    def _sights(self) -> dict[str, tuple[object, Sight]]:
        """Return each job's sight with what counts of it; of jobs whose end is not known yet, nothing."""
        ids = self._watched if self._outage else {*self._jobs, *self._watched, *self._absent}
        sights = {job_id: self._sight(job_id) for job_id in ids}
        known = {job_id: sight for job_id, sight in sights.items() if sight.job or sight.gone or sight.outage}
        return {job_id: ((_look(sight.job), sight.gone, sight.outage), sight) for job_id, sight in known.items()}

    def _start_poller(self) -> None:
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="polling the scheduler")

    def _stop_poller(self, leaving: Subscriber[Sight]) -> None:
        if self._poller is not None and self._subscribers.only(leaving):
            self._poller.cancel()
            self._poller = None

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(max(self._pauses.left_s(self.interval_s, None), 0.001))
            await self._refresh(None)


def _look(job: JobInfo | None) -> JobInfo | None:
    """Return what of a job counts as a change: not what it has used, which is new at each look."""
    return job and replace(job, used=None, expected_start=None)


def _looks(jobs: Mapping[str, JobInfo]) -> dict[str, tuple[object, ...]]:
    return {job_id: (job.state, job.reason, job.nodes, job.exit_status) for job_id, job in jobs.items()}
