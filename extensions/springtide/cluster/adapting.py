"""How many workers each pool gets, by load: the live side of the policy.

An observation is made of the scheduler's load, the book and the pools; the policy decides; the plan is changed. What
is done about the plan is the reconciler's affair.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from springtide.cluster import observation as seen
from springtide.cluster.bodies import BodyState
from springtide.cluster.book import Book, PoolPage
from springtide.cluster.decision import Decision, PolicySettings
from springtide.cluster.explain import explain
from springtide.cluster.observation import Observation, PoolKind, Wait, WorkerState
from springtide.cluster.policy import decide
from springtide.cluster.pools.base import Pool
from springtide.cluster.slots import Slot, Work

_log = logging.getLogger(__name__)

_MINUTE_S = 60.0


class LoadView(Protocol):
    """Who says what there is to do. Implemented by `springtide.cluster.scheduler_view`."""

    async def load(self) -> Mapping[str, Any]:
        """Return what `SchedulerSide.load` tells."""


@dataclass
class Limits:
    """The fewest and the most workers, in all and by pool."""

    minimum: int = 0
    maximum: float = math.inf
    of_pools: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass
class Adapting:
    """Changes the plan with the load, until it is stopped.

    Parameters
    ----------
    changed : callable
        Called when the plan has changed, with the decision.
    interval_s : float
        Time between two decisions.
    hint_task_s : float, optional
        How long a task takes, until one is measured.
    """

    book: Book
    pools: Mapping[str, Pool]
    view: LoadView
    changed: Callable[[Decision], None]
    limits: Limits = field(default_factory=Limits)
    settings: PolicySettings = field(default_factory=PolicySettings)
    interval_s: float = 1.0
    hint_task_s: float | None = None
    last: Decision = field(default_factory=Decision)
    """The last decision."""
    last_act: Decision = field(default_factory=Decision)
    """The last one that changed something."""
    _empty_since: float | None = None
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin. Called in the cluster's event loop."""
        self._task = asyncio.create_task(self._run(), name="adapting to the load")

    def stop(self) -> None:
        """Decide no more; the plan stays as it is."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    @property
    def periodic_callback(self) -> bool:
        """Whether it runs. Read by Dask's own display."""
        return self._task is not None

    async def _run(self) -> None:
        while True:
            try:
                await self.adapt()
            except OSError as error:
                _log.debug("The scheduler was not asked what there is to do: %s", error)
            except Exception:
                _log.exception("The cluster could not be adapted; it is tried again")
            await asyncio.sleep(self.interval_s)

    async def adapt(self) -> Decision:
        """Decide, and change the plan accordingly."""
        self.last = decision = await self.decide()
        if not decision.idle:
            self.last_act = decision
            self._carry_out(decision)
            self.changed(decision)
        return decision

    def explain(self, language: str) -> list[str]:
        """Return in words why the plan is what it is: the last change, and what speaks against another one now."""
        change = explain(self.last_act, language) if self.last_act.notes else []
        return list(dict.fromkeys([*change, *explain(self.last, language)]))

    async def decide(self) -> Decision:
        """Return what would be done now; nothing is."""
        return decide(await self.observe(), self.settings)

    # --- what the policy looks at -----------------------------------------------------------------------------------

    async def observe(self) -> Observation:
        """Return one picture of work, pools and money."""
        load = await self.view.load()
        waits = {name: await pool.expected_wait() for name, pool in self.pools.items()}
        now = time.time()
        pools = tuple(self._pool(name, load["workers"], waits[name], now) for name in self.pools)
        book = self.book
        money = seen.Money(book.budget, book.spent, book.committed - book.spent)
        return Observation(now, self._work(load, now), pools, money)

    def _work(self, load: Mapping[str, Any], now: float) -> seen.Work:
        kinds: list[tuple[int, float]] = load["ready"]
        tasks = sum(count for count, _ in kinds)
        self._empty_since = None if tasks else (self._empty_since or now)
        measured = sorted((mean_s, count) for count, mean_s in kinds if mean_s > 0)
        unknown_s = self.hint_task_s or self.settings.unknown_task_s
        return seen.Work(
            tasks=tasks,
            core_seconds=sum(count * (mean_s if mean_s > 0 else unknown_s) for count, mean_s in kinds),
            median_task_s=_middle(measured),
            longest_task_s=measured[-1][0] if measured else None,
            hint_task_s=self.hint_task_s,
            bytes_to_move=load["bytes"],
            empty_since=self._empty_since,
        )

    def _pool(self, name: str, told: Mapping[str, Any], wait: Wait | None, now: float) -> seen.Pool:
        page, pool = self.book.pools[name], self.pools[name]
        slots = self.book.of(name)
        fewest, most = self.limits.of_pools.get(name, (self._fewest(name), page.terms.maximum))
        workers = tuple(_worker(slot, pool, page, told.get(slot.name, {}), now) for slot in slots)
        others = sum(slot.wanted for slot in self.book.slots.values()) - sum(slot.wanted for slot in slots)
        return seen.Pool(
            name=name,
            kind=pool.kind,
            minimum=fewest,
            maximum=int(max(0, min(most, page.terms.maximum, self.limits.maximum - others))),
            workers=workers,
            cores=pool.worker.cores,
            walltime_s=page.terms.lifetime_s or None,
            wait=wait,
            refused=page.outage or (page.words if now < page.again_at else ""),
            asked_at=tuple(at for at in page.asked_at if now - at < _MINUTE_S),
            **self._offer(pool, page),
        )

    def _offer(self, pool: Pool, page: PoolPage) -> dict[str, Any]:
        """Return what the pool says of itself, its boot time as measured."""
        offer = pool.offer()
        return {**offer, "boot_s": median(page.took_s)} if "boot_s" in offer and page.took_s else offer

    def _fewest(self, name: str) -> int:
        """Return a pool's part of the fewest workers in all: those that cost nothing fill up first."""
        left = self.limits.minimum
        for other in sorted(self.pools, key=lambda one: self.pools[one].kind is PoolKind.CLOUD):
            here = min(left, self.book.pools[other].terms.maximum)
            if other == name:
                return here
            left -= here
        return 0

    # --- what it decided --------------------------------------------------------------------------------------------

    def _carry_out(self, decision: Decision) -> None:
        self.book.give_up([*decision.retire, *decision.cancel])
        for ask in decision.asks:
            left = self.limits.maximum - sum(slot.wanted for slot in self.book.slots.values())
            self.book.ask(ask, int(max(0, min(ask.count, left))))


