"""Machines: asked for only where the queue is slower than their boot, and where the money is there until they end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from springtide.cluster.decision import Act, Ask, Note, PolicySettings
from springtide.cluster.money import HOUR_S, cost_of, quanta
from springtide.cluster.need import Need, enough, wait_of
from springtide.cluster.observation import CloudFlavour, Observation, Pool, PoolKind, Wait, WorkerState

_MINUTE_S = 60.0
# Bounded slowdown counts no run as shorter than this (Feitelson, Rudolph, Schwiegelshohn, Sevcik, Wong: "Theory and
# Practice in Parallel Job Scheduling", JSSPP 1997).
SHORTEST_RUN_S = 10.0


@dataclass(frozen=True, slots=True)
class Late:
    """The cores that are wanted and do not come in time, and how slow the queue is for them."""

    cores: int
    wait_s: float
    """Infinite where no queue takes them."""
    predicted: bool
    look_again_s: float | None


@dataclass(frozen=True, slots=True)
class Offer:
    """Machines of one flavour of one pool that would do the late work."""

    pool: Pool
    flavour: CloudFlavour
    count: int
    ready_s: float
    """From asking until they can begin: boot and transfer."""
    run_s: float
    """How long they would then work."""

    @property
    def cost(self) -> float:
        """What they would cost together."""
        seconds = self.ready_s + self.run_s
        return self.count * cost_of(seconds, self.flavour.price_per_hour, self.pool.quantum_s)


def ask_clouds(
    observation: Observation, settings: PolicySettings, need: Need, free: Sequence[Ask]
) -> tuple[list[Ask], list[Note], list[float]]:
    """Return the machines to ask for, why or why not, and after how many seconds the answer may change by itself."""
    asks: list[Ask] = []
    notes: list[Note] = []
    later: list[float] = []
    covered = 0
    money_left = observation.money.left
    rate_left = settings.creations_per_minute - _created_lately(observation)
    for pool in observation.pools:
        if pool.kind is not PoolKind.CLOUD:
            continue
        ready_s = pool.boot_s + transfer_s(observation, pool, settings)
        late = _late(observation, settings, need, free, ready_s + settings.margin_s, covered)
        if late.look_again_s is not None:
            later.append(late.look_again_s)
        ask, note = _ask_one(observation, settings, need, pool, late, ready_s, money_left, rate_left)
        if note is not None:
            notes.append(note)
            if note.key == "too_fast":
                later.append(_MINUTE_S)
        if ask is not None:
            asks.append(ask)
            covered += ask.count * ask.cores
            money_left -= ask.count * ask.reserve
            rate_left -= ask.count
            if rate_left <= 0:
                later.append(_MINUTE_S)
    return asks, notes, later


def transfer_s(observation: Observation, pool: Pool, settings: PolicySettings) -> float:
    """Return how long the work's data take to `pool`."""
    bandwidth = pool.bandwidth_bytes_per_s or settings.bandwidth_bytes_per_s
    return observation.work.bytes_to_move / bandwidth


def _created_lately(observation: Observation) -> int:
    since = observation.now - _MINUTE_S
    clouds = (pool for pool in observation.pools if pool.kind is PoolKind.CLOUD)
    return sum(at > since for pool in clouds for at in pool.asked_at)


def _late(
    observation: Observation, settings: PolicySettings, need: Need, free: Sequence[Ask], limit_s: float, covered: int
) -> Late:
    """Return what does not come within `limit_s`; `covered` cores are asked of other clouds already."""
    on_time = need.running + need.coming + covered
    slow_cores, slow_s, slow_predicted = 0, 0.0, False
    look_again: float | None = None
    for pool in observation.pools:
        if pool.kind is PoolKind.CLOUD:
            continue
        for cores, wait_s, predicted, again_s in _queued(observation, pool, free, limit_s):
            if wait_s > limit_s:
                slow_cores += cores
                if wait_s > slow_s:
                    slow_s, slow_predicted = wait_s, predicted
            else:
                on_time += cores
                if again_s is not None:
                    look_again = again_s if look_again is None else min(look_again, again_s)
    if enough(on_time, need.cores, observation.work, settings):
        return Late(0, 0.0, True, look_again)
    nowhere = need.cores - on_time - slow_cores
    if nowhere > 0 and not enough(on_time + slow_cores, need.cores, observation.work, settings):
        return Late(need.cores - on_time, math.inf, False, look_again)
    return Late(need.cores - on_time, slow_s, slow_predicted, look_again)


