"""Starts what is due of schedules: each time that is due once, however many try, and whoever is killed in between.

A schedule is claimed by the process that starts it, for as long as that lives. Each time that is due has a token of its
own, made of the schedule's: whoever dies between a submission and writing it down, the next one submits under the same
token, which makes no second job.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import logging
import string
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.errors import LedgerError, NotSubmitted, SpringtideError
from springtide.jobs.asked import Asked
from springtide.jobs.cron import due_after, due_within
from springtide.ledger.records import ON, RunRecord, ScheduleRecord
from springtide.ledger.store import Ledger
from springtide.queues.bookkeeping import new_token
from springtide.queues.views import iso_time

if TYPE_CHECKING:
    from springtide.jobs.desk import Desk

_log = logging.getLogger(__name__)
ON_TIME_S = 60.0
"""So late is not missed."""
_MOST_CAUGHT_UP = 100
_LOOK_EVERY_S = 1.0
_AGAIN_AFTER_S = 15.0
CLAIMED_S = 30.0
"""So long after its last word a process that has claimed a schedule counts as dead."""
_CLAIM_EVERY_S = 8.0
_LETTERS = string.ascii_lowercase
_SIGNS = string.ascii_lowercase + string.digits


def to_start(dues: Sequence[float], missed: str, now: float) -> list[float]:
    """Return for which of the times that were due something is started `now`."""
    on_time = [due for due in dues if now - due <= ON_TIME_S]
    return {"skip": on_time, "once": on_time or list(dues[-1:]), "all": list(dues)}[missed]


def token_at(schedule: str, due: float) -> str:
    """Return the token of what a schedule starts for a time that is due."""
    number = int.from_bytes(hashlib.sha256(f"{schedule} {due:.0f}".encode()).digest())
    number, first = divmod(number, len(_LETTERS))
    signs = [_LETTERS[first]]
    for _ in range(7):
        number, sign = divmod(number, len(_SIGNS))
        signs.append(_SIGNS[sign])
    return "".join(signs)


async def start_due(desk: Desk, record: ScheduleRecord, now: float) -> list[RunRecord]:
    """Submit what a schedule has due, and write down when it is due next; return what was submitted.

    Raises
    ------
    SpringtideError
        If nothing can be said now: it is still due.
    """
    if record.state != ON or record.due is None or record.due > now:
        return []
    if not record.overlap and (before := await _still_goes_on(desk, record)):
        await _note(desk.ledger, record, f"The run {before.token} still goes on.")
        return []
    async with _claimed(desk.ledger, record.token) as mine:
        fresh = await asyncio.to_thread(desk.ledger.schedule, record.token) if mine else None
        if fresh is None or (fresh.state, fresh.due, fresh.last_run) != (record.state, record.due, record.last_run):
            return []
        return await _start(desk, record, record.due, now)


async def _still_goes_on(desk: Desk, record: ScheduleRecord) -> RunRecord | None:
    """Return the run before, if it is not over."""
    run = await asyncio.to_thread(desk.ledger.run, record.last_run) if record.last_run else None
    if run is None or await asyncio.to_thread(desk.ledger.job, run.job) is None:
        return None
    (look,) = await desk.look([run])
    return None if look.view.over else run


async def _note(ledger: Ledger, record: ScheduleRecord, problem: str) -> None:
    if record.problem != problem:
        await asyncio.to_thread(ledger.change_schedule, record, problem=problem)


@contextlib.asynccontextmanager
async def _claimed(ledger: Ledger, token: str) -> AsyncIterator[bool]:
    """Claim a schedule until the block ends; yield whether nobody else has it."""
    mine = new_token()

    def claim(for_s: float) -> bool:
        now = time.time()
        return ledger.claim_schedule(token, mine, now, now + for_s)

    async def renew() -> None:
        while True:
            await asyncio.sleep(_CLAIM_EVERY_S)
            with contextlib.suppress(LedgerError):
                await asyncio.to_thread(claim, CLAIMED_S)

    if not await asyncio.to_thread(claim, CLAIMED_S):
        yield False
        return
    renewing = asyncio.create_task(renew())
    try:
        yield True
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError, LedgerError):
            await renewing
        with contextlib.suppress(LedgerError):
            await asyncio.to_thread(claim, 0.0)


async def _start(desk: Desk, record: ScheduleRecord, first: float, now: float) -> list[RunRecord]:
    dues = await asyncio.to_thread(due_within, record.cron, record.zone, first, now, _MOST_CAUGHT_UP)
    chosen = to_start(dues, record.missed, now)
    later = [] if record.overlap else chosen[1:]
    runs: list[RunRecord] = []
    last_run, problem = record.last_run, ""
    for due in chosen[: len(chosen) - len(later)]:
        token = token_at(record.token, due)
        try:
            runs.append(await _submit(desk, record, token))
            last_run = token
        except SpringtideError as error:
            # Of a job that may be in its queue the ledger knows: it is not to be submitted again.
            if error.transient and not isinstance(error, NotSubmitted):
                raise
            last_run = token if error.transient else last_run
            problem = str(error)
            _log.info("The schedule %s of %s: %s", record.token, record.user, problem)
    await asyncio.to_thread(
        desk.ledger.change_schedule,
        record,
        due=later[0] if later else due_after(record.cron, record.zone, now),
        last_due=chosen[0] if later else dues[-1],
        last_run=last_run,
        problem=problem[:1000],
    )
    return runs


async def _submit(desk: Desk, record: ScheduleRecord, token: str) -> RunRecord:
    request = json.loads(record.request)
    known = await asyncio.to_thread(desk.ledger.run, token)
    if known is not None and known.user == desk.user:
        if await asyncio.to_thread(desk.ledger.job, known.job) is None:
            await desk.submit_promised(known)
        return known
    start = Path(request["start"]) if request["start"] else None
    asked = Asked(**request["options"], sweep=request["sweep"], start=start, token=token)
    return await desk.submit(record.application, request["parameters"], asked)


class Starter:
    """Starts what is due, for as long as it runs: one for an account, or for all users of a broker."""

    def __init__(self) -> None:
        self._not_before: dict[str, float] = {}
        self._under_way: dict[str, asyncio.Task[list[RunRecord]]] = {}

    def begin(
        self, desk_of: Callable[[ScheduleRecord], Desk], due: Sequence[ScheduleRecord], now: float
    ) -> list[asyncio.Task[list[RunRecord]]]:
        """Begin to start what is due and not under way: no schedule waits for another's slow site."""
        begun = []
        for record in due:
            if record.token not in self._under_way and self._not_before.get(record.token, now) <= now:
                task = asyncio.create_task(self._start(desk_of, record, now))
                self._under_way[record.token] = task
                task.add_done_callback(functools.partial(self._over, record.token))
                begun.append(task)
        return begun

    def _over(self, token: str, _: asyncio.Task[list[RunRecord]]) -> None:
        del self._under_way[token]

    async def _start(
        self, desk_of: Callable[[ScheduleRecord], Desk], record: ScheduleRecord, now: float
    ) -> list[RunRecord]:
        """Start a schedule; if that fails it is tried again later."""
        try:
            started = await start_due(desk_of(record), record, now)
        except Exception as error:  # whatever it is, the others' schedules are to go on
            self._not_before[record.token] = now + _AGAIN_AFTER_S
            words = error.message if isinstance(error, SpringtideError) else repr(error)
            _log.warning("The schedule %s of %s waits: %s", record.token, record.user, words)
            return []
        self._not_before.pop(record.token, None)
        return started

    async def round(
        self, desk_of: Callable[[ScheduleRecord], Desk], due: Sequence[ScheduleRecord], now: float
    ) -> list[RunRecord]:
        """Start once what is due; return what was submitted."""
        return [run for runs in await asyncio.gather(*self.begin(desk_of, due, now)) for run in runs]

    async def stop(self) -> None:
        """End what is under way: it is still due."""
        under_way = list(self._under_way.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def keep_own(desk: Desk) -> None:
    """Start what is due of a user's own schedules, until it is ended."""
    starter = Starter()
    while True:
        now = time.time()
        due = await asyncio.to_thread(desk.ledger.schedules, user=desk.user, keeper="", due_at=now)
        for run in await starter.round(lambda record: desk, due, now):
            desk.say(f"{iso_time(now)} {run.application} {run.token}")
        await asyncio.sleep(_LOOK_EVERY_S)
