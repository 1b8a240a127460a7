"""What all parts of the dispatcher share: whose rows they are, and how these are read and written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from springtide.ledger.records import LOST, SUBMITTING, Event, JobRecord
from springtide.ledger.store import Ledger
from springtide.queues.accounts import ALL_SUBMITTED_WITHIN_S, UserQueue
from springtide.queues.model import JobInfo
from springtide.queues.monitor import Monitor, understood

# A scheduler that has just come up may need a moment to know all its jobs again.
_ASK_AGAIN_AFTER_S = 2.0
LOOKED_FOR_AT_ONCE = 20
"""How many jobs are looked for by name in one call: each may be a command. What is left is looked for the next time."""

Changes = dict[str, dict[str, Any]]


@dataclass
class DispatcherRows:
    """One user's rows at one site. Sessions, which the hub looks after itself, are left alone.

    Parameters
    ----------
    site : str
        The site's name in the lab file.
    user_queue : UserQueue
        Its queue, as the user's account.
    monitor : Monitor
        Its one poller.
    ledger : Ledger
        Where the rows are.
    user : str
        Whose they are, in the hub's words.
    grace_s : float
        How old a row must be before a job that is not there is not waited for any longer.
    ask_again_after_s : float
        Pause before the second look for a job that was not found.
    """

    site: str
    user_queue: UserQueue
    monitor: Monitor
    ledger: Ledger
    user: str
    grace_s: float = ALL_SUBMITTED_WITHIN_S
    ask_again_after_s: float = _ASK_AGAIN_AFTER_S
    _unwritten: Changes = field(default_factory=dict)
    _foreign: set[str] = field(default_factory=set)
    _under_way: set[asyncio.Task[Any]] = field(default_factory=set)

    async def _open_rows(self) -> list[JobRecord]:
        rows = await asyncio.to_thread(self.ledger.jobs, site=self.site, user=self.user, open_only=True)
        return [row for row in rows if row.kind != "session"]

    async def _find(self, row: JobRecord) -> JobInfo | None:
        """Return the row's job, found by its name.

        Raises
        ------
        QueueUnreachable
            If the scheduler could not be asked, or not be understood.
        """
        return await understood(self.user_queue.find(row.scheduler_name))

    async def _write(self, row: JobRecord, changes: Mapping[str, Any], event: tuple[str, str]) -> JobRecord:
        events = [self._event(row.token, *event)]
        await asyncio.to_thread(self.ledger.update_jobs, {row.token: dict(changes)}, events=events)
        return replace(row, **changes)

    def _event(self, token: str, kind: str, text: str = "") -> Event:
        return Event(time.time(), kind, token, text, site=self.site)

    async def _flush(self) -> None:
        for token, changes in list(self._unwritten.items()):
            await asyncio.to_thread(self.ledger.claim_job, token, states=(SUBMITTING,), **changes)
            self._unwritten.pop(token, None)

    async def _close_lost(self, rows: Sequence[JobRecord]) -> list[JobRecord]:
        lost = []
        for row in rows:
            changes: dict[str, Any] = {"state": LOST, "cause": LOST, "ended": time.time()}
            state = (row.state,)
            # Unless another process has meanwhile written what became of it.
            if await asyncio.to_thread(self.ledger.claim_job, row.token, states=state, **changes):
                await asyncio.to_thread(self.ledger.add_event, self._event(row.token, "lost", row.reason))
                lost.append(replace(row, **changes))
        return lost
