"""The plan of a cluster and what is known of its workers: the memory of the reconciler. No clock, nothing asked.

Whoever learns something writes it here (`seen_…`, `…_done`, `…_failed`); `springtide.cluster.repair` reads it and
says what is to be done. A pool that cannot be asked changes nothing: what is not known is not gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from springtide.cluster.bodies import Body, BodyState, Look, Terms
from springtide.cluster.decision import Ask
from springtide.cluster.slots import Slot, Work

_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 120.0
# A worker that was retired ends by itself: only if it does not, it is ended.
_LEAVES_WITHIN_S = 5.0


@dataclass
class PoolPage:
    """What is known of a pool as a whole."""

    terms: Terms
    target: int = 0
    failures: int = 0
    """Starts in a row that came to nothing."""
    again_at: float = 0.0
    """Not before this time is a worker asked for again."""
    words: str = ""
    """Why the last start came to nothing, in the words of the queue or cloud."""
    outage: str = ""
    """Why its place cannot be asked; empty: it answers."""
    made: int = 0
    """How many names were given."""
    asked_at: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    """When workers were asked for, those that failed included."""
    took_s: deque[float] = field(default_factory=lambda: deque(maxlen=9))
    """How long the last ones took from being asked for to joining."""


@dataclass
class Book:
    """Plan and facts of one cluster.

    Parameters
    ----------
    pools : mapping
        Each pool's page, in the order in which workers are asked for; given up, they are in the opposite order.
    budget : float, optional
        The most that all workers together may cost; None: no limit.
    spent : float
        What earlier workers of this cluster have cost.
    """

    pools: dict[str, PoolPage]
    budget: float | None = None
    spent: float = 0.0
    slots: dict[str, Slot] = field(default_factory=dict)

    # --- the plan ---------------------------------------------------------------------------------------------------

    def set_target(self, pool: str, workers: int) -> None:
        """Plan that many workers in a pool: more are added, the least dear are given up."""
        page = self.pools[pool]
        page.target = max(0, min(workers, page.terms.maximum))
        wanted = self.wanted(pool)
        for _ in range(page.target - len(wanted)):
            self.add(pool)
        for slot in sorted(wanted, key=_last_and_least_dear)[: max(0, len(wanted) - page.target)]:
            slot.wanted = False

    def give_up(self, names: Collection[str]) -> None:
        """Plan without these workers: nobody takes their places."""
        for name in names:
            slot = self.slots.get(name)
            if slot is not None and slot.wanted:
                slot.wanted = False
                page = self.pools[slot.pool]
                page.target = max(0, page.target - 1)

    def replace(self, slot: Slot) -> Slot:
        """Plan another worker instead of one, under a name of its own: the old one may yet turn up."""
        slot.wanted = False
        new = self.add(slot.pool)
        new.flavour, new.lifetime_s, new.reserve = slot.flavour, slot.lifetime_s, slot.reserve
        return new

    def ask(self, ask: Ask, count: int) -> None:
        """Plan so many of the workers that the policy asks for."""
        for _ in range(count):
            slot = self.add(ask.pool)
            slot.flavour, slot.lifetime_s = ask.flavour, ask.lifetime_s or 0.0
            slot.reserve = ask.reserve if ask.flavour else None
            self.pools[ask.pool].target += 1

    def add(self, pool: str) -> Slot:
        """Plan one more worker."""
        page = self.pools[pool]
        name = f"{pool}-{page.made}"
        page.made += 1
        self.slots[name] = slot = Slot(name, pool)
        return slot

    def wanted(self, pool: str) -> list[Slot]:
        """Return the planned workers of a pool."""
        return [slot for slot in self.of(pool) if slot.wanted]

    def of(self, pool: str) -> list[Slot]:
        """Return all workers of a pool, those that are to go included."""
        return [slot for slot in self.slots.values() if slot.pool == pool]

    @property
    def committed(self) -> float:
        """What was spent, and what those that exist, or may exist, can cost at most."""
        return self.spent + sum(slot.reserved for slot in self.slots.values())

    def reserve_of(self, slot: Slot) -> float:
        """Return the most that a worker can cost."""
        return self.pools[slot.pool].terms.reserve if slot.reserve is None else slot.reserve

    # --- what happened to starts and ends ---------------------------------------------------------------------------

    def start_began(self, name: str, now: float) -> None:
        """Note that a worker is being asked for: from here on it counts against the budget."""
        slot = self.slots[name]
        slot.work, slot.asked_at = Work.STARTING, now if slot.asked_at is None else slot.asked_at
        slot.reserved = self.reserve_of(slot)
        self.pools[slot.pool].asked_at.append(now)

    def start_done(self, name: str, body: Body, now: float) -> None:
        """Note that the queue or cloud has accepted it."""
        slot = self.slots[name]
        slot.work, slot.words, slot.answered_at = Work.NOTHING, "", now
        if not slot.there or slot.in_doubt:
            slot.body = body

    def start_failed(self, name: str, words: str, now: float, *, in_doubt: bool) -> None:
        """Note that it was refused, or, in doubt, that nobody knows."""
        slot = self.slots[name]
        slot.work, slot.words, slot.answered_at = Work.NOTHING, words, now
        # That it is refused now says nothing of an earlier start of which nobody knows.
        if in_doubt or slot.there:
            slot.body = slot.body or Body(BodyState.ASKED)
        else:
            slot.body, slot.reserved, slot.asked_at = None, 0.0, None
        self.failed(slot.pool, words, now)

    def failed(self, pool: str, words: str, now: float) -> None:
        """Wait longer and longer before the next start in a pool; those of one burst count as one."""
        page = self.pools[pool]
        page.words = words
        if now >= page.again_at:
            page.failures += 1
            page.again_at = now + min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (page.failures - 1))

    def work_began(self, name: str, work: Work) -> None:
        """Note that a worker is being retired or ended."""
        self.slots[name].work = work

    def retire_done(self, name: str, now: float, *, moved: bool) -> None:
        """Note that a worker's results are elsewhere, or that they could not be moved."""
        slot = self.slots.get(name)
        if slot is not None:
            slot.work, slot.retired = Work.NOTHING, moved
            # As long as those who are to take over its results have not come, nothing was tried.
            slot.retire_failures += not moved and (self.somebody_is_here() or not self.somebody_comes())
            slot.again_at = now + (_LEAVES_WITHIN_S if moved else _FIRST_PAUSE_S)

    def end_done(self, name: str, now: float, *, words: str = "") -> None:
        """Note that a worker's body was asked to go; with words: that it could not be asked."""
        slot = self.slots.get(name)
        if slot is not None:
            slot.work, slot.words = Work.NOTHING, words or slot.words
            # Its place says when it is over; asked once more if that takes long.
            slot.again_at = now + (_FIRST_PAUSE_S if words else 5 * _FIRST_PAUSE_S)

    def misses(self, pool: str) -> bool:
        """Whether a planned worker of the pool is lost, and nobody knows yet what became of it."""
        return any(slot.lost_at is not None and slot.there for slot in self.wanted(pool))

    def somebody_is_here(self) -> bool:
        """Whether a worker has joined that stays."""
        return any(slot.wanted and slot.joined for slot in self.slots.values())

    def somebody_comes(self) -> bool:
        """Whether a worker is planned that has not joined."""
        return any(slot.wanted and not slot.joined for slot in self.slots.values())

    # --- what was seen ----------------------------------------------------------------------------------------------

    def seen_pool(self, pool: str, look: Look, now: float, began: float) -> None:
        """Take over what a pool's place says of its bodies; it was asked when `now` was `began`."""
        page = self.pools[pool]
        page.outage = look.outage
        for slot in self.of(pool):
            slot.known = not look.outage
        for name, body in look.bodies.items():
            if name in self.slots:
                if self.slots[name].answered_at < began:
                    self._take(self.slots[name], body, now)
            elif body.there:
                # Nobody plans it: what an earlier start left behind is removed like a worker that was given up.
                self.slots[name] = Slot(name, pool, wanted=False, body=body, asked_at=now, reserved=page.terms.reserve)

    def _take(self, slot: Slot, body: Body, now: float) -> None:
        if slot.work is Work.STARTING:
            return
        was_there = slot.there
        if body.state is BodyState.WAITING and slot.joined_at is not None and not slot.joined:
            # Put back into the queue: the same worker comes again, under the same name.
            slot.joined_at = slot.lost_at = None
        slot.body = body
        if body.there and not slot.reserved:
            slot.reserved = self.reserve_of(slot)
        if was_there and not body.there:
            if slot.asked_at is not None:
                cost = self.pools[slot.pool].terms.cost(slot.asked_at, now, slot.flavour)
                self.spent += min(cost, slot.reserved) if slot.reserved else 0.0
            slot.reserved = 0.0
            if slot.joined_at is None and slot.wanted:
                self.failed(slot.pool, body.reason or "It ended before it joined.", now)

    def seen_scheduler(self, joined: Iterable[str], now: float, *, tight: Collection[str] = ()) -> list[str]:
        """Take over which workers the scheduler has; return those of our pools that nobody plans."""
        names = set(joined)
        for slot in self.slots.values():
            self._take_joined(slot, slot.name in names, now)
            slot.tight = slot.name in tight
        return sorted(name for name in names - set(self.slots) if name.rpartition("-")[0] in self.pools)

    def _take_joined(self, slot: Slot, joined: bool, now: float) -> None:
        if joined:
            slot.lost_at = None
            if slot.joined_at is None:
                slot.joined_at = now
                page = self.pools[slot.pool]
                page.failures, page.again_at, page.words = 0, 0.0, ""
                if slot.asked_at is not None:
                    page.took_s.append(now - slot.asked_at)
        elif slot.joined:
            slot.lost_at = now
        slot.joined = joined

    def forget_those_over(self) -> None:
        """Forget workers that nobody wants and of which nothing is left."""
        self.slots = {name: slot for name, slot in self.slots.items() if slot.wanted or not slot.over}

    def count(self) -> Mapping[str, tuple[int, int, int]]:
        """Return for each pool how many workers are planned, exist or may exist, and have joined."""
        slots = self.slots.values()
        return {
            pool: (
                sum(slot.wanted for slot in slots if slot.pool == pool),
                sum(slot.there for slot in slots if slot.pool == pool),
                sum(slot.joined for slot in slots if slot.pool == pool),
            )
            for pool in self.pools
        }

    def cost(self, now: float) -> float:
        """Return what has been spent until now by those that are gone and those that are there."""
        there = (slot for slot in self.slots.values() if slot.reserved and slot.asked_at is not None)
        return self.spent + sum(
            self.pools[slot.pool].terms.cost(slot.asked_at or now, now, slot.flavour) for slot in there
        )

    def with_terms(self, terms: Terms) -> None:
        """Take over what has become known of a pool, such as its price."""
        self.pools[terms.name].terms = replace(terms)


def _last_and_least_dear(slot: Slot) -> tuple[int, int]:
    return slot.dearness, -int(slot.name.rpartition("-")[2])
