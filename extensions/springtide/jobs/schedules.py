"""Schedules: applications that run again and again, when a cron expression is due. `starting` starts them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from springtide.errors import JobError, ParameterError
from springtide.jobs.asked import Asked
from springtide.jobs.cron import due_after, read_cron, read_zone
from springtide.ledger.records import ENDED, ON, ScheduleRecord
from springtide.queues.bookkeeping import new_token
from springtide.queues.views import iso_time

if TYPE_CHECKING:
    from springtide.jobs.desk import Desk

MISSED = ("skip", "once", "all")
"""What may become of times at which nobody was there: nothing, one run for all of them, or a run for each."""
_MOST_SCHEDULES = 100
_OPTIONS = ("site", "cores", "memory", "walltime", "name")
_SHOWN_AHEAD = 5


@dataclass(frozen=True)
class Repeat:
    """When something runs again and again."""

    cron: str
    """``30 2 * * mon-fri``, or ``@daily``."""
    zone: str = ""
    """Name of the time zone; empty: that of the machine that starts it."""
    missed: str = "once"
    """What becomes of times at which nobody was there: see `MISSED`."""
    overlap: bool = False
    """Whether a run may start while the one before still goes on; else it waits, as if nobody were there."""

    def checked(self) -> Repeat:
        """Return it complete.

        Raises
        ------
        ParameterError
            If anything of it cannot be.
        """
        if self.missed not in MISSED:
            raise ParameterError("missed", f"“{self.missed[:40]}” is no policy.", f"There is: {', '.join(MISSED)}.")
        return replace(self, cron=read_cron(self.cron), zone=read_zone(self.zone))


async def add_schedule(desk: Desk, name: str, given: Mapping[str, Any], asked: Asked, repeat: Repeat) -> ScheduleRecord:
    """Write down that an application is to run again and again; all that a submission checks is checked now.

    Raises
    ------
    SpringtideError
        As `Desk.submit` does, if what is asked for is wrong: then nothing was written.
    """
    repeat = repeat.checked()
    if asked.after:
        raise ParameterError("after", "What runs again and again follows no job.", "Leave it out.")
    theirs = await asyncio.to_thread(desk.ledger.schedules, user=desk.user)
    if len(theirs) >= _MOST_SCHEDULES:
        raise ParameterError("cron", f"You have {len(theirs)} schedules already.", "End one of them first.")
    offer, spec, _ = await desk.plan(name, given, asked)
    await desk.candidates(spec, asked.site, foreseeing=False)
    record = ScheduleRecord(
        token=asked.token or new_token(),
        user=desk.user,
        application=offer.full_name,
        cron=repeat.cron,
        zone=repeat.zone,
        missed=repeat.missed,
        overlap=repeat.overlap,
        request=_as_json(given, asked, desk),
        keeper=desk.keeper,
        due=due_after(repeat.cron, repeat.zone, time.time()),
        recorded=time.time(),
    )
    if (known := await asyncio.to_thread(desk.ledger.schedule, record.token)) is not None:
        # Whoever was not answered asks again.
        if known.user != desk.user:
            raise ParameterError("token", "It is taken.", "Draw another one.")
        return known
    await asyncio.to_thread(desk.ledger.add_schedule, record)
    return record


def _as_json(given: Mapping[str, Any], asked: Asked, desk: Desk) -> str:
    request = {
        "parameters": dict(given),
        "options": {name: value for name in _OPTIONS if (value := getattr(asked, name)) not in ("", None)},
        "sweep": dict(asked.sweep),
        "start": str(asked.start or ""),
        "groups": sorted(desk.groups),
    }
    return json.dumps(request, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return what JSON has for a value: ranges, paths and numpy's numbers are none."""
    if isinstance(value, (range, set, frozenset)):
        return list(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)


async def find_schedule(desk: Desk, token: str) -> ScheduleRecord:
    """Return one of a user's schedules.

    Raises
    ------
    ParameterError
        If there is none, or it is another user's, of which nothing is told.
    """
    found = await asyncio.to_thread(desk.ledger.schedule, token)
    if found is None or found.user != desk.user:
        raise no_schedule(token)
    return found


def no_schedule(token: str) -> ParameterError:
    """Return the error about a schedule that is not there, or another user's: nothing tells which."""
    return ParameterError("schedule", f"There is no schedule “{token[:60]}”.", "springtide schedules lists yours.")


async def set_schedule(desk: Desk, record: ScheduleRecord, state: str) -> ScheduleRecord:
    """Pause a schedule, go on with it, or end it; times that pass while it is paused are not missed.

    Raises
    ------
    JobError
        If it has ended.
    """
    while record.state != state:
        if record.state == ENDED:
            raise JobError(f"The schedule {record.token} has ended.", "Make a new one.")
        due = due_after(record.cron, record.zone, time.time()) if state == ON else None
        if await asyncio.to_thread(desk.ledger.change_schedule, record, state=state, due=due):
            return replace(record, state=state, due=due)
        record = await find_schedule(desk, record.token)
    return record


def groups_of(record: ScheduleRecord) -> list[str]:
    """Return the groups that the user of a schedule was in when it was made."""
    return list(json.loads(record.request)["groups"])


# --- as people see it -------------------------------------------------------------------------------------------------


def ahead(record: ScheduleRecord, count: int = _SHOWN_AHEAD) -> list[float]:
    """Return when a schedule is due next, a few times."""
    found: list[float] = []
    due = record.due
    while due is not None and len(found) < count:
        found.append(due)
        due = due_after(record.cron, record.zone, due)
    return found


def schedule_as_json(record: ScheduleRecord) -> dict[str, Any]:
    """Return a schedule as JSON has it."""
    request = json.loads(record.request)
    return {
        "token": record.token,
        "user": record.user,
        "application": record.application,
        "cron": record.cron,
        "zone": record.zone,
        "missed": record.missed,
        "overlap": record.overlap,
        "state": record.state,
        "due": [iso_time(due) for due in ahead(record)],
        "last_due": iso_time(record.last_due),
        "last_job": record.last_run or None,
        "problem": record.problem or None,
        "parameters": request["parameters"],
        "options": request["options"],
        "sweep": request["sweep"],
        "recorded": iso_time(record.recorded),
    }
