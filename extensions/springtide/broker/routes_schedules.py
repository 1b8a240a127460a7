"""Routes of schedules: applications that run again and again."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query

from springtide.broker import bodies
from springtide.broker.calls import Call, Reading, Submitting, asked_of
from springtide.broker.problems import Refusal, response_to_error
from springtide.broker.routes_jobs import ERRORS
from springtide.errors import SpringtideError
from springtide.jobs.schedules import Repeat, schedule_as_json, set_schedule
from springtide.ledger.records import ScheduleRecord

ScheduleToken = Annotated[str, Path(max_length=64)]
router = APIRouter(responses=ERRORS)


@router.post("/schedules", status_code=201, tags=["schedules"], response_model=bodies.Schedule)
async def add(call: Submitting, body: bodies.NewSchedule) -> Any:
    """Have an application run again and again. All that a submission checks is checked now."""
    call.broker.guard.submission(call.who.name)
    repeat = Repeat(body.cron, body.zone, body.missed, body.overlap)
    try:
        record = await call.desk().schedule(body.application, body.parameters, asked_of(body), repeat)
    except SpringtideError as error:
        return response_to_error(error, body.parameters, body.sweep)
    return schedule_as_json(record)


@router.get("/schedules", tags=["schedules"], response_model=list[bodies.Schedule])
async def list_schedules(
    call: Reading,
    ended: Annotated[bool, Query(description="Also those that have ended.")] = False,
    user: Annotated[str, Query(max_length=200, description="Whose; * is everybody, for who may see all.")] = "",
) -> Any:
    """Return your schedules, the oldest first."""
    wanted = user or call.who.name
    if wanted != call.who.name and not call.who.sees_all:
        raise _no_such_schedule()
    ledger = call.broker.desks.ledger
    found = await asyncio.to_thread(ledger.schedules, user="" if wanted == "*" else wanted, ended=ended)
    return [schedule_as_json(record) for record in found]


@router.get("/schedules/{token}", tags=["schedules"], response_model=bodies.Schedule)
async def show(call: Reading, token: ScheduleToken) -> Any:
    """Return a schedule."""
    return schedule_as_json(await _schedule(call, token))


@router.post("/schedules/{token}/{state}", tags=["schedules"], response_model=bodies.Schedule)
async def change(call: Submitting, token: ScheduleToken, state: Literal["on", "paused", "ended"]) -> Any:
    """Pause a schedule, go on with it, or end it."""
    record = await _schedule(call, token)
    return schedule_as_json(await set_schedule(call.broker.desks.of(record.user), record, state))


async def _schedule(call: Call, token: str) -> ScheduleRecord:
    """Return a schedule that the caller may see; another user's is as if it were not there."""
    found = await asyncio.to_thread(call.broker.desks.ledger.schedule, token)
    if found is None or (found.user != call.who.name and not call.who.sees_all):
        raise _no_such_schedule()
    return found


def _no_such_schedule() -> Refusal:
    return Refusal(404, "NoSuchJob", "There is no such schedule.")
