"""When a job may be expected to start, told before it is submitted."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from springtide.errors import QueueUnreachable
from springtide.queues.expected.estimate import Suggestion, estimate, sooner
from springtide.queues.model import Estimate, JobRequest, JobState
from springtide.queues.opening import OpenSite
from springtide.queues.site_facts import SiteFacts

AT_ONCE_S = 60.0
"""Less than this is "at once" for who waits for a batch queue."""
_HISTORY_S = 90 * 86400
_MOST_WAITS = 2000


@dataclass(frozen=True)
class Foreseen:
    """What is expected of a request, and of smaller or shorter ones."""

    at: float
    """When it was foreseen, in seconds since 1970."""
    estimate: Estimate | None
    suggestions: tuple[Suggestion, ...] = ()

    @property
    def as_times(self) -> dict[str, float]:
        """The interval as the ledger keeps it, so that it can be compared with what came true."""
        if self.estimate is None:
            return {}
        found = self.estimate
        return {
            "expected_start_low": self.at + found.low_s,
            "expected_start": self.at + found.median_s,
            "expected_start_high": self.at + found.high_s,
        }


async def foresee(site: OpenSite, request: JobRequest, facts: SiteFacts) -> Foreseen:
    """Return when `request` may be expected to start; a scheduler that has no forecast leaves it to the past."""
    now = time.time()
    forecast: float | None = None
    waiting = 0
    try:
        forecast = await site.queue.try_start(request)
        jobs = (await site.monitor.snapshot()).jobs.values()
        queued = (job for job in jobs if job.state is JobState.QUEUED)
        waiting = sum(not request.queue or job.queue == request.queue for job in queued)
    except QueueUnreachable:
        pass
    waits = await asyncio.to_thread(site.ledger.waits, site.name, since=now - _HISTORY_S, limit=_MOST_WAITS)
    found = estimate(request, now=now, nodes=facts.nodes, waits=waits, forecast=forecast, waiting_jobs=waiting)
    if found is None or found.high_s <= AT_ONCE_S:
        return Foreseen(now, found)
    better = sooner(request, nodes=facts.nodes, queues=facts.queues, waits=waits, now=now, forecast=forecast)
    return Foreseen(now, found, tuple(better))
