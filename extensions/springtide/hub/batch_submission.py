"""The part of a batch session that brings its job into the queue, and finds it there again after any crash."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from springtide.errors import QueueError, QueueUnreachable, SubmitRefused
from springtide.hub.words import spawn_failure, spawn_failure_of
from springtide.texts import translator
from springtide.units import describe_duration

_SUBMIT_WITHIN_S = 600.0
_RETRY_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 30.0


class Submitting:
    """Submits one script once, whatever the scheduler answers; stands before a spawner class among the bases."""

    user_queue: Any
    language: Any
    log: Any
    _log_name: str
    job_token = ""
    job_id: Any
    _submission: asyncio.Task[str] | None = None
    _outage = ""

    async def _submit(self, script: str) -> str:
        """Return the job's id; through an outage, look for the job by its name before submitting it again."""
        give_up_at = time.monotonic() + _SUBMIT_WITHIN_S
        while True:
            # Shielded: a qsub that is under way when the user cancels still makes a job, which `stop` must know.
            self._submission = asyncio.ensure_future(self.user_queue.submit(script))
            try:
                return str(await asyncio.shield(self._submission))
            except SubmitRefused as refused:
                raise spawn_failure_of(refused, reason="refused", status_code=400) from refused
            except QueueUnreachable as outage:
                self._outage = outage.message
                if await self._found_after(outage):
                    return str(self.job_id)
                if time.monotonic() > give_up_at:
                    text = translator(self.language)(
                        "batch.submit_outage", duration=describe_duration(_SUBMIT_WITHIN_S), words=outage.message
                    )
                    raise spawn_failure(text, reason="outage", status_code=503) from outage
            await asyncio.sleep(_RETRY_PAUSE_S)

    async def _found_after(self, outage: QueueUnreachable) -> bool:
        self.log.warning("Session %s: %s", self._log_name, outage.message)
        try:
            return await self._find_job()
        except QueueUnreachable:
            return False

    async def _settle_submission(self) -> None:
        """Wait for a submission that was under way when its user cancelled."""
        if self._submission is None:
            return
        try:
            self.job_id = self.job_id or await self._submission
        except QueueError as error:
            self.log.info("Session %s was never submitted: %s", self._log_name, error.message)
        except asyncio.CancelledError:
            if asyncio.current_task() is not None and asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise

    async def _find_job(self) -> bool:
        """Whether there is a job of this session; one whose id was never stored is found by its name."""
        if self.job_id or not self.job_token:
            return bool(self.job_id)
        found = await self.user_queue.find(self.job_token)
        self.job_id = found.id if found else ""
        return bool(found)

    async def _persist(self, action: Callable[[], Any]) -> Any:
        """Return what `action` returns, however long the scheduler does not answer."""
        pause_s = 1.0
        while True:
            try:
                return await action()
            except QueueUnreachable as outage:
                self.log.warning("Session %s cannot be stopped yet: %s", self._log_name, outage.message)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
