"""Does what `repair` decides, and tells the book what came of it. Each thing runs by itself; none waits for another."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from springtide.cluster.bodies import Body, Look, Order
from springtide.cluster.book import Book
from springtide.cluster.pools.base import Pool, Started
from springtide.cluster.repair import Action, repairs
from springtide.cluster.slots import Slot, Work
from springtide.errors import SpringtideError

_log = logging.getLogger(__name__)

_TICK_S = 1.0
# Between looks at a place whose worker is lost.
_IN_A_HURRY_S = 2.0
STOP_WITHIN_S = 180.0
"""How long a start that is under way is waited for at the end: longer than every queue and cloud takes to fail."""
_WORK = {"retire": Work.RETIRING, "end": Work.ENDING}


class SchedulerView(Protocol):
    """What the reconciler asks of the scheduler. Implemented by `springtide.cluster.scheduler_view`."""

    def joined(self) -> Collection[str]:
        """Return the names of the workers it has."""

    async def tight(self, slots: Sequence[Slot]) -> Collection[str]:
        """Return the names of those whose time is too short for the tasks that wait."""

    async def retire(self, name: str) -> bool:
        """Let a worker finish what it does, move its results, and close it; return whether that was possible."""


@dataclass
class Reconciler:
    """Keeps plan, queue, cloud and scheduler in agreement.

    Parameters
    ----------
    tell : callable
        Called with what happened, in words, for whoever looks at the cluster.
    changed : callable
        Called when something may have changed.
    """

    book: Book
    pools: Mapping[str, Pool]
    view: SchedulerView
    tell: Callable[[str], None]
    changed: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.time
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _hurry: dict[str, asyncio.Event] = field(default_factory=dict)
    _loops: list[asyncio.Task[None]] = field(default_factory=list)
    _works: set[asyncio.Task[None]] = field(default_factory=set)
    _told: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Begin. Called in the cluster's event loop."""
        self._hurry = {name: asyncio.Event() for name in self.pools}
        self._loops = [asyncio.create_task(self._decide(), name="deciding about workers")]
        self._loops += [
            asyncio.create_task(self._watch(pool), name=f"watching pool {name}") for name, pool in self.pools.items()
        ]

    def wake(self, *, look: bool = False) -> None:
        """Decide at once; `look`: after looking at all pools anew, as a worker was lost."""
        self._wake.set()
        if look:
            for event in self._hurry.values():
                event.set()

    async def settle(self) -> None:
        """Decide now, and return when the starts and ends that are under way have come to something."""
        self.step()
        if works := [work for work in self._works if not work.get_name().startswith("retire")]:
            await asyncio.wait(works)

    async def stop(self, within_s: float = STOP_WITHIN_S) -> None:
        """Decide nothing more; return when every start under way is known to the book. Nothing is left in doubt."""
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        for work in self._works:
            if work.get_name().startswith("retire"):
                work.cancel()
        if self._works:
            _, late = await asyncio.wait(self._works, timeout=within_s)
            for work in late:
                self.tell(f"Not waited for any longer: {work.get_name()}.")
                work.cancel()

    # --- loops ------------------------------------------------------------------------------------------------------

    async def _decide(self) -> None:
        while True:
            try:
                await self._see_scheduler()
                self.step()
            except Exception:
                # Whatever happens, the next look may be better; without this loop nothing is ever repaired.
                _log.exception("The cluster could not be reconciled; it is tried again")
            try:
                async with asyncio.timeout(_TICK_S):
                    await self._wake.wait()
            except TimeoutError:
                continue
            finally:
                self._wake.clear()

    async def _see_scheduler(self) -> None:
        tight: Collection[str] = ()
        try:
            tight = await self.view.tight([slot for slot in self.book.slots.values() if slot.joined and slot.wanted])
        except OSError as error:
            _log.debug("The scheduler was not asked for its workers' times: %s", error)
        strangers = self.book.seen_scheduler(self.view.joined(), self.clock(), tight=tight)
        for name in strangers:
            self._spawn(f"retire {name}", self.view.retire(name))

    def step(self) -> None:
        """Do what is to be done now; nothing is waited for."""
        actions = repairs(self.book, self.clock())
        for pool, names in _starts(actions, self.pools):
            for name in names:
                self.book.start_began(name, self.clock())
            self._spawn(f"start {' '.join(names)}", self._start(self.pools[pool], names))
        for action in actions:
            if action.kind != "start":
                self.book.work_began(action.name, _WORK[action.kind])
                self._spawn(f"{action.kind} {action.name}", self._DO[action.kind](self, action))
        self.changed()

    async def _watch(self, pool: Pool) -> None:
        hurry = self._hurry[pool.name]
        fresh = missing = False
        while True:
            began = self.clock()
            try:
                look = await pool.look(fresh=fresh)
            except SpringtideError as error:
                look = Look(outage=error.message)
            except Exception as error:
                _log.exception("Pool %s could not be looked at", pool.name)
                look = Look(outage=str(error) or type(error).__name__)
            self._say(pool.name, look.outage and f"{pool.name} cannot be asked: {look.outage}")
            self.book.seen_pool(pool.name, look, self.clock(), began)
            self._wake.set()
            try:
                missing = self.book.misses(pool.name)
                async with asyncio.timeout(_IN_A_HURRY_S if missing else pool.look_every_s):
                    await hurry.wait()
                fresh = True
            except TimeoutError:
                fresh = missing
            finally:
                hurry.clear()

    # --- actions ----------------------------------------------------------------------------------------------------

    def _spawn(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(self._guarded(name, work), name=name)
        self._works.add(task)
        task.add_done_callback(self._works.discard)

    async def _guarded(self, name: str, work: Awaitable[Any]) -> None:
        try:
            await work
        except Exception:
            _log.exception("%s failed", name)
        finally:
            self._wake.set()

    async def _start(self, pool: Pool, names: Sequence[str]) -> None:
        slots = (self.book.slots[name] for name in names)
        try:
            outcomes: Mapping[str, Started] = await pool.start(
                {slot.name: Order(slot.flavour, slot.lifetime_s) for slot in slots}
            )
        except SpringtideError as error:
            outcomes = dict.fromkeys(names, error)
        except Exception as error:
            _log.exception("Workers of pool %s could not be started", pool.name)
            # How far it came, nobody knows.
            outcomes = dict.fromkeys(names, SpringtideError(str(error) or repr(error), transient=True))
        for name in names:
            outcome = outcomes[name]
            if isinstance(outcome, Body):
                self.book.start_done(name, outcome, self.clock())
                self._say(pool.name, "")
            else:
                self.book.start_failed(name, outcome.message, self.clock(), in_doubt=outcome.transient)
                self._say(pool.name, f"{pool.name} could not start a worker: {outcome.message}")

    async def _retire(self, action: Action) -> None:
        moved = False
        try:
            moved = await self.view.retire(action.name)
        except OSError as error:
            _log.info("Worker %s was not retired: %s", action.name, error)
        finally:
            self.book.retire_done(action.name, self.clock(), moved=moved)

    async def _end(self, action: Action) -> None:
        words = ""
        try:
            await self.pools[action.pool].end([action.name])
        except SpringtideError as error:
            words = error.message
        finally:
            self.book.end_done(action.name, self.clock(), words=words)
            self._hurry[action.pool].set()

    _DO = {"retire": _retire, "end": _end}  # noqa: RUF012  # a table of methods, never changed

    def _say(self, subject: str, words: str) -> None:
        """Tell it once, not each time it is seen again."""
        if words and self._told.get(subject) != words:
            self.tell(words)
        self._told[subject] = words


def _starts(actions: Sequence[Action], pools: Mapping[str, Pool]) -> list[tuple[str, list[str]]]:
    """Return which starts are one call: all of a pool that takes many at once, else each by itself."""
    calls: list[tuple[str, list[str]]] = []
    for name, pool in pools.items():
        mine = [action.name for action in actions if action.kind == "start" and action.pool == name]
        if mine:
            calls += [(name, mine)] if pool.together else [(name, [one]) for one in mine]
    return calls
