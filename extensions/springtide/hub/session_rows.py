"""The hub's sessions in the ledger: who had what, where, for how long, and what became of it.

What finds a session again is in the hub's own database. So a ledger that cannot be used is said in the log, and
keeps nobody from working.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from springtide.errors import LedgerError
from springtide.ledger.records import JobRecord
from springtide.ledger.store import Ledger
from springtide.queues.bookkeeping import changes_of
from springtide.queues.model import Cause, JobInfo, JobState

LOG = logging.getLogger("JupyterHub.ledger")
KIND = "session"
CANCELLED = Cause.CANCELLED.value
# A database that is down is not waited for at each session's start.
_TRIED_AGAIN_AFTER_S = 30.0
_WAITS_READ = 1000
_Result = TypeVar("_Result")


class SessionRows:
    """Writes and reads sessions' rows without holding up the hub.

    Parameters
    ----------
    place : str
        The ledger's file or URL; it is opened when it is first needed, and again later where that failed.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._ledger: Ledger | None = None
        self._failure: tuple[float, LedgerError] | None = None
        self._lock = threading.Lock()

    async def begin(self, record: JobRecord) -> None:
        """Write the row of a session that is about to be submitted or started."""
        await self._tried(lambda ledger: ledger.add_jobs([record]), None)

    async def change(self, token: str, **changes: Any) -> None:
        """Write what is now known of a session; without a row of its own nothing happens."""
        await self._tried(lambda ledger: _change(ledger, token, changes), None)

    async def follow(self, token: str, job: JobInfo) -> None:
        """Write what the scheduler says of a session's job, where that is news."""
        await self._tried(lambda ledger: _follow(ledger, token, job), None)

    async def end(self, token: str, **changes: Any) -> None:
        """Write how a session ended; what was written first stands."""
        await self._tried(
            lambda ledger: _change(ledger, token, {"state": JobState.FINISHED.value, "ended": time.time(), **changes}),
            None,
        )

    async def open_rows(self) -> Sequence[JobRecord]:
        """Return the rows of sessions that are not over; empty where the ledger cannot be read."""
        return await self._tried(lambda ledger: ledger.jobs(kind=KIND, open_only=True), [])

    async def waits(self, site: str) -> Sequence[JobRecord]:
        """Return the last measured waits at `site`; empty where the ledger cannot be read."""
        return await self._tried(lambda ledger: ledger.waits(site, limit=_WAITS_READ), [])

    def needs_nothing(self, token: str) -> bool:
        """Whether the job or session is over, as far as the ledger knows. Called in a thread."""
        try:
            return self._opened().is_over(token)
        except LedgerError as error:
            LOG.warning("The ledger cannot be used: %s", error)
            return False

    async def _tried(self, work: Callable[[Ledger], _Result], otherwise: _Result) -> _Result:
        try:
            return await asyncio.to_thread(lambda: work(self._opened()))
        except LedgerError as error:
            LOG.warning("The ledger cannot be used: %s", error)
            return otherwise

    def _opened(self) -> Ledger:
        with self._lock:
            if self._ledger is None:
                if self._failure and time.monotonic() - self._failure[0] < _TRIED_AGAIN_AFTER_S:
                    raise self._failure[1]
                try:
                    self._ledger = Ledger.open(self._place)
                except LedgerError as error:
                    self._failure = (time.monotonic(), error)
                    raise
            return self._ledger


def _change(ledger: Ledger, token: str, changes: dict[str, Any]) -> None:
    row = ledger.job(token) if token else None
    if row is not None and not row.over:
        ledger.update_job(token, **changes)


def _follow(ledger: Ledger, token: str, job: JobInfo) -> None:
    row = ledger.job(token) if token else None
    changes = changes_of(row, job, now=time.time()) if row is not None and not row.over else {}
    if changes:
        ledger.update_job(token, **changes)
