"""Workers that are no longer needed: queued ones cancelled, idle ones retired, machines first, none that boots."""

from __future__ import annotations

from dataclasses import dataclass, field

from springtide.cluster.decision import Act, Note, PolicySettings
from springtide.cluster.need import Need, can_hold_a_task, overdue
from springtide.cluster.observation import Observation, Pool, PoolKind, Worker, WorkerState


@dataclass(slots=True)
class Less:
    """What goes, and why; filled while a decision is made."""

    cancel: list[str] = field(default_factory=list)
    retire: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    later: list[float] = field(default_factory=list)


def less(observation: Observation, settings: PolicySettings, need: Need) -> Less:
    """Return what to cancel and what to retire."""
    found = Less()
    _cancel_overdue(observation, settings, found)
    _cancel_queued(observation, settings, need, found)
    _retire_idle(observation, settings, need, found)
    return found


def _cancel_overdue(observation: Observation, settings: PolicySettings, found: Less) -> None:
    for pool in observation.pools:
        for worker in pool.workers:
            if worker.state is not WorkerState.BOOTING:
                continue
            age_s = observation.now - worker.here_since
            if overdue(worker, pool, settings, observation.now):
                found.cancel.append(worker.name)
                found.notes.append(Note(Act.CANCEL, "never_came", pool.name, worker.name, {"age_s": age_s}))
            else:
                found.later.append(pool.boot_s + settings.boot_grace_s - age_s + 1.0)


def _cancel_queued(observation: Observation, settings: PolicySettings, need: Need, found: Less) -> None:
    """Cancel what waits in queues, once the capacity is seen without it: a machine that boots is none yet."""
    if not need.queued or need.running < need.cores:
        return
    work = observation.work
    if not work.tasks:
        patient_s = settings.patience_s - (observation.now - (work.empty_since or observation.now))
        if patient_s > 0:
            found.later.append(patient_s)
            return
    for pool in observation.pools:
        waiting = [worker for worker in pool.workers if worker.state is WorkerState.QUEUED]
        spare = sum(worker.state is not WorkerState.LEAVING for worker in pool.workers) - pool.minimum
        for worker in sorted(waiting, key=lambda worker: -worker.asked)[: max(0, spare)]:
            found.cancel.append(worker.name)
            key = "enough_runs" if need.cores else "no_work"
            values = {"running": need.running, "cores": need.cores}
            found.notes.append(Note(Act.CANCEL, key, pool.name, worker.name, values))


def _retire_idle(observation: Observation, settings: PolicySettings, need: Need, found: Less) -> None:
    """Retire idle workers, machines before all others: what is left holds the work, and all results."""
    running = need.running
    registered = [
        worker for pool in observation.pools for worker in pool.workers if worker.state is WorkerState.RUNNING
    ]
    left, results = len(registered), any(worker.holds_results for worker in registered)
    clouds = [pool for pool in observation.pools if pool.kind is PoolKind.CLOUD]
    others = [pool for pool in observation.pools if pool.kind is not PoolKind.CLOUD]
    for pool in (*clouds, *others):
        if pool.kind is not PoolKind.CLOUD and _machines_stay(clouds, found):
            return
        spare = sum(worker.state is not WorkerState.LEAVING for worker in pool.workers) - pool.minimum
        for worker in _idle(pool, found, settings, observation.now):
            if spare <= 0:
                found.notes.append(Note(Act.KEEP, "kept_minimum", pool.name, worker.name, {"minimum": pool.minimum}))
                break
            cores = worker.cores if can_hold_a_task(worker, need.longest_s, observation.now) else 0
            if running - cores < need.cores:
                continue
            # Even one without results: those of the workers that go move to it.
            if results and left <= 1:
                found.notes.append(Note(Act.KEEP, "holds_results", pool.name, worker.name))
                continue
            if pool.kind is PoolKind.CLOUD and not _paid_time_ends(worker, pool, settings, observation.now, found):
                continue
            running, left, spare = running - cores, left - 1, spare - 1
            found.retire.append(worker.name)
            idle_s = observation.now - (worker.idle_since or observation.now)
            found.notes.append(Note(Act.RETIRE, _why(pool), pool.name, worker.name, {"idle_s": idle_s}))


def _machines_stay(clouds: list[Pool], found: Less) -> bool:
    """Return whether machines are left that could go first."""
    gone = {*found.cancel, *found.retire}
    return any(
        worker.state in (WorkerState.RUNNING, WorkerState.BOOTING) and worker.name not in gone
        for pool in clouds
        for worker in pool.workers
    )


def _idle(pool: Pool, found: Less, settings: PolicySettings, now: float) -> list[Worker]:
    """Return the workers of `pool` that have been idle for long enough, the longest idle first."""
    idle: list[tuple[float, Worker]] = []
    for worker in pool.workers:
        if worker.state is WorkerState.RUNNING and not worker.tasks and worker.idle_since is not None:
            more_s = settings.idle_s - (now - worker.idle_since)
            if more_s > 0:
                found.later.append(more_s)
            else:
                idle.append((worker.idle_since, worker))
    return [worker for _, worker in sorted(idle, key=lambda pair: pair[0])]


def _paid_time_ends(worker: Worker, pool: Pool, settings: PolicySettings, now: float, found: Less) -> bool:
    """Return whether the time that is paid for is nearly over; until then the machine is kept, as it is free."""
    left_s = pool.quantum_s - (now - worker.asked) % pool.quantum_s
    if left_s <= settings.before_quantum_s or pool.quantum_s <= settings.before_quantum_s:
        return True
    found.later.append(left_s - settings.before_quantum_s)
    found.notes.append(Note(Act.KEEP, "paid_for", pool.name, worker.name, {"left_s": left_s}))
    return False


def _why(pool: Pool) -> str:
    return "idle_machine" if pool.kind is PoolKind.CLOUD else "idle_worker"
