"""A trace replayed: each job is one small cluster with work for all its cores at once, as the live policy sees one.

A job's clock, queue position, machines and the shared budget become an `Observation`; what the rule decides is carried
out: its batch job is submitted or withdrawn, machines of its own are made or removed. It starts where room for all its
cores is first. A job that starts in the queue while machines boot for it leaves them to be paid for nothing.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from springtide.clouds.money import cost_of
from springtide.cluster.decision import Ask, Decision, PolicySettings
from springtide.cluster.observation import Money, Observation, Pool, PoolKind, Wait, Work, Worker, WorkerState
from springtide.cluster.simulate.easy import EasyQueue
from springtide.cluster.simulate.foresight import Durations, Waits, forecast_s
from springtide.cluster.simulate.swf import Trace, TraceJob
from springtide.cluster.simulate.world import World

Decide = Callable[[Observation, PolicySettings], Decision]

BATCH, CLOUD = "batch", "cloud"
_AT_ONCE = Wait(0.0, 0.0, 0.0)
# At the same moment, what ends comes before what is ready, and both before what is looked at again.
_END_BATCH, _END_CLOUD, _READY, _LOOK = range(4)
# No rule may keep a replay from advancing.
_SHORTEST_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one job."""

    job: TraceJob
    place: str
    """`BATCH` or `CLOUD`."""
    waited_s: float
    cost: float
    machines: int
    """Made for it, used or not."""
    billed_s: float
    """Machine-seconds paid for, all its machines together."""
    used_s: float
    """Machine-seconds in which it ran."""


@dataclass(slots=True)
class _Machine:
    name: str
    asked: float
    ready: float
    cores: int
    flavour: str
    price_per_hour: float
    reserve: float
    ends: float


@dataclass(slots=True)
class _Request:
    """One job on its way."""

    number: int
    job: TraceJob
    guess_s: float
    forecast_s: float | None = None
    wait: Wait | None = _AT_ONCE
    batch: WorkerState | None = None
    """Of its batch job; None: not asked for, withdrawn, or over."""
    batch_asked: float = 0.0
    started: float | None = None
    place: str = ""
    ended: float | None = None
    machines: list[_Machine] = field(default_factory=list)
    made: int = 0
    asked_at: list[float] = field(default_factory=list)
    cost: float = 0.0
    billed_s: float = 0.0
    used_s: float = 0.0
    look_at: float = math.inf


def replay(
    trace: Trace, decide: Decide, settings: PolicySettings, world: World, *, foresee: bool = True
) -> list[Outcome]:
    """Return what becomes of each job of `trace`, the first submitted first, if `decide` rules.

    Parameters
    ----------
    foresee : bool
        Whether to forecast waits: without, a job that does not start at once has an unknown wait, which is all that
        some rules look at.
    """
    return _Replay(trace, decide, settings, world, foresee).run()


