"""Observations for tests: a batch queue and a cloud, and what becomes of one when a decision is carried out."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from springtide.cluster.decision import Ask, Decision
from springtide.cluster.observation import (
    CloudFlavour,
    Money,
    Observation,
    Pool,
    PoolKind,
    Wait,
    Work,
    Worker,
    WorkerState,
)

NOW = 1_700_000_000.0
SMALL = CloudFlavour("small", 4, 0.16)
LARGE = CloudFlavour("large", 16, 0.60)
HOUR = 3600.0


def work(tasks: int = 100, seconds: float = 600.0, **more: Any) -> Work:
    """Return independent tasks of one core."""
    return Work(tasks, median_task_s=seconds, longest_task_s=seconds, **more)


def batch(*workers: Worker, **more: Any) -> Pool:
    return Pool("cluster", PoolKind.BATCH, **{"maximum": 100, "cores": 4, "workers": workers, **more})


def cloud(*workers: Worker, **more: Any) -> Pool:
    usual = {"maximum": 100, "flavours": (SMALL, LARGE), "boot_s": 180.0, "quantum_s": 60.0}
    return Pool("cloud", PoolKind.CLOUD, **{**usual, "workers": workers, **more})


def queued(number: int = 0, waited_s: float = 0.0, **more: Any) -> Worker:
    return Worker(f"cluster-{number}", WorkerState.QUEUED, NOW - waited_s, **{"cores": 4, **more})


def booting(number: int = 0, age_s: float = 0.0, **more: Any) -> Worker:
    return Worker(f"cloud-{number}", WorkerState.BOOTING, NOW - age_s, **{"cores": 4, "flavour": "small", **more})


def running(name: str, age_s: float = HOUR, **more: Any) -> Worker:
    return Worker(name, WorkerState.RUNNING, NOW - age_s, **{"cores": 4, "tasks": 4, **more})


def idle(name: str, idle_s: float = HOUR, age_s: float = HOUR, **more: Any) -> Worker:
    return running(name, age_s, tasks=0, idle_since=NOW - idle_s, **more)


def expected(median_s: float) -> Wait:
    return Wait(median_s, median_s / 2, median_s * 2)


def seen(tasks: Work, *pools: Pool, money: Money | None = None, now: float = NOW) -> Observation:
    return Observation(now, tasks, pools, money or Money())


def asked(decision: Decision, pool: str) -> int:
    """Return how many workers of `pool` are asked for."""
    return sum(ask.count for ask in decision.asks if ask.pool == pool)


def keys(decision: Decision) -> set[str]:
    return {note.key for note in decision.notes}


def carried_out(observation: Observation, decision: Decision) -> Observation:
    """Return what is seen once the ledger has the rows of what was decided, and nothing else has happened."""
    pools = tuple(_changed(pool, observation.now, decision) for pool in observation.pools)
    reserved = observation.money.reserved + sum(ask.count * ask.reserve for ask in decision.asks)
    return dataclasses.replace(
        observation, pools=pools, money=dataclasses.replace(observation.money, reserved=reserved)
    )


def _changed(pool: Pool, now: float, decision: Decision) -> Pool:
    gone = {*decision.cancel, *decision.retire}
    kept = [
        dataclasses.replace(worker, state=WorkerState.LEAVING) if worker.name in gone else worker
        for worker in pool.workers
    ]
    asks = [ask for ask in decision.asks if ask.pool == pool.name]
    taken = {worker.name for worker in pool.workers}
    names = (name for number in itertools.count() if (name := f"{pool.name}-{number}") not in taken)
    new = [_new(next(names), ask, now, pool.kind) for ask in asks for _ in range(ask.count)]
    return dataclasses.replace(pool, workers=(*kept, *new), asked_at=(*pool.asked_at, *(now for _ in new)))


def _new(name: str, ask: Ask, now: float, kind: PoolKind) -> Worker:
    state = WorkerState.QUEUED if kind is PoolKind.BATCH else WorkerState.BOOTING
    ends = None if ask.lifetime_s is None else now + ask.lifetime_s
    return Worker(name, state, now, ask.cores, flavour=ask.flavour, ends=ends)
