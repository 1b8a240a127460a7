"""``springtide.schedule`` and ``springtide.schedules``: applications that run again and again, from Python."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from springtide.jobs import loop
from springtide.jobs.api import desk
from springtide.jobs.asked import Asked
from springtide.jobs.desk import Desk
from springtide.jobs.job import Job
from springtide.jobs.remote import RemoteDesk
from springtide.jobs.schedules import Repeat
from springtide.ledger.records import ENDED, ON, PAUSED, ScheduleRecord


class Schedule:
    """An application that runs again and again."""

    def __init__(self, here: Desk | RemoteDesk, record: ScheduleRecord) -> None:
        self._desk, self._record = here, record

    def __repr__(self) -> str:
        one = self._record
        return f"<Schedule {one.token}: {one.application} at “{one.cron}” ({one.zone}), {one.state}, next {self.due}>"

    @property
    def token(self) -> str:
        """What it is called."""
        return self._record.token

    @property
    def state(self) -> str:
        """``on``, ``paused`` or ``ended``."""
        return self._record.state

    @property
    def due(self) -> datetime | None:
        """When it is due next, as the clocks of its zone show it."""
        due = self._record.due
        return None if due is None else datetime.fromtimestamp(due, ZoneInfo(self._record.zone))

    @property
    def problem(self) -> str:
        """Why nothing was submitted when it was due last; empty where something was."""
        return self._record.problem

    @property
    def last_job(self) -> Job | None:
        """The job that it submitted last."""
        token = self._record.last_run
        return self._desk.job_of(loop.call(self._desk.run(token))) if token else None

    def pause(self) -> Schedule:
        """Pause it: what is due meanwhile is not missed."""
        return self._set(PAUSED)

    def resume(self) -> Schedule:
        """Go on with it."""
        return self._set(ON)

    def end(self) -> Schedule:
        """End it for ever; its jobs go on."""
        return self._set(ENDED)

    def _set(self, state: str) -> Schedule:
        self._record = loop.call(self._desk.set_schedule(self.token, state))
        return self


def schedule(
    application: str,
    cron: str,
    *,
    zone: str = "",
    missed: str = "once",
    overlap: bool = False,
    site: str = "auto",
    cores: int | None = None,
    memory: str | int | None = None,
    walltime: str | int | None = None,
    name: str = "",
    **parameters: Any,
) -> Schedule:
    """Have an application run again and again.

    Parameters
    ----------
    application : str
        Its name.
    cron : str
        Minute, hour, day of the month, month, day of the week: ``"30 2 * * mon-fri"``; or ``"@daily"``.
    zone : str, optional
        The time zone, ``"Europe/Paris"``; by default that of the machine that starts it.
    missed : {"once", "skip", "all"}, optional
        What becomes of times at which nobody was there to start it: one run for all of them, none, or one for each.
    overlap : bool, optional
        Whether a run may start while the one before still goes on. Otherwise it waits for its end, and is then one
        that was missed.
    site, cores, memory, walltime, name, **parameters
        As `springtide.run` has them. Seeds that are not given are drawn anew each time.

    Raises
    ------
    ParameterError, UnknownApplication
        If what is asked for is wrong: then nothing was written down.
    """
    asked = Asked(site, cores, memory, walltime, name, start=Path.cwd())
    here = desk()
    repeat = Repeat(cron, zone, missed, overlap)
    return Schedule(here, loop.call(here.schedule(application, parameters, asked, repeat)))


def schedules(*, ended: bool = False) -> list[Schedule]:
    """Return your schedules, the oldest first."""
    here = desk()
    return [Schedule(here, record) for record in loop.call(here.schedules(ended=ended))]