def _queued(
    observation: Observation, pool: Pool, free: Sequence[Ask], limit_s: float
) -> list[tuple[int, float, bool, float | None]]:
    """Return cores, wait, whether it is predicted, and when to look again, of all that waits in `pool`."""
    now = observation.now
    found: list[tuple[int, float, bool, float | None]] = []
    for worker in pool.workers:
        if worker.state is WorkerState.QUEUED:
            wait_s, predicted = wait_of(worker, pool, now)
            found.append((worker.cores, wait_s, predicted, _again_s(pool, worker.asked, worker.wait, now, limit_s)))
    for ask in free:
        if ask.pool == pool.name:
            wait_s = pool.wait.median_s if pool.wait is not None and pool.kind is PoolKind.BATCH else 0.0
            found.append(
                (ask.count * ask.cores, wait_s, pool.wait is not None, _again_s(pool, now, None, now, limit_s))
            )
    return found


def _again_s(pool: Pool, asked: float, own: Wait | None, now: float, limit_s: float) -> float | None:
    """Return when a worker that still waits tells something new: its prediction was wrong, or it has waited too long.

    A second later than that, as the limits are to be exceeded.
    """
    if pool.kind is PoolKind.LOCAL:
        return None
    if own is not None:
        return max(_MINUTE_S, own.high_s + 1.0)
    wrong_after_s = max(limit_s, pool.wait.high_s) if pool.wait is not None else limit_s
    return max(1.0, asked + wrong_after_s + 1.0 - now)


def _ask_one(
    observation: Observation,
    settings: PolicySettings,
    need: Need,
    pool: Pool,
    late: Late,
    ready_s: float,
    money_left: float,
    rate_left: int,
) -> tuple[Ask | None, Note | None]:
    """Return what to ask of one cloud, or why nothing; neither where nothing waits."""
    missing = pool.minimum - sum(worker.state is not WorkerState.LEAVING for worker in pool.workers)
    if late.cores <= 0 and missing <= 0:
        return None, _soon_enough(need, pool, ready_s + settings.margin_s)
    offer = _offer(observation, need, pool, late, ready_s, missing)
    if pool.refused:
        return None, Note(Act.REFUSE, "pool_refuses", pool.name, values={"words": pool.refused})
    if offer is None:
        return None, Note(Act.REFUSE, "no_flavour", pool.name, values={"cores": observation.work.cores_per_task})
    if missing <= 0:
        offer, note = _worth_it(observation, settings, need, offer, late)
        if note is not None:
            return None, note
    return _guarded(observation, settings, need, offer, late, money_left, rate_left, missing)


def _soon_enough(need: Need, pool: Pool, limit_s: float) -> Note | None:
    if need.cores > need.running + need.coming:
        return Note(Act.REFUSE, "queue_soon", pool.name, values={"limit_s": limit_s})
    return None


def _offer(observation: Observation, need: Need, pool: Pool, late: Late, ready_s: float, missing: int) -> Offer | None:
    """Return the cheapest machines of `pool` that hold the late cores, or hold most of them; at least `missing`."""
    work = observation.work
    room = pool.maximum - len(pool.workers)
    least_cores = 1 if work.together else work.cores_per_task
    best: tuple[int, float, int, CloudFlavour] | None = None
    for flavour in pool.flavours:
        if flavour.cores < least_cores:
            continue
        count = max(missing, math.ceil(late.cores / flavour.cores), 1)
        key = (max(0, late.cores - room * flavour.cores), count * flavour.price_per_hour, count, flavour)
        if best is None or key[:3] < best[:3]:
            best = key
    if best is None:
        return None
    *_, count, flavour = best
    return Offer(pool, flavour, count, ready_s, _run_s(observation, need, count * flavour.cores, ready_s))


def _left(need: Need, ready_s: float) -> float:
    """Return the core-seconds left when the machines are ready, of what runs now and goes on meanwhile."""
    return max(0.0, need.core_seconds - need.running * ready_s)


def _run_s(observation: Observation, need: Need, cores: int, ready_s: float) -> float:
    if observation.work.together:
        return need.task_s
    return max(need.task_s, _left(need, ready_s) / (need.running + need.coming + cores))


