"""Quotas: what a user's and a group's jobs may take together, counted from the ledger before each submission."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from springtide.errors import QuotaExceeded
from springtide.jobs.spec import JobSpec
from springtide.lab.models import GROUP_HOLDER, USER_HOLDER, Quota
from springtide.ledger.charges import Spent
from springtide.ledger.records import ChargeRecord, RunRecord

if TYPE_CHECKING:
    from springtide.jobs.desk import Desk

_HINT = "springtide quota shows what is used and what is allowed."


@dataclass(frozen=True)
class Standing:
    """What somebody may have, and has spent of it."""

    whose: str
    """``user NAME`` or ``group NAME``."""
    quota: Quota
    spent: Spent

    def as_json(self) -> dict[str, Any]:
        """Return it as all interfaces do."""
        return {
            "whose": self.whose,
            "period_s": self.quota.period,
            "used": {"jobs": self.spent.jobs, "cores": self.spent.cores, "core_hours": self.spent.core_s / 3600},
            "allowed": {name: getattr(self.quota, name) for name in ("jobs", "cores", "core_hours")},
        }

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Standing:
        """Return what an interface has shown."""
        used = shown["used"]
        spent = Spent(used["jobs"], used["cores"], used["core_hours"] * 3600)
        return cls(shown["whose"], Quota(**shown["allowed"], period=round(shown["period_s"])), spent)


async def standings(desk: Desk) -> list[Standing]:
    """Return what limits a user, the user's own quota first, and what is spent of it."""
    quotas = desk.lab.quotas.of(desk.user, desk.groups)
    spent = await asyncio.to_thread(desk.ledger.spent, _since(quotas))
    return [Standing(whose, quota, spent[whose]) for whose, quota in quotas.items()]


async def check_quotas(desk: Desk, spec: JobSpec) -> None:
    """Refuse what would pass a quota, before anything is made for it.

    Raises
    ------
    QuotaExceeded
        If it would.
    """
    charge = charge_of(spec)
    for standing in await standings(desk):
        _check(standing, charge)


def add_run_within_quotas(desk: Desk, run: RunRecord, spec: JobSpec) -> None:
    """Write a run down unless it would pass a quota: of several at once, no more than there is room for.

    Raises
    ------
    QuotaExceeded
        If it would: then nothing was written.
    """
    quotas = desk.lab.quotas.of(desk.user, desk.groups)
    charge = charge_of(spec)

    def check(spent: Mapping[str, Spent]) -> None:
        for whose, quota in quotas.items():
            _check(Standing(whose, quota, spent[whose]), charge)

    charges = [
        ChargeRecord(run.token, whose, charge.jobs, charge.cores, charge.core_s, run.recorded) for whose in quotas
    ]
    desk.ledger.add_run(run, charges=charges, since=_since(quotas), check=check)


def charge_of(spec: JobSpec) -> Spent:
    """Return what a submission asks for: all runs of a sweep may go on at once, unless it says how many."""
    count = len(spec.runs)
    cores = spec.cores * spec.nodes
    at_once = min(count, spec.at_once or count)
    return Spent(count, cores * at_once, float(cores * spec.walltime_s * count))


def _since(quotas: Mapping[str, Quota]) -> dict[str, float]:
    now = time.time()
    return {whose: now - quota.period for whose, quota in quotas.items()}


def _check(standing: Standing, asked: Spent) -> None:
    quota, spent = standing.quota, standing.spent
    days = quota.period / 86400
    checks = (
        (quota.jobs, spent.jobs, asked.jobs, "jobs at a time"),
        (quota.cores, spent.cores, asked.cores, "cores at a time"),
        (quota.core_hours, spent.core_s / 3600, asked.core_s / 3600, f"core hours in {days:g} days"),
    )
    for allowed, used, more, what in checks:
        if allowed is not None and used + more > allowed:
            raise QuotaExceeded(
                f"{_who(standing.whose)} may have {allowed:g} {what}: {used:.6g} are taken, and this needs {more:.6g}.",
                _HINT,
            )


def _who(whose: str) -> str:
    """Return whose a quota is, as the user is told who has run into it."""
    return "You" if whose.startswith(USER_HOLDER) else f"The group {whose.removeprefix(GROUP_HOLDER)}"
