"""What became of submissions in doubt: found by their names and adopted, cancelled if that was wished, or lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from springtide.ledger.records import LOST, JobRecord
from springtide.queues.bookkeeping import changes_of
from springtide.queues.dispatch_rows import LOOKED_FOR_AT_ONCE, DispatcherRows
from springtide.queues.model import JobState

# How long the jobs of rows that were closed without any are still looked for.
_LOST_FOR_S = 900.0


@dataclass(frozen=True)
class Settled:
    """What became of the rows that were in doubt."""

    adopted: tuple[JobRecord, ...] = ()
    """Jobs found at the scheduler whose id had not been written down."""
    reaped: tuple[JobRecord, ...] = ()
    """Jobs that were to be cancelled and still were there."""
    lost: tuple[JobRecord, ...] = ()
    """Jobs that the scheduler does not know."""


class Settling(DispatcherRows):
    """The part of the dispatcher that settles what is in doubt."""

    async def settle(self) -> Settled:
        """Find out what became of submissions in doubt, and repeat what was to be cancelled.

        Raises
        ------
        QueueUnreachable
            If the scheduler could not be asked; what was found until then is written.
        LedgerError
            If the ledger could not be read or written.
        """
        await self._flush()
        rows = await self._open_rows()
        adopted, lost = await self._settle_doubtful([row for row in rows if not row.job_id])
        adopted += await self._look_for_lost()
        reaped = await self._reap([*adopted, *(row for row in rows if row.job_id)])
        return Settled(tuple(adopted), tuple(reaped), tuple(lost))

    async def _settle_doubtful(self, rows: Sequence[JobRecord]) -> tuple[list[JobRecord], list[JobRecord]]:
        oldest = sorted(rows, key=lambda row: row.recorded)[:LOOKED_FOR_AT_ONCE]
        adopted, missing = await self._adopt(oldest)
        overdue = [row for row in missing if await self._is_overdue(row)]
        if not overdue:
            return adopted, []
        await asyncio.sleep(self.ask_again_after_s)
        late, missing = await self._adopt(overdue)
        return adopted + late, await self._close_lost(missing)

    async def _adopt(self, rows: Sequence[JobRecord]) -> tuple[list[JobRecord], list[JobRecord]]:
        """Look for the rows' jobs by name; return the rows whose jobs were found, and the others."""
        adopted, missing = [], []
        for row in rows:
            job = await self._find(row)
            if job is None:
                missing.append(row)
                continue
            changes = changes_of(row, job, now=time.time())
            adopted.append(await self._write(row, changes, ("adopted", f"found as {job.id}")))
        return adopted, missing

    async def _look_for_lost(self) -> list[JobRecord]:
        """Adopt jobs that came to be after their rows were closed: machines sleep, and clocks jump."""
        latest = await asyncio.to_thread(
            self.ledger.jobs, site=self.site, user=self.user, states=(LOST,), limit=LOOKED_FOR_AT_ONCE
        )
        since = time.time() - _LOST_FOR_S
        return (await self._adopt([row for row in latest if not row.job_id and (row.ended or 0) >= since]))[0]

    async def _is_overdue(self, row: JobRecord) -> bool:
        now = time.time()
        if row.recorded > now:
            # The clock was set back: nobody knows how old the row is, so its grace begins now.
            await asyncio.to_thread(self.ledger.update_job, row.token, recorded=now)
            return False
        return now - row.recorded > self.grace_s

    async def _reap(self, rows: Sequence[JobRecord]) -> list[JobRecord]:
        to_cancel = [row for row in rows if row.cancelled_by and not row.over and row.state != JobState.ENDING.value]
        if to_cancel:
            over = await self.user_queue.cancel_all([row.job_id for row in to_cancel])
            to_cancel = [row for row in to_cancel if row.job_id not in over]
        return to_cancel
