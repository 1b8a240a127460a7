"""How many workers each pool gets: one pure function, run live and by the simulator alike.

Free pools first. A machine is asked for where the queue's predicted wait (else the wait until now) is longer than its
boot, the transfer of the data and a margin, *and* the work left when it is ready fills more than a billing step; and
only as long as the budget holds the whole of its lifetime. What is no longer needed goes, machines first, each near the
end of the time that is paid.
"""

from __future__ import annotations

from springtide.cluster.decision import Act, Ask, Decision, Note, PolicySettings
from springtide.cluster.grow_cloud import ask_clouds
from springtide.cluster.grow_free import ask_free_pools
from springtide.cluster.need import can_hold_a_task, need_of
from springtide.cluster.observation import Observation, PoolKind, WorkerState
from springtide.cluster.shrink import less

__all__ = ["Decision", "Observation", "PolicySettings", "decide"]

DEFAULTS = PolicySettings()


def decide(observation: Observation, settings: PolicySettings = DEFAULTS) -> Decision:
    """Return what to do now; nothing is done, so a dry run is this call alone.

    The same observation gives the same decision, and a decision that has been carried out, or of which the ledger has
    the rows at least, is not taken twice: a worker counts from the row on.

    Filling the observation, after each event and at the latest after `Decision.look_again_s`:

    - `Worker`: one for each name of the plan. ``QUEUED`` from the ledger's row on, until the queue says that its job
      runs; ``BOOTING`` until it registers with the scheduler (a machine: from its row on, before the cloud is asked);
      ``RUNNING`` while registered; ``LEAVING`` once its retirement or cancellation has begun. `asked` and `ends` come
      from the ledger's row (`ends` of a machine: asked + lifetime), `tasks` and `idle_since` from the scheduler.
      A worker that failed to start or is lost is left out: it is asked for again, within the rate.
    - `Pool.wait` and `Worker.wait`: of `springtide.queues.expected.estimate.estimate` for the worker's request, with
      `waited_s` for one that waits; None without history. `Pool.refused`: while the caller backs off after a refusal,
      in the words of the queue or cloud. `Pool.asked_at`: the rows of the last minute, failed ones included.
      `Pool.boot_s`: the median measured from row to registration, else the lab file's.
    - `Work`: of the scheduler's tasks; `core_seconds` is the sum over tasks of their group's mean duration. Results in
      memory are no work: they are said by `Worker.holds_results`.
    - `Money`: `springtide.cluster.money.money_of` over **all** rows of machines under this budget, whichever cluster or
      kernel made them. Write the row, with `Ask.lifetime_s`, before the cloud is asked: that is the reservation. Rows
      under one budget are written under the ledger's lock, after looking again.

    Carry out in this order: retire, cancel, ask. Each of the `Ask.count` workers gets a free name and a row of its own.
    """
    need = need_of(observation, settings)
    going = less(observation, settings, need)
    free_asks, free_notes = ask_free_pools(observation, settings, need)
    clouds = ask_clouds(observation, settings, need, free_asks)
    anchor_asks, anchor_notes = _anchor(observation, need.cores, free_asks)
    times = [*going.later, *clouds.later]
    return Decision(
        asks=(*free_asks, *anchor_asks, *clouds.asks),
        cancel=tuple(going.cancel),
        retire=tuple(going.retire),
        notes=(
            *free_notes,
            *anchor_notes,
            *clouds.notes,
            *going.notes,
            *_ending(observation, need.longest_s),
        ),
        look_again_s=min(times) if times else None,
    )


def _anchor(observation: Observation, wanted: int, asks: list[Ask]) -> tuple[list[Ask], list[Note]]:
    """Return a free worker to take over the results in machines that have nothing else to do: those cost money."""
    machines = [worker for pool in observation.pools if pool.kind is PoolKind.CLOUD for worker in pool.workers]
    if wanted or asks or not any(worker.holds_results for worker in machines):
        return [], []
    free = [pool for pool in observation.pools if pool.kind is not PoolKind.CLOUD]
    if any(worker.state is not WorkerState.LEAVING for pool in free for worker in pool.workers):
        return [], []
    for pool in free:
        if not pool.refused and pool.maximum > len(pool.workers):
            return [Ask(pool.name, 1, pool.cores)], [Note(Act.ASK, "anchor", pool.name, values={"count": 1})]
    return [], []


def _ending(observation: Observation, longest_s: float) -> list[Note]:
    """Return a note on each worker whose time does not hold a task any more."""
    notes = []
    for pool in observation.pools:
        for worker in pool.workers:
            if worker.state is WorkerState.RUNNING and not can_hold_a_task(worker, longest_s, observation.now):
                left_s = max(0.0, (worker.ends or 0.0) - observation.now)
                values = {"left_s": left_s, "task_s": longest_s}
                notes.append(Note(Act.KEEP, "ends_soon", pool.name, worker.name, values))
    return notes
