"""What the ledger has of schedules: applications that run again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from springtide.ledger.records import ENDED, ScheduleRecord
from springtide.ledger.rows import SCHEDULES, storable
from springtide.ledger.schema import schedules


class ScheduleRows:
    """The part of `springtide.ledger.store.Ledger` that is about schedules."""

    def add_schedule(self, record: ScheduleRecord) -> None:
        """Write a row. Without `recorded` it gets the time of now."""
        with self._writes() as connection:
            SCHEDULES.add(connection, [replace(record, recorded=record.recorded or time.time())])

    def change_schedule(self, before: ScheduleRecord, **changes: Any) -> bool:
        """Change fields of a row that has not moved on since it was read; return whether it had not.

        Of several processes that try the same, one succeeds.
        """
        unmoved = (schedules.c.state == before.state) & schedules.c.due.is_not_distinct_from(before.due)
        with self._writes() as connection:
            return SCHEDULES.update_if(connection, before.token, unmoved, changes)

    def claim_schedule(self, token: str, by: str, now: float, until: float) -> bool:
        """Claim a row for a while, or for longer; return whether nobody else has it."""
        free = (schedules.c.claimed_by == storable(by)) | (schedules.c.claimed_until <= now)
        with self._writes() as connection:
            return SCHEDULES.update_if(connection, token, free, {"claimed_by": by, "claimed_until": until})

    def schedule(self, token: str) -> ScheduleRecord | None:
        """Return the row with this token."""
        with self._reads() as connection:
            found = SCHEDULES.read(connection, SCHEDULES.select().where(schedules.c.token == storable(token)))
        return found[0] if found else None

    def schedules(
        self, *, user: str = "", keeper: str | None = None, due_at: float | None = None, ended: bool = False
    ) -> list[ScheduleRecord]:
        """Return rows, the oldest first.

        Parameters
        ----------
        user : str, optional
            Only of this user.
        keeper : str, optional
            Only those that this one starts.
        due_at : float, optional
            Only those that are due then.
        ended : bool, optional
            Also those that have ended.
        """
        question = SCHEDULES.select().order_by(schedules.c.number)
        if user:
            question = question.where(schedules.c.user == storable(user))
        if keeper is not None:
            question = question.where(schedules.c.keeper == storable(keeper))
        if due_at is not None:
            question = question.where(schedules.c.due <= due_at)
        if not ended:
            question = question.where(schedules.c.state != ENDED)
        with self._reads() as connection:
            return SCHEDULES.read(connection, question)

    @contextmanager
    def _reads(self) -> Iterator[Connection]:
        raise NotImplementedError
        yield

    @contextmanager
    def _writes(self) -> Iterator[Connection]:
        raise NotImplementedError
        yield
