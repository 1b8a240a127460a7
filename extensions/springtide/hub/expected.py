"""When a site's waiting sessions may be expected to start; the scheduler is asked for all of them together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from springtide.errors import QueueUnreachable
from springtide.hub.session_rows import SessionRows
from springtide.ledger.records import JobRecord
from springtide.queues.expected.estimate import estimate
from springtide.queues.model import Estimate, JobRequest, JobState
from springtide.queues.monitor import Monitor, understood

# A forecast is no finer than that, and each is a command.
_FORECAST_WITHIN_S = 300.0


@dataclass
class Expected:
    """Forecasts for one site.

    Parameters
    ----------
    site : str
        Its name in the lab file, which is also that in the ledger.
    """

    site: str
    monitor: Monitor
    rows: SessionRows
    _waiting: set[str] = field(default_factory=set)
    _forecasts: dict[str, float] = field(default_factory=dict)
    _waits: Sequence[JobRecord] = ()
    _asked_at: float = float("-inf")

    async def of(self, job_id: str, request: JobRequest, *, waited_s: float) -> Estimate | None:
        """Return when the waiting job `job_id` may be expected to start; None where nothing is known.

        Raises
        ------
        QueueUnreachable
            If the scheduler could not be asked.
        """
        news = job_id not in self._waiting
        self._waiting.add(job_id)
        if news or time.monotonic() - self._asked_at > _FORECAST_WITHIN_S:
            await self._ask()
        return estimate(
            request,
            now=time.time(),
            nodes=await self.monitor.nodes(within_s=_FORECAST_WITHIN_S),
            waits=self._waits,
            forecast=self._forecasts.get(job_id),
            waited_s=waited_s,
            waiting_jobs=await self._others_waiting(job_id),
        )

    def forget(self, job_id: str) -> None:
        """Ask no more for a job that has started or ended."""
        self._waiting.discard(job_id)

    async def _others_waiting(self, job_id: str) -> int:
        seen = await self.monitor.snapshot()
        return sum(job.state is JobState.QUEUED for other, job in seen.jobs.items() if other != job_id)

    async def _ask(self) -> None:
        self._asked_at = time.monotonic()
        self._waits = await self.rows.waits(self.site)
        self._forecasts = await understood(self.monitor.queue.forecast(self._waiting))


async def foreseen(expected: Expected, job_id: str, request: JobRequest, *, waited_s: float) -> Estimate | None:
    """Return what `Expected.of` does, and None in an outage too."""
    try:
        return await expected.of(job_id, request, waited_s=waited_s)
    except QueueUnreachable:
        return None
