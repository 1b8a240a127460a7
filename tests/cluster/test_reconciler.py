"""How the reconciler begins and ends; what it repairs is in `test_faults`."""

from __future__ import annotations

import asyncio
import random

import pytest

from springtide.cluster.book import Book, PoolPage
from springtide.cluster.reconciler import Reconciler
from tests.cluster.simulated import Place, SchedulerOf, World
from tests.cluster.virtual_time import clock, run


@pytest.mark.parametrize("turns", range(6))
def test_it_stops_even_while_it_is_being_woken(turns: int) -> None:
    # Python 3.11's wait_for forgets a cancellation that comes in the same moment as what it waits for.
    async def woken_and_stopped() -> None:
        world = World(random.Random(0))
        pool = Place("queue", maximum=1, world=world)
        book = Book({"queue": PoolPage(pool.terms)})
        reconciler = Reconciler(book, {"queue": pool}, SchedulerOf(world), tell=lambda words: None, clock=clock)
        reconciler.start()
        await asyncio.sleep(2.3)
        reconciler.wake(look=True)
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await reconciler.stop()

    run(woken_and_stopped())
