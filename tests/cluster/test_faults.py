"""Random schedules of faults: the reconciler always converges, leaves nothing behind, and never exceeds the budget."""

from __future__ import annotations

import asyncio
import logging
import os
import random

import pytest

from springtide.cluster.book import Book, PoolPage
from springtide.cluster.closing import close_pools
from springtide.cluster.reconciler import Reconciler
from tests.cluster.simulated import Place, SchedulerOf, World
from tests.cluster.virtual_time import clock, run

# As many as this by default; a thousand by `make faults`.
_SCHEDULES = int(os.environ.get("SPRINGTIDE_FAULT_SCHEDULES", "100"))
_AT_ONCE = 25
_BUDGET = 1.7


@pytest.mark.parametrize("first", range(0, _SCHEDULES, _AT_ONCE))
def test_any_schedule_of_faults_ends_as_planned_within_the_budget(first: int, caplog: pytest.LogCaptureFixture) -> None:
    # A fault of ours is logged with its traceback: thousands of lines that nobody reads.
    caplog.set_level(logging.CRITICAL)
    for seed in range(first, first + _AT_ONCE):
        run(a_schedule(seed))


async def a_schedule(seed: int) -> None:
    """Change plans while everything goes wrong; then let nothing more go wrong, and see what has become of it."""
    chance = random.Random(seed)
    world = World(chance, faults=chance.choice([0.1, 0.3, 0.6]))
    queue = Place("queue", maximum=6, world=world)
    cloud = Place("cloud", maximum=4, world=world, price_per_hour=1.0)
    pools = {"queue": queue, "cloud": cloud}
    book = Book({name: PoolPage(pool.terms) for name, pool in pools.items()}, budget=_BUDGET)
    reconciler = Reconciler(book, pools, SchedulerOf(world), tell=lambda words: None, clock=clock)
    reconciler.start()
    for _ in range(chance.randint(3, 8)):
        change_plan(book, chance)
        reconciler.wake()
        for _ in range(chance.randint(1, 12)):
            await asyncio.sleep(chance.expovariate(1 / 10))
            check(book, pools, seed)
    world.faults = queue.down_until = cloud.down_until = 0.0
    await converged(book, pools, world, seed)
    await reconciler.stop()
    leaving = [slot.name for slot in book.slots.values() if slot.joined]
    await close_pools(book, pools, tell=lambda words: None, leaving=leaving, clock=clock)
    assert not queue.there | cloud.there, f"schedule {seed}: something is left"
    check(book, pools, seed)
    for life in [*queue.lives, *cloud.lives]:
        life.cancel()


def change_plan(book: Book, chance: random.Random) -> None:
    if chance.random() < 0.2 and book.slots:
        book.give_up(chance.sample(sorted(book.slots), 1))
    else:
        pool = chance.choice(["queue", "cloud"])
        book.set_target(pool, chance.randint(0, 6))


def check(book: Book, pools: dict[str, Place], seed: int) -> None:
    now = f"schedule {seed} at {clock():.0f} s"
    assert pools["cloud"].spent <= _BUDGET + 1e-9, f"{now}: the budget is exceeded"
    assert book.committed <= _BUDGET + 1e-9, f"{now}: more is promised than there is"
    assert not any(pool.twice for pool in pools.values()), f"{now}: something was submitted twice"
    for name, pool in pools.items():
        assert pool.most_at_once <= pool.maximum, f"{now}: {name} has more than its maximum"


async def converged(book: Book, pools: dict[str, Place], world: World, seed: int) -> None:
    """Return when plan, places and scheduler agree, but for what the budget does not hold."""
    for _ in range(1500):
        await asyncio.sleep(1)
        check(book, pools, seed)
        if agree(book, pools, world):
            return
    told = "\n".join(str(slot) for slot in book.slots.values())
    raise AssertionError(f"schedule {seed} does not converge: {sorted(world.workers)}\n{told}")


def agree(book: Book, pools: dict[str, Place], world: World) -> bool:
    planned = {slot.name for slot in book.slots.values() if slot.wanted and "budget" not in slot.words}
    there = set().union(*(pool.there for pool in pools.values()))
    return planned == there == world.workers == {slot.name for slot in book.slots.values() if slot.joined}
