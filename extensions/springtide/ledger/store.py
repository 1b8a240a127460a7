"""The ledger: every submission and every machine is written here before it is made.

One `Ledger` serves all threads of a process, and none of its children after a fork. It blocks: coroutines call it
through `asyncio.to_thread`. Every method raises `springtide.errors.LedgerError` when the database cannot be used, and
has then written nothing at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, Select, exists, select

from springtide.ledger.charges import ChargeRows, Spent, one_at_a_time, spent_by
from springtide.ledger.engine import describe, make_engine, parse_place, writing
from springtide.ledger.migrate import migrate
from springtide.ledger.problems import in_words
from springtide.ledger.records import ChargeRecord, Event, JobRecord, MachineRecord, RunRecord
from springtide.ledger.rows import CHARGES, EVENTS, JOBS, MACHINES, RUNS, storable
from springtide.ledger.schedules import ScheduleRows
from springtide.ledger.schema import STILL_OPEN, STILL_THERE, events, jobs, machines, runs

_PATIENCE_S = 10.0
_NAMES_AT_ONCE = 500


class Ledger(ScheduleRows, ChargeRows):
    """The database of what was submitted or created. Made by `open`."""

    def __init__(self, url: URL, engine: Engine) -> None:
        self._url = url
        self._engine = engine
        self._writing = writing(engine)

    @classmethod
    def open(cls, place: str | Path, *, patience_s: float = _PATIENCE_S) -> Self:
        """Return the ledger at `place`; create it, or bring its tables up to date, where that is needed.

        Parameters
        ----------
        place : str or Path
            An SQLite file, or the URL of a database: ``sqlite:///FILE``, ``postgresql://USER@HOST/DATABASE``.
        patience_s : float, optional
            How long each call waits for a lock that another process holds.
        """
        url = parse_place(place)
        with in_words(url):
            engine = make_engine(url, patience_s)
            try:
                migrate(engine)
            except BaseException:
                engine.dispose()
                raise
        return cls(url, engine)

    def close(self) -> None:
        """Close all connections. May be called twice."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def place(self) -> str:
        """Where it lies, in words without a password."""
        return describe(self._url)

    # --- jobs and sessions ------------------------------------------------------------------------------------------

    def add_jobs(self, records: Sequence[JobRecord], *, events: Sequence[Event] = ()) -> None:
        """Write rows, before their submission, and what happened with them: all or none.

        A row without `recorded` gets the time of now.
        """
        now = time.time()
        with self._writes() as connection:
            JOBS.add(connection, [replace(record, recorded=record.recorded or now) for record in records])
            EVENTS.add(connection, events)

    def update_job(self, token: str, **changes: Any) -> None:
        """Change fields of one row."""
        self.update_jobs({token: changes})

    def update_jobs(self, changes: Mapping[str, Mapping[str, Any]], *, events: Sequence[Event] = ()) -> None:
        """Change fields of many rows, by token, and write what happened with them: all or none."""
        with self._writes() as connection:
            JOBS.update(connection, changes)
            EVENTS.add(connection, events)

    def claim_job(self, token: str, *, states: Collection[str], events: Sequence[Event] = (), **changes: Any) -> bool:
        """Change fields of one row, and write what happened, if its state is among `states`; return whether it was.

        Of several processes that try the same, one succeeds.
        """
        with self._writes() as connection:
            claimed = JOBS.update_if(connection, token, jobs.c.state.in_(states), changes)
            EVENTS.add(connection, events if claimed else ())
        return claimed

    def job(self, token: str) -> JobRecord | None:
        """Return the row with this token."""
        return self._first(JOBS.select().where(jobs.c.token == storable(token)))

    def is_over(self, token: str) -> bool:
        """Whether the run, job, session or worker with this token is over; one that is not known may not be."""
        run = self.run(token)
        row = self.job(run.job if run else token)
        return row is not None and row.over

    def job_by_id(self, site: str, job_id: str) -> JobRecord | None:
        """Return the newest row with the scheduler's id: schedulers that start anew may count from 1 again."""
        which = JOBS.select().where(jobs.c.site == storable(site), jobs.c.job_id == storable(job_id))
        return self._first(which.order_by(jobs.c.number.desc()).limit(1))

    def jobs(
        self,
        *,
        site: str = "",
        user: str = "",
        kind: str = "",
        states: Collection[str] = (),
        open_only: bool = False,
        since: float | None = None,
        limit: int | None = None,
        server: str | None = None,
    ) -> list[JobRecord]:
        """Return rows, the newest first.

        Parameters
        ----------
        site, user, kind : str, optional
            Only these.
        states : Collection[str], optional
            Only rows in one of these states.
        open_only : bool, optional
            Only rows to which something may still happen.
        since : float, optional
            Only rows recorded at this time or later.
        limit : int, optional
            The most rows.
        server : str, optional
            Only sessions of this name; "" is the default one, None any.
        """
        question = JOBS.select().order_by(jobs.c.number.desc()).limit(limit)
        for column, wanted in ((jobs.c.site, site), (jobs.c.user, user), (jobs.c.kind, kind)):
            question = question.where(column == storable(wanted)) if wanted else question
        if states:
            question = question.where(jobs.c.state.in_(map(storable, states)))
        if open_only:
            question = question.where(STILL_OPEN)
        if since is not None:
            question = question.where(jobs.c.recorded >= since)
        if server is not None:
            question = question.where(jobs.c.server == storable(server))
        with self._reads() as connection:
            return JOBS.read(connection, question)

    def waits(
        self, site: str, *, queue: str = "", since: float | None = None, limit: int | None = None
    ) -> list[JobRecord]:
        """Return the jobs of a site that were submitted and have started (since a time), the last started first."""
        question = JOBS.select().where(
            jobs.c.site == storable(site), jobs.c.started.is_not(None), jobs.c.submitted.is_not(None)
        )
        question = question.order_by(jobs.c.started.desc()).limit(limit)
        if queue:
            question = question.where(jobs.c.queue == storable(queue))
        if since is not None:
            question = question.where(jobs.c.started >= since)
        with self._reads() as connection:
            return JOBS.read(connection, question)

    # --- runs of applications ---------------------------------------------------------------------------------------

    def add_run(
        self,
        record: RunRecord,
        *,
        charges: Sequence[ChargeRecord] = (),
        since: Mapping[str, float] = MappingProxyType({}),
        check: Callable[[Mapping[str, Spent]], None] = lambda spent: None,
    ) -> None:
        """Write a row, before the job's, and for whom it counts. Without `recorded` it gets the time of now.

        `check` is told first what the holders in `since` have spent since then; what it raises is raised, and nothing
        is written. Nobody else spends anything in between.
        """
        with self._writes() as connection:
            if since:
                one_at_a_time(connection)
                check(spent_by(connection, since))
            CHARGES.add(connection, charges)
            RUNS.add(connection, [replace(record, recorded=record.recorded or time.time())])

    def update_run(self, token: str, **changes: Any) -> None:
        """Change fields of one row."""
        with self._writes() as connection:
            RUNS.update(connection, {token: changes})

    def replace_job_of_run(self, token: str, job: str, new_job: str) -> bool:
        """Have a run's further try under a token of its own; return whether nobody else has begun one."""
        with self._writes() as connection:
            return RUNS.update_if(connection, token, runs.c.job == storable(job), {"job": new_job})

    def run(self, token: str) -> RunRecord | None:
        """Return the run with this token, or with the job of this token."""
        which = RUNS.select().where((runs.c.token == storable(token)) | (runs.c.job == storable(token)))
        with self._reads() as connection:
            found = RUNS.read(connection, which.limit(1))
        return found[0] if found else None

    def runs(
        self, *, user: str = "", since: float | None = None, limit: int | None = None, before: str = ""
    ) -> list[RunRecord]:
        """Return runs (of a user, since a time, older than the run `before`), the newest first."""
        question = RUNS.select().order_by(runs.c.number.desc()).limit(limit)
        if before:
            older = select(runs.c.number).where(runs.c.token == storable(before)).scalar_subquery()
            question = question.where(runs.c.number < older)
        if user:
            question = question.where(runs.c.user == storable(user))
        if since is not None:
            question = question.where(runs.c.recorded >= since)
        with self._reads() as connection:
            return RUNS.read(connection, question)

    def jobs_of(self, records: Collection[RunRecord]) -> dict[str, JobRecord]:
        """Return the rows of the jobs of runs, by the runs' tokens; a run that was never submitted has none."""
        owners = {record.job: record.token for record in records}
        found: list[JobRecord] = []
        names = list(owners)
        with self._reads() as connection:
            for start in range(0, len(names), _NAMES_AT_ONCE):
                some = map(storable, names[start : start + _NAMES_AT_ONCE])
                found += JOBS.read(connection, JOBS.select().where(jobs.c.token.in_(some)))
        return {owners[row.token]: row for row in found}

    def runs_left(self) -> list[RunRecord]:
        """Return the runs, of all users, whose job has no row: whoever promised them died before submitting them."""
        question = RUNS.select().where(~exists().where(jobs.c.token == runs.c.job)).order_by(runs.c.number)
        with self._reads() as connection:
            return RUNS.read(connection, question)

    # --- machines ---------------------------------------------------------------------------------------------------

    def add_machine(self, record: MachineRecord) -> None:
        """Write a row, before the machine is asked for. Without `recorded` it gets the time of now."""
        with self._writes() as connection:
            MACHINES.add(connection, [replace(record, recorded=record.recorded or time.time())])

    def update_machine(self, token: str, **changes: Any) -> None:
        """Change fields of one row."""
        with self._writes() as connection:
            MACHINES.update(connection, {token: changes})

    def machine(self, token: str) -> MachineRecord | None:
        """Return the row with this token."""
        with self._reads() as connection:
            found = MACHINES.read(connection, MACHINES.select().where(machines.c.token == storable(token)))
        return found[0] if found else None

    def machines(
        self,
        *,
        site: str = "",
        user: str = "",
        states: Collection[str] = (),
        open_only: bool = False,
        since: float | None = None,
        limit: int | None = None,
    ) -> list[MachineRecord]:
        """Return rows, the newest first; `open_only`: of machines that may still cost money. See `jobs`."""
        question = MACHINES.select().order_by(machines.c.number.desc()).limit(limit)
        for column, wanted in ((machines.c.site, site), (machines.c.user, user)):
            question = question.where(column == storable(wanted)) if wanted else question
        if states:
            question = question.where(machines.c.state.in_(map(storable, states)))
        if open_only:
            question = question.where(STILL_THERE)
        if since is not None:
            question = question.where(machines.c.recorded >= since)
        with self._reads() as connection:
            return MACHINES.read(connection, question)

    # --- events -----------------------------------------------------------------------------------------------------

    def add_event(self, event: Event) -> None:
        """Write what happened."""
        with self._writes() as connection:
            EVENTS.add(connection, [event])

    def events(self, token: str = "", since: float | None = None, limit: int | None = None) -> list[Event]:
        """Return what happened (to one job or machine, since a time), in the order it was written.

        `limit` keeps the last ones.
        """
        question = EVENTS.select().order_by(events.c.number.desc()).limit(limit)
        if token:
            question = question.where(events.c.token == storable(token))
        if since is not None:
            question = question.where(events.c.time >= since)
        with self._reads() as connection:
            return EVENTS.read(connection, question)[::-1]

    # --- transactions -----------------------------------------------------------------------------------------------

    @contextmanager
    def _reads(self) -> Iterator[Connection]:
        with in_words(self._url), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _writes(self) -> Iterator[Connection]:
        with in_words(self._url), self._writing.begin() as connection:
            yield connection

    def _first(self, question: Select[Any]) -> JobRecord | None:
        with self._reads() as connection:
            found = JOBS.read(connection, question)
        return found[0] if found else None
