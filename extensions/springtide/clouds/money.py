"""What the machines of a site have cost and can still cost: from the ledger's rows alone, so that no crash forgets any.

Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from springtide.ledger.records import MachineRecord

HOUR_S = 3600.0
# Quotients of clock readings are not exact: a millionth of a quantum is no new quantum.
_EXACT = 1e-6


@dataclass(frozen=True)
class Terms:
    """What a site allows and charges."""

    maximum_machines: int
    lifetime_s: float
    quantum_s: float
    budget: float | None = None
    """For each period; None: no limit."""
    period: str = "month"
    currency: str = ""


def quanta(seconds: float, quantum_s: float) -> int:
    """Return how many quanta are billed for a machine that lives for `seconds`: at least one."""
    return max(1, math.ceil(seconds / quantum_s - _EXACT))


def cost_of(seconds: float, price_per_hour: float, quantum_s: float) -> float:
    """Return what a machine costs that lives for `seconds`."""
    return quanta(seconds, quantum_s) * quantum_s / HOUR_S * price_per_hour


def charge(record: MachineRecord, terms: Terms, since: float) -> float:
    """Return what a machine has cost since a time, and, while it exists or may exist, what it can cost at most."""
    if record.state == "failed" and not record.machine_id:
        return 0.0  # the cloud never had it
    # Booked from its row on: the cloud's own bill begins later.
    end = record.destroyed if record.destroyed is not None else record.recorded + terms.lifetime_s
    if end <= since:
        return 0.0
    return cost_of(end - max(record.recorded, since), record.price_per_hour, terms.quantum_s)


def committed(records: Iterable[MachineRecord], terms: Terms, now: float) -> float:
    """Return what is spent of the period's budget or reserved in it."""
    begin = period_begin(terms.period, now)
    return sum(charge(record, terms, begin) for record in records)


def period_begin(period: str, now: float) -> float:
    """Return when the day, week, month or year (UTC) began that holds the time `now`."""
    day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    begins = {
        "day": day,
        "week": day - timedelta(days=day.weekday()),
        "month": day.replace(day=1),
        "year": day.replace(month=1, day=1),
    }
    return begins[period].timestamp()
