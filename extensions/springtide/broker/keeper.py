"""Starts what is due of the schedules of all users; what was due while the broker was stopped follows its policy."""

from __future__ import annotations

import asyncio
import logging
import time

from springtide.broker.desk import KEEPER, UserDesk
from springtide.broker.desks import Desks
from springtide.broker.news import News
from springtide.errors import SpringtideError
from springtide.jobs.schedules import groups_of
from springtide.jobs.starting import Starter
from springtide.ledger.records import RunRecord, ScheduleRecord

_log = logging.getLogger(__name__)
_PAUSE_S = 1.0


class Keeper:
    """One per broker."""

    def __init__(self, desks: Desks, news: News) -> None:
        self.desks, self.news = desks, news
        self.pause_s = _PAUSE_S
        self._starter = Starter()

    async def run(self) -> None:
        """Start what is due, for ever; what fails once is tried again."""
        try:
            while True:
                try:
                    await self.round(time.time())
                except SpringtideError as error:
                    _log.warning("Schedules could not be read: %s", error)
                await asyncio.sleep(self.pause_s)
        finally:
            await self._starter.stop()

    async def round(self, now: float) -> None:
        """Begin to start what is due."""
        due = await asyncio.to_thread(self.desks.ledger.schedules, keeper=KEEPER, due_at=now)
        for task in self._starter.begin(self._desk_of, due, now):
            task.add_done_callback(self._tell)

    def _tell(self, started: asyncio.Task[list[RunRecord]]) -> None:
        if not started.cancelled() and started.result():
            self.news.moved.set()

    def _desk_of(self, record: ScheduleRecord) -> UserDesk:
        desk = self.desks.of(record.user)
        # After a restart the hub has not said yet what its user is in.
        return desk if desk.groups else self.desks.of(record.user, groups_of(record))
