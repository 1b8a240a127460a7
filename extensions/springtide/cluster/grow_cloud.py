"""Machines: asked for only where the queue is slower than their boot, and where the money is there until they end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from springtide.clouds.money import HOUR_S, cost_of, quanta
from springtide.cluster.decision import Act, Ask, Note, PolicySettings
from springtide.cluster.late import Late, late_cores
from springtide.cluster.need import Need, reckoned
from springtide.cluster.observation import CloudFlavour, Observation, Pool, PoolKind, WorkerState

_MINUTE_S = 60.0
# Bounded slowdown counts no run as shorter than this (Feitelson, Rudolph, Schwiegelshohn, Sevcik, Wong: "Theory and
# Practice in Parallel Job Scheduling", JSSPP 1997).
SHORTEST_RUN_S = 10.0


@dataclass(slots=True)
class CloudAsks:
    """What is asked of clouds in one decision, and what is left for the next of them."""

    money_left: float
    rate_left: int
    asks: list[Ask] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    later: list[float] = field(default_factory=list)
    """After how many seconds the answer may change by itself."""

    @property
    def cores(self) -> int:
        """Asked for until now."""
        return sum(ask.count * ask.cores for ask in self.asks)

    def add(self, ask: Ask, note: Note) -> None:
        """Take `ask` into the decision."""
        self.asks.append(ask)
        self.notes.append(note)
        self.money_left -= ask.count * ask.reserve
        self.rate_left -= ask.count
        if self.rate_left <= 0:
            self.later.append(_MINUTE_S)


@dataclass(frozen=True, slots=True)
class _Offer:
    """Machines of one flavour of one pool that would do the late work."""

    pool: Pool
    flavour: CloudFlavour
    count: int
    ready_s: float
    """From asking until they can begin: boot and transfer."""
    run_s: float
    """How long they would then work."""
    whole: bool
    """Whether they are of use only all together."""
    missing: int
    """Of the pool's minimum."""

    @property
    def cost(self) -> float:
        """What they would cost together."""
        seconds = self.ready_s + self.run_s
        return self.count * cost_of(seconds, self.flavour.price_per_hour, self.pool.quantum_s)


def ask_clouds(observation: Observation, settings: PolicySettings, need: Need, free: Sequence[Ask]) -> CloudAsks:
    """Return the machines to ask for, and why or why not; `free` is what is asked of queues in the same decision."""
    rate_left = settings.creations_per_minute - _created_lately(observation)
    found = CloudAsks(observation.money.left, rate_left)
    for pool in observation.pools:
        if pool.kind is PoolKind.CLOUD:
            ready_s = pool.boot_s + transfer_s(observation, pool, settings)
            late = late_cores(observation, settings, need, free, ready_s + settings.margin_s, found.cores)
            if late.look_again_s is not None:
                found.later.append(late.look_again_s)
            _ask_one(observation, settings, need, pool, late, found)
    return found


def transfer_s(observation: Observation, pool: Pool, settings: PolicySettings) -> float:
    """Return how long the work's data take to `pool`."""
    bandwidth = pool.bandwidth_bytes_per_s or settings.bandwidth_bytes_per_s
    return observation.work.bytes_to_move / bandwidth


def _created_lately(observation: Observation) -> int:
    since = observation.now - _MINUTE_S
    clouds = (pool for pool in observation.pools if pool.kind is PoolKind.CLOUD)
    return sum(at > since for pool in clouds for at in pool.asked_at)


def _ask_one(
    observation: Observation, settings: PolicySettings, need: Need, pool: Pool, late: Late, found: CloudAsks
) -> None:
    """Add what to ask of one cloud, or why nothing."""
    missing = max(0, pool.minimum - sum(worker.state is not WorkerState.LEAVING for worker in pool.workers))
    if not late.cores and not missing:
        if need.cores > need.running + need.coming + found.cores:
            limit_s = pool.boot_s + transfer_s(observation, pool, settings) + settings.margin_s
            found.notes.append(Note(Act.REFUSE, "queue_soon", pool.name, values={"limit_s": limit_s}))
        return
    if pool.refused:
        found.notes.append(Note(Act.REFUSE, "pool_refuses", pool.name, values={"words": pool.refused}))
        return
    offer = _offer(observation, settings, need, pool, late, missing)
    if offer is None:
        values = {"cores": observation.work.cores_per_task}
        found.notes.append(Note(Act.REFUSE, "no_flavour", pool.name, values=values))
        return
    if not missing:
        offer = _filled(offer, settings, need, late)
    hindrance = _not_worth_it(offer, settings, need, late) or _hindrance(offer, settings, need, found)
    if hindrance is not None:
        found.notes.append(hindrance)
        if hindrance.key == "too_fast":
            found.later.append(_MINUTE_S)
        return
    ask = _ask(offer, settings, need, found)
    found.add(ask, _why(offer, settings, late, ask))


# --- what would do the work -----------------------------------------------------------------------------------------


def _offer(
    observation: Observation, settings: PolicySettings, need: Need, pool: Pool, late: Late, missing: int
) -> _Offer | None:
    """Return the cheapest machines of `pool` that hold the late cores, or hold most of them; at least `missing`."""
    together = observation.work.together
    least_cores = 1 if together else observation.work.cores_per_task
    room = max(0, pool.maximum - len(pool.workers))
    best: tuple[int, float, int, CloudFlavour] | None = None
    for flavour in pool.flavours:
        if flavour.cores < least_cores:
            continue
        count = max(missing, math.ceil(late.cores / flavour.cores))
        key = (max(0, late.cores - room * flavour.cores), count * flavour.price_per_hour, count, flavour)
        if best is None or key[:3] < best[:3]:
            best = key
    if best is None:
        return None
    *_, count, flavour = best
    ready_s = pool.boot_s + transfer_s(observation, pool, settings)
    run_s = need.task_s
    if not together:
        run_s = max(run_s, _left(need, ready_s) / (need.running + need.coming + count * flavour.cores))
    return _Offer(pool, flavour, count, ready_s, run_s, together and not missing, missing)


