"""What machines cost, and how much of a budget is gone: from the ledger's rows alone, so that no crash forgets any."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from springtide.clouds.money import cost_of
from springtide.cluster.observation import Money


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
