"""Runs that were promised and not submitted: somebody died in between. Each is submitted once, by whoever is first."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from springtide.errors import ChainError, LedgerError, NotSubmitted, QueueError
from springtide.jobs.folder import has_begun
from springtide.jobs.holding import still_waits
from springtide.jobs.spec import JobSpec
from springtide.ledger.records import LOST, JobRecord, RunRecord
from springtide.queues.bookkeeping import new_token

if TYPE_CHECKING:
    from springtide.jobs.desk import Desk


async def recover(desk: Desk) -> list[RunRecord]:
    """Submit what was promised and certainly never submitted; return it. Many processes may try: one succeeds.

    Called by whoever has promised: a service after its own death. What is in doubt is settled first.
    """
    for name in {run.site for run in await desk.runs()}:
        with contextlib.suppress(QueueError):
            site = await desk.site(name)
            await site.dispatcher.settle()
            await site.dispatcher.refresh()
    runs = await desk.runs()
    rows = await desk.rows(runs)
    return [run for run in runs if _never_was(run, rows.get(run.token)) and await try_again(desk, run)]


async def submit_promised(desk: Desk, run: RunRecord, submit: Callable[..., Awaitable[Any]]) -> bool:
    """Submit a run that is written down and has no job yet, unless it has to wait; return whether it was submitted.

    Parameters
    ----------
    submit : callable
        What submits it: `Desk.submit_now`, or what tells somebody of failures besides.

    Raises
    ------
    ChainError
        If it would never start.
    NotSubmitted
        If it could never run, was refused, or (transient) nobody knows.
    """
    if await still_waits(desk, run):
        return False
    try:
        await submit(run, JobSpec.from_json(run.spec), await desk.site(run.site))
    except LedgerError:
        # Another process was first: a token stands in one row only.
        if await asyncio.to_thread(desk.ledger.job, run.job) is None:
            raise
        return False
    return True


async def try_again(desk: Desk, run: RunRecord) -> bool:
    """Submit a run whose first try certainly made no job; return whether somebody may count on it now."""
    row = await asyncio.to_thread(desk.ledger.job, run.job)
    if row is not None:
        job = new_token()
        if not await asyncio.to_thread(desk.ledger.replace_job_of_run, run.token, run.job, job):
            return False
        run = replace(run, job=job)
    try:
        return await desk.submit_promised(run)
    except NotSubmitted as error:
        return error.transient
    except ChainError:
        # Whoever looks at it says so.
        return False


def _never_was(run: RunRecord, row: JobRecord | None) -> bool:
    """Whether it is certain that a run's submission made no job: schedulers may forget, folders do not."""
    return (row is None or (row.state == LOST and not row.job_id)) and not has_begun(Path(run.folder))