def _left(need: Need, ready_s: float) -> float:
    """Return the core-seconds left when the machines are ready: what runs now goes on meanwhile."""
    return max(0.0, need.core_seconds - need.running * ready_s)


def _filled(offer: _Offer, settings: PolicySettings, need: Need, late: Late) -> _Offer:
    """Return the offer cut to the machines that the work left fills for the billing steps it has to."""
    least_s = settings.least_quanta * offer.pool.quantum_s
    if least_s <= 0:
        return offer
    if offer.whole:
        return offer if need.task_s > least_s else replace(offer, count=0)
    useful = min(offer.flavour.cores, late.cores)
    return replace(offer, count=min(offer.count, int(_left(need, offer.ready_s) / (least_s * useful))))


# --- whether it may be asked for ------------------------------------------------------------------------------------


def _not_worth_it(offer: _Offer, settings: PolicySettings, need: Need, late: Late) -> Note | None:
    """Return why the machines are not worth their price; None where they are, or have to be there."""
    if offer.missing:
        return None
    if not offer.count:
        least_s = settings.least_quanta * offer.pool.quantum_s
        values = {"work_s": need.core_seconds, "ready_s": offer.ready_s, "least_s": least_s}
        return Note(Act.REFUSE, "too_little_work", offer.pool.name, values=values)
    if settings.slowdown_worth is None or late.nowhere:
        return None
    worth = settings.slowdown_worth * late.spared_s(offer.ready_s) / max(offer.run_s, SHORTEST_RUN_S)
    if offer.cost <= worth:
        return None
    values = {"cost": offer.cost, "wait_s": reckoned(late.wait, settings), "worth": worth}
    return Note(Act.REFUSE, "too_dear", offer.pool.name, values=values)


def _hindrance(offer: _Offer, settings: PolicySettings, need: Need, found: CloudAsks) -> Note | None:
    """Return which guard keeps all of the machines from being asked for; None where some may be."""
    pool, least_s = offer.pool, _least_s(offer, need)
    room = pool.maximum - len(pool.workers)
    if room <= 0 or (offer.whole and room < offer.count):
        return Note(Act.REFUSE, "pool_full", pool.name, values={"maximum": pool.maximum})
    if settings.lifetime_s < least_s:
        times = {"lifetime_s": settings.lifetime_s, "task_s": need.longest_s}
        return Note(Act.REFUSE, "lifetime_too_short", pool.name, values=times)
    if _payable(offer, need, found) < (offer.count if offer.whole else 1):
        cost = cost_of(least_s, offer.flavour.price_per_hour, pool.quantum_s) * (offer.count if offer.whole else 1)
        values = {"cost": cost, "left": max(0.0, found.money_left)}
        return Note(Act.REFUSE, "over_budget", pool.name, values=values)
    if found.rate_left <= 0:
        return Note(Act.REFUSE, "too_fast", pool.name, values={"rate": settings.creations_per_minute})
    return None


def _least_s(offer: _Offer, need: Need) -> float:
    """Return the shortest life that is of use: the boot, the transfer and one task."""
    return offer.ready_s + max(need.longest_s, 0.0 if offer.whole else offer.pool.quantum_s)


def _payable(offer: _Offer, need: Need, found: CloudAsks) -> int:
    """Return how many of the machines the money left holds for their shortest life."""
    least = cost_of(_least_s(offer, need), offer.flavour.price_per_hour, offer.pool.quantum_s)
    if least <= 0 or found.money_left == math.inf:
        return offer.count
    return min(offer.count, int(found.money_left / least))


def _ask(offer: _Offer, settings: PolicySettings, need: Need, found: CloudAsks) -> Ask:
    """Return as many of the machines as all guards let pass."""
    pool, flavour = offer.pool, offer.flavour
    room = pool.maximum - len(pool.workers)
    count = min(offer.count, room, _payable(offer, need, found), found.rate_left)
    least_s = _least_s(offer, need)
    steps = quanta(least_s, pool.quantum_s)
    step_price = flavour.price_per_hour * pool.quantum_s / HOUR_S
    if not offer.whole:
        wished = quanta(settings.lifetime_s, pool.quantum_s)
        paid = int(found.money_left / count / step_price) if step_price and found.money_left < math.inf else wished
        steps = max(steps, min(wished, paid))
    lifetime_s = steps * pool.quantum_s
    reserve = cost_of(lifetime_s, flavour.price_per_hour, pool.quantum_s)
    return Ask(pool.name, count, flavour.cores, flavour.name, lifetime_s, reserve)


def _why(offer: _Offer, settings: PolicySettings, late: Late, ask: Ask) -> Note:
    values: dict[str, object] = {"count": ask.count, "flavour": ask.flavour, "cost": ask.count * ask.reserve}
    if offer.missing:
        return Note(Act.ASK, "minimum_cloud", ask.pool, values={**values, "minimum": offer.pool.minimum})
    if late.nowhere:
        return Note(Act.ASK, "no_room", ask.pool, values={**values, "cores": late.cores})
    key = "predicted_too_long" if late.predicted else "waited_too_long"
    wait_s = reckoned(late.wait, settings)
    return Note(Act.ASK, key, ask.pool, values={**values, "wait_s": wait_s, "ready_s": offer.ready_s})
