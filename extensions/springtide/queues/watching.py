"""Open rows brought up to date with what the scheduler says of their jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from springtide.errors import QueueUnreachable
from springtide.ledger.records import JobRecord
from springtide.queues.bookkeeping import changes_of, event_of, whole_of
from springtide.queues.dispatch_rows import LOOKED_FOR_AT_ONCE, Changes, DispatcherRows
from springtide.queues.model import JobInfo
from springtide.queues.monitor import understood

_CLOCKS_DIFFER_BY_S = 600.0


class Watching(DispatcherRows):
    """The part of the dispatcher that watches jobs."""

    async def refresh(self, *, within_s: float | None = None) -> list[JobRecord]:
        """Bring the user's open rows up to date; return them, with those that have just ended.

        Parameters
        ----------
        within_s : float, optional
            How old the monitor's answer may be, if less than its interval.

        Raises
        ------
        QueueUnreachable
            If the scheduler could not be asked: the rows stay as they are.
        LedgerError
            If the ledger could not be read or written.
        """
        await self._flush()
        rows = await self._open_rows()
        seen_last = await self.monitor.snapshot(within_s=within_s)
        if seen_last.outage:
            raise QueueUnreachable(seen_last.outage)
        jobs = seen_last.jobs
        rows += await self._reopen(jobs, {row.job_id for row in rows})
        known = [row for row in rows if row.job_id]
        seen = await self._look(known, jobs)
        missing = [row for row in known if row.token not in seen]
        if missing:
            seen |= await self._look_again(missing)
        lost = await self._close_lost([row for row in missing[:LOOKED_FOR_AT_ONCE] if row.token not in seen])
        done = {row.token: row for row in [*await self._write_seen(known, seen), *lost]}
        return [done.get(row.token, row) for row in rows]

    async def _look(self, rows: Iterable[JobRecord], jobs: Mapping[str, JobInfo]) -> dict[str, JobInfo]:
        """Return by token what the scheduler knows of the rows' jobs; details are asked for of those not alive."""
        rows = list(rows)
        alive = {row.token: jobs[row.job_id] for row in rows if self._is_alive(row, jobs.get(row.job_id))}
        left = [row for row in rows if row.token not in alive]
        known = await self._details([row.job_id for row in left])
        ended = ((row, whole_of(row.job_id, known)) for row in left)
        return alive | {row.token: job for row, job in ended if job is not None and self._is_ours(row, job)}

    async def _look_again(self, rows: Sequence[JobRecord]) -> dict[str, JobInfo]:
        """Look a second time, by id and by name: what was taken for the id may never have been one."""
        await asyncio.sleep(self.ask_again_after_s)
        seen = await self._look(rows, await understood(self.user_queue.queue.snapshot()))
        for row in [row for row in rows if row.token not in seen][:LOOKED_FOR_AT_ONCE]:
            job = await self._find(row)
            seen |= {row.token: job} if job else {}
        return seen

    async def _details(self, ids: Sequence[str]) -> Mapping[str, JobInfo]:
        return await understood(self.user_queue.queue.details(ids)) if ids else {}

    def _is_alive(self, row: JobRecord, job: JobInfo | None) -> bool:
        return job is not None and job.state.alive and self._is_ours(row, job)

    def _is_ours(self, row: JobRecord, job: JobInfo) -> bool:
        """Whether it can be the row's job: a scheduler that starts anew gives its ids to others."""
        renamed = job.name not in ("", row.scheduler_name)
        older = job.submitted is not None and job.submitted < row.recorded - _CLOCKS_DIFFER_BY_S
        return job.owner in ("", self.user_queue.account.name) and not (renamed and older)

    async def _reopen(self, jobs: Mapping[str, JobInfo], known: Collection[str]) -> list[JobRecord]:
        """Return rows that were closed though their jobs live: requeued by hand, or thought to be lost."""
        self._foreign &= set(jobs)
        account = self.user_queue.account.name
        alive = {job.id for job in jobs.values() if job.state.alive and job.owner == account}
        rows = []
        for job_id in alive - set(known) - self._foreign:
            row = await asyncio.to_thread(self._row_of, jobs[job_id])
            if row is None:
                self._foreign.add(job_id)
            elif row.over and row.kind != "session":
                rows.append(replace(row, job_id=job_id))
        # The snapshot may be older than the row's end, and the id may be another job's by now.
        seen = await self._details([row.job_id for row in rows])
        found = ((row, whole_of(row.job_id, seen)) for row in rows)
        return [row for row, job in found if job and self._is_alive(row, job) and job.name in ("", row.scheduler_name)]

    def _row_of(self, job: JobInfo) -> JobRecord | None:
        by_name = self.ledger.job(job.name.rpartition("-")[2]) if "-" in job.name else None
        row = by_name if by_name and not by_name.job_id else self.ledger.job_by_id(self.site, job.id)
        return row if row and (row.site, row.user) == (self.site, self.user) else None

    async def _write_seen(self, rows: Sequence[JobRecord], seen: Mapping[str, JobInfo]) -> list[JobRecord]:
        now = time.time()
        changes: Changes = {}
        events = []
        for row in rows:
            changed = changes_of(row, seen[row.token], now=now) if row.token in seen else {}
            if changed:
                changes[row.token] = {**changed, "job_id": seen[row.token].id}
                event = event_of(row, changed)
                events += [self._event(row.token, *event)] if event else []
        if changes:
            await asyncio.to_thread(self.ledger.update_jobs, changes, events=events)
        return [replace(row, **changes.get(row.token, {})) for row in rows if row.token in seen]
