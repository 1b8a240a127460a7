"""What stands behind a worker: a process, a batch job or a virtual machine, in words common to all.

Times are seconds since 1970 (UTC), durations seconds, prices the currency of the lab.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from springtide.clouds.money import HOUR_S, cost_of


class BodyState(enum.Enum):
    """Where a worker's body is in its life."""

    ASKED = "asked"
    """Asked for, and nobody knows whether it was accepted."""
    WAITING = "waiting"
    """Accepted, and not started: in the queue, or being made."""
    RUNNING = "running"
    """Its process, job or machine runs; whether the worker inside has joined is the scheduler's to say."""
    ENDED = "ended"
    """Over for good, or never made."""


@dataclass(frozen=True)
class Body:
    """One process, job or machine."""

    state: BodyState
    id: str = ""
    """Process number, job id, machine id."""
    reason: str = ""
    """Why it waits or how it ended, in the words of the queue or cloud."""
    started: float | None = None
    ends_at: float | None = None
    """When its time is over at the latest; None: no limit is known."""

    @property
    def there(self) -> bool:
        """Whether it exists, or may exist."""
        return self.state is not BodyState.ENDED


@dataclass(frozen=True)
class Look:
    """What a pool's place says of the bodies in it; an outage says nothing of any of them."""

    bodies: Mapping[str, Body] = field(default_factory=dict)
    """By worker name; one that is over is `ENDED`, not absent."""
    outage: str = ""


@dataclass(frozen=True)
class Order:
    """How a worker is wanted, beyond what its pool says of all of them."""

    flavour: str = ""
    """Of a machine; empty: the pool's own."""
    lifetime_s: float = 0.0
    """How long it may exist; 0: as long as all in its pool."""


@dataclass(frozen=True)
class Terms:
    """What the cluster has to know of a pool to plan with it."""

    name: str
    maximum: int
    price_per_hour: float = 0.0
    """Of one worker."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """The same by flavour, where there are several."""
    quantum_s: float = 0.0
    """Billed are whole steps of this length; 0: every second."""
    longest_s: float = 0.0
    """The longest that one worker may exist and cost, its start included; needed where there is a price."""
    join_within_s: float = 600.0
    """How long after its body has started a worker may take to join."""
    make_within_s: float = 0.0
    """How long its body may take to start; 0: as long as it likes, as in a queue."""
    ask_again: bool = False
    """Whether the same start may be asked for again when nobody knows whether it was accepted."""
    lifetime_s: float = 0.0
    """How long a worker works before it hands over; 0: without end."""

    @property
    def reserve(self) -> float:
        """The most that one worker can cost."""
        return self.cost(0.0, self.longest_s)

    def cost(self, asked_at: float, until: float, flavour: str = "") -> float:
        """Return what a worker that existed for this time has cost."""
        price, existed_s = self.prices.get(flavour, self.price_per_hour), max(0.0, until - asked_at)
        return cost_of(existed_s, price, self.quantum_s) if self.quantum_s else price * existed_s / HOUR_S
