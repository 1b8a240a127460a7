"""Workers that cost nothing: asked for first, at once, up to what work and pool hold."""

from __future__ import annotations

import math

from springtide.cluster.decision import Act, Ask, Note, PolicySettings
from springtide.cluster.need import Need, enough, free_pools
from springtide.cluster.observation import Observation, Pool, PoolKind, WorkerState


def ask_free_pools(observation: Observation, settings: PolicySettings, need: Need) -> tuple[list[Ask], list[Note]]:
    """Return what to ask of local and batch pools, and why, or why not more."""
    asks: list[Ask] = []
    notes: list[Note] = []
    missing = need.cores - need.asked_for
    if enough(need.asked_for, need.cores, observation.work, settings):
        missing = 0
    for pool in free_pools(observation):
        wanted = max(math.ceil(max(0, missing) / pool.cores), pool.minimum - _staying(pool))
        if wanted <= 0:
            continue
        hindrance = _hindrance(pool, need)
        count = 0 if hindrance else min(wanted, pool.maximum - len(pool.workers))
        if count > 0:
            asks.append(Ask(pool.name, count, pool.cores))
            missing -= count * pool.cores
            notes.append(_why(pool, count, need))
        if hindrance:
            notes.append(hindrance)
        elif count < wanted:
            notes.append(Note(Act.REFUSE, "pool_full", pool.name, values={"maximum": pool.maximum}))
    return asks, notes


def _staying(pool: Pool) -> int:
    return sum(worker.state is not WorkerState.LEAVING for worker in pool.workers)


def _hindrance(pool: Pool, need: Need) -> Note | None:
    """Return why nothing can be asked of `pool`; None where something can."""
    if pool.refused:
        return Note(Act.REFUSE, "pool_refuses", pool.name, values={"words": pool.refused})
    if pool.largest_cores is not None and pool.cores > pool.largest_cores:
        limits = {"cores": pool.cores, "largest": pool.largest_cores}
        return Note(Act.REFUSE, "node_too_small", pool.name, values=limits)
    if pool.walltime_s is not None and pool.walltime_s < need.longest_s:
        times = {"walltime_s": pool.walltime_s, "task_s": need.longest_s}
        return Note(Act.REFUSE, "walltime_too_short", pool.name, values=times)
    return None


def _why(pool: Pool, count: int, need: Need) -> Note:
    if need.cores <= need.asked_for:
        return Note(Act.ASK, "minimum", pool.name, values={"count": count, "minimum": pool.minimum})
    key = "local_first" if pool.kind is PoolKind.LOCAL else "batch_first"
    values = {"count": count, "cores": need.cores, "there": need.asked_for, "work_s": need.core_seconds}
    return Note(Act.ASK, key, pool.name, values=values)
