"""The end of a cluster: every process, job and machine goes, and it always comes to an end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

from springtide.cluster.bodies import Look
from springtide.cluster.book import Book
from springtide.cluster.pools.base import Pool
from springtide.errors import SpringtideError

WITHIN_S = 60.0
"""How long a place that does not answer is asked again. What is left is written in the ledger as to be ended."""
LEAVES_WITHIN_S = 3.0
"""How long a worker whose scheduler has gone may take to end by itself: PBS takes much longer over a deleted job."""
_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0


async def close_pools(
    book: Book,
    pools: Mapping[str, Pool],
    tell: Callable[[str], None],
    *,
    leaving: Collection[str] = (),
    within_s: float = WITHIN_S,
    clock: Callable[[], float] = time.time,
) -> None:
    """End all that is there, all pools at once; return when it is gone, or after a while say what may be left.

    Parameters
    ----------
    leaving : collection of str
        Workers that should end by themselves, and are given the time for it.
    """
    await asyncio.gather(*(_close(book, pool, tell, set(leaving), within_s, clock) for pool in pools.values()))


async def _close(
    book: Book, pool: Pool, tell: Callable[[str], None], leaving: set[str], within_s: float, clock: Callable[[], float]
) -> None:
    began = clock()
    give_up_at = began + within_s
    pause_s, words = _PAUSE_S, ""
    asked: set[str] = set()
    while left := {slot.name for slot in book.of(pool.name) if slot.there}:
        looked_at = clock()
        try:
            spared = leaving if clock() - began < LEAVES_WITHIN_S else set()
            if ending := left - asked - spared:
                await pool.end(ending)
                asked |= ending
            look = await pool.look(fresh=True)
            words = look.outage
        except SpringtideError as error:
            look, words = Look(outage=error.message), error.message
        except Exception as error:
            # Whatever it is, the other pools and the caller must not hang on it.
            look, words = Look(outage=repr(error)), repr(error)
        book.seen_pool(pool.name, look, clock(), looked_at)
        if clock() > give_up_at:
            tell(f"{pool.name}: {', '.join(sorted(left))} may still be there{f': {words}' if words else ''}.")
            break
        if any(slot.there for slot in book.of(pool.name)):
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * (2 if words else 1.3), _LONGEST_PAUSE_S)
    try:
        await pool.close()
    except Exception as error:
        tell(f"{pool.name} could not be closed: {error}")
