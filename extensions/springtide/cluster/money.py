"""What machines cost, and how much of a budget is gone: from the ledger's rows alone, so that no crash forgets any."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from springtide.cluster.observation import Money

HOUR_S = 3600.0
# Quotients of clock readings are not exact: a millionth of a quantum is no new quantum.
_EXACT = 1e-6


@dataclass(frozen=True, slots=True)
class Charge:
    """One machine as the ledger knows it: written before it is asked for, closed when the cloud has it no more."""

    asked: float
    """When its row was written; the bill is taken to begin here."""
    lifetime_s: float
    """After which it is off by itself, whatever happens."""
    price_per_hour: float
    quantum_s: float
    gone: float | None = None
    """When the cloud was first seen without it; None while it exists or may exist."""
    never: bool = False
    """Whether the cloud refused it, so that nothing was ever billed."""


def quanta(seconds: float, quantum_s: float) -> int:
    """Return how many quanta are billed for a machine that lives for `seconds`: at least one."""
    return max(1, math.ceil(seconds / quantum_s - _EXACT))


def cost_of(seconds: float, price_per_hour: float, quantum_s: float) -> float:
    """Return what a machine costs that lives for `seconds`."""
    return quanta(seconds, quantum_s) * quantum_s / HOUR_S * price_per_hour


def money_of(charges: Iterable[Charge], budget: float | None) -> Money:
    """Return the state of `budget` that follows from all machines ever made under it.

    A machine that exists or may exist counts until the end of its lifetime, as long as it is not seen to be gone: what
    a crash leaves behind cannot cost more than what is reserved.
    """
    spent = reserved = 0.0
    for charge in charges:
        if charge.never:
            continue
        if charge.gone is None:
            reserved += cost_of(charge.lifetime_s, charge.price_per_hour, charge.quantum_s)
        else:
            spent += cost_of(charge.gone - charge.asked, charge.price_per_hour, charge.quantum_s)
    return Money(budget, spent, reserved)