class _Replay:
    def __init__(self, trace: Trace, decide: Decide, settings: PolicySettings, world: World, foresee: bool) -> None:
        self.trace, self.decide, self.world, self.foresee = trace, decide, world, foresee
        # A machine of a job lives as long as the job may: the walltime asked for bounds it.
        self.settings = replace(
            settings,
            lifetime_s=math.inf,
            idle_s=0.0,
            patience_s=0.0,
            creations_per_minute=world.creations_per_minute,
        )
        self.queue = EasyQueue(trace.cores)
        self.durations, self.waits = Durations(), Waits()
        self.requests: list[_Request] = []
        self.events: list[tuple[float, int, int]] = []
        self.foreseen_ends: dict[int, float] = {}
        self.guesses: dict[int, float] = {}
        self.spent = self.reserved = 0.0
        self.cloud = Pool(
            CLOUD,
            PoolKind.CLOUD,
            maximum=world.maximum_machines,
            flavours=world.flavours,
            quantum_s=world.quantum_s,
            boot_s=world.boot_s,
            bandwidth_bytes_per_s=world.bandwidth_bytes_per_s,
        )
        self.prices = {flavour.name: flavour.price_per_hour for flavour in world.flavours}

    def run(self) -> list[Outcome]:
        happen = (self._batch_ends, self._cloud_ends, self._ready, self._look_due)
        for job in self.trace.jobs:
            while self.events and self.events[0][0] <= job.submitted:
                now, kind, number = heapq.heappop(self.events)
                happen[kind](self.requests[number], now)
            self._arrives(job)
        while self.events:
            now, kind, number = heapq.heappop(self.events)
            happen[kind](self.requests[number], now)
        return [_outcome(request) for request in self.requests]

    # --- what happens -----------------------------------------------------------------------------------------------

    def _arrives(self, job: TraceJob) -> None:
        request = _Request(len(self.requests), job, self.durations.of(job))
        self.requests.append(request)
        self.guesses[request.number] = request.guess_s
        if not self.queue.starts_at_once(job.cores, job.requested_s, job.submitted):
            request.wait = self._foreseen(request, job.submitted) if self.foresee else None
        self._look(request, job.submitted)

    def _foreseen(self, request: _Request, now: float) -> Wait:
        """Return the wait to be expected of a job at the end of the queue, or where it stands in it."""
        job, number = request.job, request.number
        asked = number in self.queue.waiting
        if not asked:
            self.queue.waiting[number] = (job.cores, job.requested_s)
        found_s = forecast_s(self.queue, self.foreseen_ends, self.guesses, number, now)
        if not asked:
            del self.queue.waiting[number]
            request.forecast_s = found_s
        return self.waits.of(found_s)

    def _batch_ends(self, request: _Request, now: float) -> None:
        del self.foreseen_ends[request.number]
        request.batch = None
        self._ends(request, now)
        self._batch_starts(self.queue.finish(request.number, now), now)

    def _cloud_ends(self, request: _Request, now: float) -> None:
        self._ends(request, now)

    def _ends(self, request: _Request, now: float) -> None:
        request.ended = now
        self.durations.learn(request.job)
        if request.machines:
            self._look(request, now)

    def _ready(self, request: _Request, now: float) -> None:
        if request.started is None and sum(m.cores for m in request.machines if m.ready <= now) >= request.job.cores:
            self._starts(request, now, CLOUD, _END_CLOUD)
        self._look(request, now)

    def _look_due(self, request: _Request, now: float) -> None:
        # Only the last time that was set counts, and none once there is nothing more to decide.
        if now == request.look_at and (request.started is None or request.machines):
            self._look(request, now)

    def _batch_starts(self, numbers: list[int], now: float) -> None:
        for number in numbers:
            request = self.requests[number]
            request.batch = WorkerState.RUNNING
            self.foreseen_ends[number] = now + request.guess_s
            waited_s = now - request.batch_asked
            if request.forecast_s is not None:
                self.waits.learn(request.forecast_s, waited_s)
            self._starts(request, now, BATCH, _END_BATCH)
            if request.machines:
                self._look(request, now)

    def _starts(self, request: _Request, now: float, place: str, end: int) -> None:
        request.started, request.place = now, place
        heapq.heappush(self.events, (now + request.job.run_s, end, request.number))

    # --- looking, deciding, doing -----------------------------------------------------------------------------------

    def _look(self, request: _Request, now: float) -> None:
        decision = self.decide(self._observe(request, now), self.settings)
        for name in (*decision.retire, *decision.cancel):
            self._remove(request, name, now)
        for ask in decision.asks:
            if ask.pool == BATCH:
                self._submit(request, now)
            else:
                self._create(request, ask, now)
        if decision.look_again_s is not None and (request.started is None or request.machines):
            request.look_at = now + max(_SHORTEST_LOOK_S, decision.look_again_s)
            heapq.heappush(self.events, (request.look_at, _LOOK, request.number))

    def _submit(self, request: _Request, now: float) -> None:
        job = request.job
        request.batch, request.batch_asked = WorkerState.QUEUED, now
        started = self.queue.submit(request.number, job.cores, job.requested_s, now)
        self._batch_starts(started, now)

    def _create(self, request: _Request, ask: Ask, now: float) -> None:
        ready = now + self.world.ready_s(request.job.cores)
        for _ in range(ask.count):
            name = f"{CLOUD}-{request.made}"
            price, ends = self.prices[ask.flavour], now + (ask.lifetime_s or math.inf)
            request.machines.append(_Machine(name, now, ready, ask.cores, ask.flavour, price, ask.reserve, ends))
            request.made += 1
            self.reserved += ask.reserve
        request.asked_at.extend([now] * ask.count)
        heapq.heappush(self.events, (ready, _READY, request.number))

    def _remove(self, request: _Request, name: str, now: float) -> None:
        if name == BATCH:
            request.batch = None
            self._batch_starts(self.queue.withdraw(request.number, now), now)
            return
        machine = next(machine for machine in request.machines if machine.name == name)
        request.machines.remove(machine)
        cost = cost_of(now - machine.asked, machine.price_per_hour, self.world.quantum_s)
        request.cost += cost
        request.billed_s += cost * 3600.0 / machine.price_per_hour if machine.price_per_hour else now - machine.asked
        if request.place == CLOUD and request.started is not None:
            request.used_s += request.job.run_s
        self.spent += cost
        self.reserved -= machine.reserve

    def _observe(self, request: _Request, now: float) -> Observation:
        job = request.job
        over = request.ended is not None
        work = Work(
            tasks=0 if over else job.cores,
            hint_task_s=request.guess_s,
            longest_task_s=job.requested_s,
            together=True,
            bytes_to_move=int(job.cores * self.world.bytes_per_core),
            empty_since=request.ended,
        )
        workers: tuple[Worker, ...] = ()
        if request.batch is not None:
            at_work = request.batch is WorkerState.RUNNING
            workers = (Worker(BATCH, request.batch, request.batch_asked, job.cores, tasks=job.cores if at_work else 0),)
        batch = Pool(BATCH, PoolKind.BATCH, maximum=1, workers=workers, cores=job.cores, wait=request.wait)
        cloud = self.cloud
        if request.machines:
            machines = tuple(self._worker(request, machine, now) for machine in request.machines)
            lately = tuple(at for at in request.asked_at if at > now - 60.0)
            cloud = replace(cloud, workers=machines, asked_at=lately)
        money = Money(self.world.budget, self.spent, self.reserved)
        return Observation(now, work, (batch, cloud), money)

    def _worker(self, request: _Request, machine: _Machine, now: float) -> Worker:
        if machine.ready > now:
            # Its boot and the transfer of the data are one wait.
            return Worker(
                machine.name,
                WorkerState.BOOTING,
                machine.asked,
                machine.cores,
                since=max(machine.asked, machine.ready - self.world.boot_s),
                flavour=machine.flavour,
            )
        at_work = request.place == CLOUD and request.ended is None
        return Worker(
            machine.name,
            WorkerState.RUNNING,
            machine.asked,
            machine.cores,
            since=machine.ready,
            tasks=machine.cores if at_work else 0,
            idle_since=None if at_work else (request.ended if request.place == CLOUD else machine.ready),
            flavour=machine.flavour,
        )


def _outcome(request: _Request) -> Outcome:
    """Return what became of a request.

    Raises
    ------
    RuntimeError
        If it never ran: a rule that asks for nothing has lost it.
    """
    if request.started is None or request.machines:
        raise RuntimeError(f"job {request.job.number} was neither run nor cleared away by the rule")
    return Outcome(
        request.job,
        request.place,
        request.started - request.job.submitted,
        request.cost,
        request.made,
        request.billed_s,
        request.used_s,
    )
