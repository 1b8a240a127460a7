"""The part of a batch session that looks ahead: what can never run, when it may start, what its page says."""

from __future__ import annotations

import time
from typing import Any

from springtide.errors import QueueUnreachable
from springtide.hub.batch_words import View
from springtide.hub.expected import foreseen
from springtide.hub.words import spawn_failure
from springtide.queues.feasible import problems_with
from springtide.queues.model import Estimate, JobRequest, Node, QueueLimits
from springtide.queues.monitor import Sight

_FORESEE_EVERY_S = 60.0


class Outlook:
    """Asks the site and the ledger what is to be expected; stands before a spawner class among the bases."""

    monitor: Any
    expected: Any
    rows: Any
    language: Any
    log: Any
    _log_name: str
    job_token: str
    job_id: Any
    _outage: str
    _submitted_at: float
    _sight: Sight | None = None
    _estimate: Estimate | None = None
    _nodes: tuple[Node, ...] = ()
    _queues: tuple[QueueLimits, ...] = ()
    _foreseen_at = float("-inf")

    async def _check_feasible(self, request: JobRequest) -> None:
        """Refuse what can never run before it is submitted; a site that cannot be asked refuses nothing."""
        try:
            self._nodes, self._queues = await self.monitor.nodes(), await self.monitor.queues()
        except QueueUnreachable as outage:
            self.log.info("Session %s is submitted unchecked: %s", self._log_name, outage.message)
            return
        problems = problems_with(request, self._nodes, self._queues, self.language)
        if problems:
            raise spawn_failure(" ".join(problems), reason="refused", status_code=400)

    async def _foresee(self, request: JobRequest) -> None:
        """Find out when the job may start, and what the site has: for the page of who waits."""
        if time.monotonic() - self._foreseen_at < _FORESEE_EVERY_S:
            return
        self._foreseen_at = time.monotonic()
        waited_s = max(0.0, time.time() - self._submitted_at)
        first = self._estimate is None
        self._estimate = await foreseen(self.expected, self.job_id, request, waited_s=waited_s)
        if first and self._estimate is not None:
            now = time.time()
            await self.rows.change(
                self.job_token,
                expected_start_low=now + self._estimate.low_s,
                expected_start=now + self._estimate.median_s,
                expected_start_high=now + self._estimate.high_s,
            )

    def _view(self) -> View:
        return View(
            language=self.language,
            job_id=self.job_id,
            sight=self._sight,
            outage=self._outage,
            submitted_at=self._submitted_at,
            estimate=self._estimate,
            nodes=self._nodes,
            queues=self._queues,
        )
