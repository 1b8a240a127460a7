"""What the ledger has of charges: for whom each run counts, so that quotas can be kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, case, delete, func, select

from springtide.ledger.records import OVER, REFUSED
from springtide.ledger.rows import storable
from springtide.ledger.schema import charges, jobs, runs

_LOCK = 0x5370_7269_6E67
"""PostgreSQL's advisory lock under which charges are written."""
_PROMISED_S = 86400.0
"""So long a run that was never submitted counts as if it were."""


@dataclass(frozen=True)
class Spent:
    """What somebody's runs take and have taken."""

    jobs: int = 0
    """Not over."""
    cores: int = 0
    """Of those."""
    core_s: float = 0.0
    """Used by those that are over, asked for by those that are not; since a time."""


class ChargeRows:
    """The part of `springtide.ledger.store.Ledger` that is about charges."""

    def spent(self, since: Mapping[str, float]) -> dict[str, Spent]:
        """Return what each of some holders has spent, since a time of its own."""
        with self._reads() as connection:
            return spent_by(connection, since)

    def drop_charges(self, token: str) -> None:
        """Charge nobody for a run any more: it was refused."""
        with self._writes() as connection:
            connection.execute(delete(charges).where(charges.c.token == storable(token)))

    @contextmanager
    def _reads(self) -> Iterator[Connection]:
        raise NotImplementedError
        yield

    @contextmanager
    def _writes(self) -> Iterator[Connection]:
        raise NotImplementedError
        yield


def one_at_a_time(connection: Connection) -> None:
    """Let nobody else write charges until this transaction ends. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def spent_by(connection: Connection, since: Mapping[str, float]) -> dict[str, Spent]:
    """Return what each of some holders has spent, since a time of its own."""
    found = {}
    for holder, after in since.items():
        count, cores, core_s = connection.execute(_question(holder, after)).one()
        found[holder] = Spent(int(count or 0), int(cores or 0), float(core_s or 0.0))
    return found


def _question(holder: str, since: float) -> Select[Any]:
    promised = jobs.c.token.is_(None)
    still_promised = promised & (charges.c.recorded > time.time() - _PROMISED_S)
    is_open = case((still_promised, True), (promised, False), else_=jobs.c.state.not_in(OVER))
    used_s = case(
        (jobs.c.used_walltime_s.is_not(None), jobs.c.used_walltime_s),
        (jobs.c.started.is_(None), 0.0),
        (jobs.c.ended.is_not(None), jobs.c.ended - jobs.c.started),
        else_=jobs.c.walltime_s,
    )
    nothing = promised | (jobs.c.state == REFUSED) | (jobs.c.walltime_s <= 0)
    core_s = case(
        (charges.c.recorded < since, 0.0),
        (is_open, charges.c.core_s),
        (nothing, 0.0),
        else_=charges.c.core_s * used_s / jobs.c.walltime_s,
    )
    of_those = charges.join(runs, runs.c.token == charges.c.token).outerjoin(jobs, jobs.c.token == runs.c.job)
    return (
        select(
            func.sum(case((is_open, charges.c.jobs), else_=0)),
            func.sum(case((is_open, charges.c.cores), else_=0)),
            func.sum(core_s),
        )
        .select_from(of_those)
        .where(charges.c.holder == storable(holder))
    )