def _worker(slot: Slot, pool: Pool, page: PoolPage, told: Mapping[str, Any], now: float) -> seen.Worker:
    body = slot.body
    return seen.Worker(
        name=slot.name,
        state=_state(slot, pool),
        asked=now if slot.asked_at is None else slot.asked_at,
        since=(slot.joined_at if slot.joined else None) or (body.started if body and body.started else 0.0),
        cores=pool.cores_of(slot.flavour),
        flavour=slot.flavour,
        tasks=told.get("processing", 0),
        idle_since=told.get("idle_since") if slot.joined else None,
        ends=_ends(slot, page),
        holds_results=told.get("only_copies", False),
        reason=slot.words or (body.reason if body else ""),
    )


def _state(slot: Slot, pool: Pool) -> WorkerState:
    if not slot.wanted or slot.work in (Work.RETIRING, Work.ENDING):
        return WorkerState.LEAVING
    if slot.joined:
        return WorkerState.RUNNING
    starts = slot.body is not None and slot.body.state is BodyState.RUNNING
    return WorkerState.BOOTING if starts or pool.kind is not PoolKind.BATCH else WorkerState.QUEUED


def _ends(slot: Slot, page: PoolPage) -> float | None:
    return min(slot.ends(page.terms), default=None)


def _middle(measured: list[tuple[float, int]]) -> float | None:
    """Return the duration of the task in the middle of all, by their kinds' means."""
    half = sum(count for _, count in measured) / 2
    return next(_over(measured, half), None)


def _over(measured: list[tuple[float, int]], half: float) -> Iterator[float]:
    passed = 0
    for mean_s, count in measured:
        passed += count
        if passed >= half:
            yield mean_s
