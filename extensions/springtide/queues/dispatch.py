"""Submission that never leaks and never loses: the row first, then the scheduler; what is in doubt is settled later.

Every row is written before its job is submitted. Whatever happens between (a crash, an outage, a full disk), the row
says `SUBMITTING`, and the job's name, which holds the row's token, tells later whether there is a job: it is adopted,
or the row is closed. Nothing is ever submitted twice by itself. A wish to cancel is written before the scheduler is
asked, and stands until the job is over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from springtide.errors import LedgerError, QueueUnreachable, SubmitRefused
from springtide.ledger.records import REFUSED, SUBMITTING, JobRecord
from springtide.queues.accounts import Submitted, in_batches
from springtide.queues.bookkeeping import check_name, new_token, printable, record_of, scheduler_name_of
from springtide.queues.model import JobRequest, JobState
from springtide.queues.settling import Settled, Settling
from springtide.queues.watching import Watching

__all__ = ["Dispatcher", "Settled", "scheduler_name_of"]

_log = logging.getLogger(__name__)


class Dispatcher(Settling, Watching):
    """One user's jobs at one site: submitted, watched and cancelled through the ledger."""

    async def submit(
        self, requests: Sequence[JobRequest], *, folder: str = "", kind: str = "job", tokens: Sequence[str] = ()
    ) -> list[JobRecord]:
        """Write a row for each request, then submit them; return the rows as they now are.

        A row is `REFUSED` if the scheduler said no or was not asked, `SUBMITTING` if nobody knows; `reason` has the
        words. Who gives up waiting stops nothing: jobs that are being submitted are still written down.

        Parameters
        ----------
        tokens : sequence of str, optional
            The rows' tokens, from `new_token`, for who has written them down before: a token is submitted once only,
            however many processes try.

        Raises
        ------
        ScriptError
            If a request cannot be turned into a script; nothing was submitted.
        LedgerError
            If the rows could not be written; nothing was submitted.
        """
        rows, scripts = [], []
        for request, token in zip(requests, tokens or [""] * len(requests), strict=True):
            row, script = self._prepared(request, folder, kind, token or new_token())
            rows.append(row)
            scripts.append(script)
        await self._flush()
        await asyncio.to_thread(self.ledger.add_jobs, rows)
        task = asyncio.ensure_future(self._submit_rows(rows, scripts, folder))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    def _prepared(self, request: JobRequest, folder: str, kind: str, token: str) -> tuple[JobRecord, str]:
        check_name(request.name)
        account = self.user_queue.account
        row = record_of(
            request,
            site=self.site,
            user=self.user,
            account=account.name,
            dialect=self.user_queue.queue.dialect,
            kind=kind,
            token=token,
            folder=folder or str(account.home),
            recorded=time.time(),
        )
        return row, self.user_queue.queue.script(replace(request, name=row.scheduler_name))

    async def _submit_rows(self, rows: Sequence[JobRecord], scripts: Sequence[str], folder: str) -> list[JobRecord]:
        done: list[JobRecord] = []
        for batch in in_batches(scripts):
            some = rows[len(done) : len(done) + len(batch)]
            if done and not await self._begin_again(some):
                break
            outcomes = await self.user_queue.submit_all(batch, folder=folder)
            outcomes = [await self._without_doubt(row, one) for row, one in zip(some, outcomes, strict=True)]
            done += await self._write_outcomes(some, outcomes)
            if not all(one.tried for one in outcomes):
                break
        return done + await self._write_outcomes(rows[len(done) :], [_NOT_TRIED] * (len(rows) - len(done)))

    async def _without_doubt(self, row: JobRecord, outcome: Submitted) -> Submitted:
        """Look whether a submission that failed in odd words made a job all the same."""
        if outcome.error is None or outcome.sure:
            return outcome
        try:
            job = await self._find(row)
        except QueueUnreachable:
            return Submitted("", QueueUnreachable(outcome.error.message))
        return Submitted(job.id) if job else outcome

    async def _begin_again(self, rows: Sequence[JobRecord]) -> bool:
        """Let the grace of rows that had to wait for others begin now; whether that could be written."""
        changes = {
            row.token: {"recorded": time.time(), "state": SUBMITTING, "cause": "", "ended": None} for row in rows
        }
        try:
            await asyncio.to_thread(self.ledger.update_jobs, changes)
        except LedgerError as error:
            _log.warning("The remaining jobs are not submitted: %s", error)
            return False
        return True

    async def _write_outcomes(self, rows: Sequence[JobRecord], outcomes: Sequence[Submitted]) -> list[JobRecord]:
        now = time.time()
        changes = {row.token: _outcome(one, now) for row, one in zip(rows, outcomes, strict=True)}
        events = [self._event(row.token, *_outcome_event(one)) for row, one in zip(rows, outcomes, strict=True)]
        try:
            if changes:
                await asyncio.to_thread(self.ledger.update_jobs, changes, events=events)
        except LedgerError as error:
            # Kept in mind, and written with the next call; after a crash the names find the jobs.
            self._unwritten |= changes
            _log.warning("What was submitted could not be written down yet: %s", error)
        return [replace(row, **changes[row.token]) for row in rows]

    async def cancel(self, tokens: Collection[str], by: str) -> list[JobRecord]:
        """Cancel jobs; return the rows of those that were not over.

        A job whose submission is still in doubt is cancelled by `settle`, once it is found.

        Raises
        ------
        LedgerError
            If the wish could not be written; then the scheduler was not asked.
        QueueUnreachable
            If the scheduler could not be asked, or refused: the wish stands, and `settle` repeats it.
        """
        await self._flush()
        wanted = set(tokens)
        rows = [replace(row, cancelled_by=by) for row in await self._open_rows() if row.token in wanted]
        changes = {row.token: {"cancelled_by": by} for row in rows}
        events = [replace(self._event(row.token, "cancelled"), actor=by) for row in rows]
        if rows:
            await asyncio.to_thread(self.ledger.update_jobs, changes, events=events)
        ids = [row.job_id for row in rows if row.job_id]
        if ids:
            await self.user_queue.cancel_all(ids)
        return rows


_NOT_TRIED = Submitted("", SubmitRefused("The scheduler stopped answering before this job was tried."), tried=False)


def _outcome(outcome: Submitted, now: float) -> dict[str, Any]:
    if outcome.error is None:
        return {"job_id": outcome.id, "state": JobState.QUEUED.value, "submitted": now, "reason": ""}
    if isinstance(outcome.error, SubmitRefused) or not outcome.tried:
        return {"state": REFUSED, "reason": printable(outcome.error.message), "ended": now}
    return {"reason": printable(outcome.error.message)}


def _outcome_event(outcome: Submitted) -> tuple[str, str]:
    if outcome.error is None:
        return "submitted", f"as {outcome.id}"
    if isinstance(outcome.error, SubmitRefused) or not outcome.tried:
        return "refused", printable(outcome.error.message)
    return "in doubt", printable(outcome.error.message)
