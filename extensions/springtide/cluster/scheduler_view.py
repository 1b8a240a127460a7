"""What the reconciler asks of the scheduler, through its RPC: it may live in another process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distributed.protocol.pickle import dumps

from springtide.cluster.bodies import Terms
from springtide.cluster.scheduler_side import NAME, SchedulerSide
from springtide.cluster.slots import Slot

_POLL_S = 0.1
# Durations are means: a task may take longer than the last ones did.
_LONGER_BY = 1.25
_MARGIN_S = 5.0


@dataclass
class RemoteScheduler:
    """The scheduler of a cluster.

    Parameters
    ----------
    comm : object
        Dask's RPC to the scheduler.
    workers : callable
        Returns the workers it has, by address, as it tells them by itself.
    terms : mapping
        Of each pool.
    finish_within_s : float
        How long a worker that goes may take to finish the tasks it executes.
    """

    comm: Any
    workers: Callable[[], Mapping[str, Mapping[str, Any]]]
    terms: Mapping[str, Terms]
    finish_within_s: float = 600.0
    move_within_s: float = 120.0

    async def register(self) -> None:
        """Place our part in the scheduler. Called once."""
        await self.comm.register_scheduler_plugin(plugin=dumps(SchedulerSide()), name=NAME, idempotent=True)

    def joined(self) -> Collection[str]:
        """Return the names of the workers it has."""
        return {str(worker["name"]) for worker in self.workers().values()}

    async def look(self) -> Mapping[str, Any]:
        """Return what each worker does and what waits, as `SchedulerSide.look` tells it."""
        return dict(await self.comm.springtide_look())

    async def load(self) -> Mapping[str, Any]:
        """Return what there is to do, as `SchedulerSide.load` tells it."""
        return dict(await self.comm.springtide_load())

    async def tight(self, slots: Sequence[Slot]) -> Collection[str]:
        """Return the workers whose time left is too short for the longest kind of task that waits.

        Only what was measured counts, and only if a fresh worker of the pool could hold it at all.
        """
        now = time.time()
        left_s = {slot.name: min(slot.ends(self.terms[slot.pool])) - now for slot in slots if self._is_limited(slot)}
        if not left_s:
            return ()
        seen = await self.look()
        longest_s = seen["longest_s"] * _LONGER_BY
        tight = set()
        for slot in (slot for slot in slots if slot.name in left_s):
            needed_s = seen["workers"].get(slot.name, {}).get("expected_s", 0.0) + longest_s + _MARGIN_S
            held = needed_s < self.terms[slot.pool].lifetime_s
            if seen["unfinished"] and longest_s > 0 and held and left_s[slot.name] < needed_s:
                tight.add(slot.name)
        return tight

    def _is_limited(self, slot: Slot) -> bool:
        terms = self.terms[slot.pool]
        return bool(terms.lifetime_s) and any(True for _ in slot.ends(terms))

    async def retire(self, name: str) -> bool:
        """Let a worker finish what it executes, move its results, and close it; return whether that was possible."""
        await self.comm.springtide_drain(names=[name])
        await self._finished(name)
        moving = asyncio.ensure_future(self.comm.retire_workers(names=[name], close_workers=True, remove=True))
        try:
            async with asyncio.timeout(self.move_within_s):
                await asyncio.shield(moving)
        except TimeoutError:
            moving.cancel()
            return False
        return name not in (await self.look())["workers"]

    async def _finished(self, name: str) -> None:
        began = time.monotonic()
        while time.monotonic() - began < self.finish_within_s:
            worker = (await self.look())["workers"].get(name)
            if worker is None or worker["drained"]:
                return
            if not worker["processing"] and not worker["executing"]:
                return
            await asyncio.sleep(_POLL_S)