def _worth_it(
    observation: Observation, settings: PolicySettings, need: Need, offer: Offer, late: Late
) -> tuple[Offer, Note | None]:
    """Return the offer cut to what the work left fills, and why none of it is worth its price, if so."""
    pool, least_s = offer.pool, settings.least_quanta * offer.pool.quantum_s
    if least_s > 0:
        if observation.work.together:
            filled = offer.count if need.task_s > least_s else 0
        else:
            useful = min(offer.flavour.cores, late.cores)
            filled = min(offer.count, int(_left(need, offer.ready_s) / (least_s * useful)))
        if filled <= 0:
            values = {"work_s": need.core_seconds, "ready_s": offer.ready_s, "least_s": least_s}
            return offer, Note(Act.REFUSE, "too_little_work", pool.name, values=values)
        offer = replace(offer, count=filled)
    if settings.slowdown_worth is not None and late.wait_s < math.inf:
        spared = (late.wait_s - offer.ready_s) / max(offer.run_s, SHORTEST_RUN_S)
        worth = settings.slowdown_worth * spared
        if offer.cost > worth:
            values = {"cost": offer.cost, "wait_s": late.wait_s, "worth": worth}
            return offer, Note(Act.REFUSE, "too_dear", pool.name, values=values)
    return offer, None


def _guarded(
    observation: Observation,
    settings: PolicySettings,
    need: Need,
    offer: Offer,
    late: Late,
    money_left: float,
    rate_left: int,
    missing: int,
) -> tuple[Ask | None, Note]:
    """Return as many of the offered machines as all guards let pass, and why."""
    pool, flavour, count = offer.pool, offer.flavour, offer.count
    whole = observation.work.together and missing <= 0
    room = pool.maximum - len(pool.workers)
    if room <= 0 or (whole and room < count):
        return None, Note(Act.REFUSE, "pool_full", pool.name, values={"maximum": pool.maximum})
    least_s = offer.ready_s + max(need.longest_s, pool.quantum_s if not whole else 0.0)
    longest_s = least_s if whole else settings.lifetime_s
    if settings.lifetime_s < least_s:
        times = {"lifetime_s": settings.lifetime_s, "task_s": need.longest_s}
        return None, Note(Act.REFUSE, "lifetime_too_short", pool.name, values=times)
    least = cost_of(least_s, flavour.price_per_hour, pool.quantum_s)
    payable = min(count, int(money_left / least)) if least > 0 and money_left < math.inf else count
    if payable <= 0 or (whole and payable < count):
        values = {"cost": least * (count if whole else 1), "left": max(0.0, money_left)}
        return None, Note(Act.REFUSE, "over_budget", pool.name, values=values)
    count = min(count, room, payable)
    if rate_left <= 0:
        return None, Note(Act.REFUSE, "too_fast", pool.name, values={"rate": settings.creations_per_minute})
    count = min(count, rate_left)
    lifetime_s = _lifetime_s(longest_s, least_s, money_left / count, flavour.price_per_hour, pool.quantum_s)
    reserve = cost_of(lifetime_s, flavour.price_per_hour, pool.quantum_s)
    ask = Ask(pool.name, count, flavour.cores, flavour.name, lifetime_s, reserve)
    return ask, _why(offer, late, ask, missing)


def _lifetime_s(longest_s: float, least_s: float, money: float, price_per_hour: float, quantum_s: float) -> float:
    """Return the longest life, in whole quanta, that `money` pays; `least_s` is known to be paid."""
    steps = quanta(longest_s, quantum_s)
    if price_per_hour > 0 and money < math.inf:
        steps = min(steps, int(money / (price_per_hour * quantum_s / HOUR_S)))
    return max(steps, quanta(least_s, quantum_s)) * quantum_s


def _why(offer: Offer, late: Late, ask: Ask, missing: int) -> Note:
    values: dict[str, object] = {"count": ask.count, "flavour": ask.flavour, "cost": ask.count * ask.reserve}
    if missing > 0:
        return Note(Act.ASK, "minimum_cloud", ask.pool, values={**values, "minimum": offer.pool.minimum})
    if late.wait_s == math.inf:
        return Note(Act.ASK, "no_room", ask.pool, values={**values, "cores": late.cores})
    key = "predicted_too_long" if late.predicted else "waited_too_long"
    return Note(Act.ASK, key, ask.pool, values={**values, "wait_s": late.wait_s, "ready_s": offer.ready_s})
