"""A queue, a cloud and a scheduler that exist only here, and whatever can go wrong with them."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from springtide.cluster.bodies import Body, BodyState, Look, Terms
from springtide.cluster.observation import PoolKind
from springtide.cluster.pools.base import Contact, Pool, Started
from springtide.cluster.slots import Slot
from springtide.errors import CloudRefused, CloudUnreachable, QueueUnreachable, SpringtideError
from tests.cluster.virtual_time import clock

_BOOT_S = (2.0, 30.0)


@dataclass
class World:
    """What really is, whatever anybody knows of it."""

    chance: random.Random
    faults: float = 0.0
    """How likely each thing is to go wrong."""
    workers: set[str] = field(default_factory=set)
    """Those the scheduler has."""

    def wrong(self, share: float = 1.0) -> bool:
        return self.chance.random() < self.faults * share

    async def slow(self) -> None:
        await asyncio.sleep(self.chance.uniform(0, 60 if self.wrong() else 0.5))


@dataclass
class Place(Pool):
    """A queue or a cloud: the same, but for their words, their prices, and whether a start may be asked for again."""

    world: World = field(default_factory=lambda: World(random.Random(0)))
    price_per_hour: float = 0.0
    look_every_s = 5.0
    real: dict[str, Body] = field(default_factory=dict)
    """The bodies that exist or existed."""
    doubtful: dict[str, float] = field(default_factory=dict)
    """Starts of which this side does not know whether they were accepted, and when they are settled."""
    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    down_until: float = 0.0
    twice: bool = False
    """Whether a job was submitted that exists."""
    most_at_once: int = 0
    lives: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def kind(self) -> PoolKind:  # type: ignore[override]
        return PoolKind.CLOUD if self.price_per_hour else PoolKind.BATCH

    @property
    def terms(self) -> Terms:
        cloud = bool(self.price_per_hour)
        return Terms(
            self.name,
            self.maximum,
            price_per_hour=self.price_per_hour,
            longest_s=1800.0 if cloud else 0.0,
            join_within_s=120.0,
            make_within_s=300.0 if cloud else 0.0,
            ask_again=cloud,
        )

    @property
    def together(self) -> bool:  # type: ignore[override]
        return not self.price_per_hour

    async def open(self, contact: Contact) -> None:
        return

    # --- what this side asks ----------------------------------------------------------------------------------------

    async def start(self, names: Collection[str]) -> Mapping[str, Started]:
        started: dict[str, Started] = {}
        for name in names:
            if self.world.wrong(0.05):
                self.doubtful |= {each: clock() + 30 for each in names if each not in self.real}
                raise RuntimeError("A fault of ours.")
            started[name] = await self._start(name)
        return started

    async def _start(self, name: str) -> Started:
        await self.world.slow()
        if name in self.real and self.real[name].there:
            self.twice |= not self.price_per_hour
            return self.real[name]
        if self.world.wrong(0.5):
            return CloudRefused("Quota exceeded.")
        if self._is_down() or self.world.wrong(0.5):
            if self.world.chance.random() < 0.5:
                self._make(name)
            self.doubtful[name] = clock() + 30
            return CloudUnreachable("No answer.") if self.price_per_hour else QueueUnreachable("No answer.")
        self._make(name)
        return self.real[name]

    async def look(self, *, fresh: bool = False) -> Look:
        await asyncio.sleep(0.1)
        if self._is_down():
            return Look(outage="No answer.")
        if self.world.wrong(0.1):
            raise RuntimeError("An answer nobody understands.")
        seen = dict(self.real)
        for name, settled_at in list(self.doubtful.items()):
            if name in seen:
                del self.doubtful[name]
            elif clock() >= settled_at:
                # Asked for by its name, twice, and not there.
                seen[name] = Body(BodyState.ENDED, reason="It was never accepted.")
        await asyncio.sleep(self.world.chance.uniform(0, 5))
        return Look(seen)

    async def end(self, names: Collection[str]) -> None:
        await self.world.slow()
        if self._is_down() or self.world.wrong(0.3):
            raise SpringtideError("No answer.", transient=True)
        for name in names:
            self._finish(name, "Deleted by us.")

    async def log(self, name: str) -> str:
        return ""

    def _is_down(self) -> bool:
        if self.world.wrong(0.02):
            self.down_until = clock() + self.world.chance.uniform(1, 120)
        return clock() < self.down_until

    # --- what happens by itself -------------------------------------------------------------------------------------

    def _make(self, name: str) -> None:
        self.real[name] = Body(BodyState.WAITING, f"id-{name}", "Not enough free nodes.")
        self.began[name] = clock()
        self.most_at_once = max(self.most_at_once, sum(body.there for body in self.real.values()))
        task = asyncio.create_task(self._live(name))
        self.lives.add(task)
        task.add_done_callback(self.lives.discard)

    async def _live(self, name: str) -> None:
        chance, world = self.world.chance, self.world
        await asyncio.sleep(chance.uniform(0, 100) if not self.price_per_hour else chance.uniform(1, 10))
        while self.real[name].there:
            self.real[name] = dataclasses.replace(self.real[name], state=BodyState.RUNNING, started=clock())
            await asyncio.sleep(chance.uniform(*_BOOT_S))
            if self.real[name].there and not world.wrong(0.3):
                world.workers.add(name)
            if world.wrong(0.2):
                await asyncio.sleep(chance.uniform(0, 30))
                self._finish(name, "It died at its boot.")
            while self.real[name].there:
                await asyncio.sleep(10)
                if world.wrong(0.05):
                    world.workers.discard(name)
                    if chance.random() < 0.5:
                        # The nanny starts it again.
                        await asyncio.sleep(chance.uniform(0, 10))
                        world.workers |= {name} if self.real[name].there else set()
                if world.wrong(0.05):
                    self._finish(name, "Deleted by the operator.")
                if world.wrong(0.03) and self.real[name].there and not self.price_per_hour:
                    world.workers.discard(name)
                    self.real[name] = dataclasses.replace(self.real[name], state=BodyState.WAITING, started=None)
                    await asyncio.sleep(chance.uniform(0, 60))
                    break

    def _finish(self, name: str, reason: str) -> None:
        if name in self.real and self.real[name].there:
            self.real[name] = dataclasses.replace(self.real[name], state=BodyState.ENDED, reason=reason)
            self.ended[name] = clock()
            self.world.workers.discard(name)

    @property
    def there(self) -> set[str]:
        return {name for name, body in self.real.items() if body.there}

    @property
    def spent(self) -> float:
        """What the cloud bills until now."""
        now = clock()
        return sum(self.terms.cost(began, self.ended.get(name, now)) for name, began in self.began.items())


@dataclass
class SchedulerOf:
    """The scheduler, as the reconciler asks it."""

    world: World
    slots: Mapping[str, Slot] = field(default_factory=dict)

    def joined(self) -> Collection[str]:
        return set(self.world.workers)

    async def tight(self, slots: Sequence[Slot]) -> Collection[str]:
        return {slot.name for slot in slots if self.world.wrong(0.001)}

    async def retire(self, name: str) -> bool:
        await self.world.slow()
        if self.world.wrong(0.3):
            if self.world.chance.random() < 0.5:
                raise OSError("The connection is lost.")
            return False
        self.world.workers.discard(name)
        return True
