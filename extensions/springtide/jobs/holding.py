"""Runs that follow another site's jobs: held by Springtide, as no queue waits for another's jobs.

Such a run is in the ledger and has its folder; its job is submitted once what it follows is over, by whoever looks at
it then: a terminal, a notebook, the broker. Several may look at once: a token stands in one row only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from springtide.errors import ChainError, LedgerError, NotSubmitted, QueueError, SpringtideError
from springtide.jobs.chains import must_wait
from springtide.jobs.spec import JobSpec
from springtide.ledger.records import JobRecord, RunRecord
from springtide.queues.model import Cause, JobState

if TYPE_CHECKING:
    from springtide.jobs.desk import Desk


@dataclass(frozen=True)
class Held:
    """Runs that are held, what was held first first, and the sites whose jobs they wait for."""

    runs: tuple[RunRecord, ...] = ()
    sites: frozenset[str] = frozenset()


async def held_among(desk: Desk, runs: Sequence[RunRecord], rows: Mapping[str, JobRecord]) -> Held:
    """Return those of `runs` that are held, and those that they follow in turn.

    Parameters
    ----------
    rows : mapping
        The rows of the runs' jobs, by the runs' tokens.
    """
    held: dict[str, RunRecord] = {}
    sites: set[str] = set()
    todo = [run for run in runs if run.token not in rows]
    while todo:
        run = todo.pop()
        after = JobSpec.from_json(run.spec).after
        if not after or run.token in held:
            continue
        held[run.token] = run
        before = [await desk.run(follow.token) for follow in after]
        found = await asyncio.to_thread(rows_of, desk, before)
        sites |= {row.site for row in found.values() if not row.over}
        todo += [one for one in before if one.token not in found]
    return Held(tuple(sorted(held.values(), key=lambda run: run.recorded)), frozenset(sites))


async def submit_held(desk: Desk, held: Held) -> bool:
    """Submit what need not wait any longer; return whether anything changed.

    What can never start any more, as what it follows ended otherwise than it should, is over.
    """
    return any([await _submit_one(desk, run) for run in held.runs])


async def _submit_one(desk: Desk, run: RunRecord) -> bool:
    try:
        return await desk.submit_promised(run, told=False)
    except (ChainError, NotSubmitted) as error:
        if error.transient:
            return False
        cause = Cause.DEPENDENCY if isinstance(error, ChainError) else Cause.NEVER_RUNS
        return await end_held(desk, run, cause, reason=error.message)
    except (QueueError, LedgerError):
        # It is tried again by whoever looks next.
        return False


async def still_waits(desk: Desk, run: RunRecord) -> bool:
    """Whether a run that was never submitted has to wait for jobs of other sites.

    Raises
    ------
    ChainError
        If it would never start.
    """
    spec = JobSpec.from_json(run.spec)
    before = [await desk.run(follow.token) for follow in spec.after]
    return must_wait(run.site, spec.after, await asyncio.to_thread(rows_of, desk, before))


def rows_of(desk: Desk, runs: Sequence[RunRecord]) -> dict[str, JobRecord]:
    """Return the rows of the jobs of `runs`, by the runs' tokens."""
    found = {run.token: desk.ledger.job(run.job) for run in runs}
    return {token: row for token, row in found.items() if row is not None}


async def end_held(desk: Desk, run: RunRecord, cause: Cause, *, reason: str = "", by: str = "") -> bool:
    """Write down that a run that was never submitted is over; return whether it was not submitted meanwhile."""
    spec, now = JobSpec.from_json(run.spec), time.time()
    row = JobRecord(
        token=run.job,
        site=run.site,
        user=run.user,
        account=run.user,
        name=spec.name,
        scheduler_name="",
        state=JobState.FINISHED.value,
        cause=cause.value,
        reason=reason,
        cancelled_by=by,
        cores=spec.cores * spec.nodes,
        memory_bytes=spec.memory_bytes * spec.nodes,
        walltime_s=spec.walltime_s,
        folder=run.folder,
        recorded=now,
        ended=now,
    )
    try:
        await asyncio.to_thread(desk.ledger.add_jobs, [row])
    except SpringtideError:
        return False
    return True
