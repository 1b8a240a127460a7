"""What holds of every decision: the budget, no thrash, more of one never less of the other, a reason for everything."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st

from springtide.cluster.decision import Act, Decision, PolicySettings
from springtide.cluster.explain import explain
from springtide.cluster.money import Charge, money_of
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
from springtide.cluster.policy import decide
from tests.cluster.observing import HOUR, NOW, asked, carried_out

# Of sums of prices in another order.
ROUNDING = 1e-9
BOUNDED = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))

seconds = st.floats(1.0, 1e5)
waits = st.builds(lambda s, k: Wait(s, s / k, s * k), st.floats(0, 1e5), st.floats(1.0, 5.0))
flavours = st.lists(
    st.builds(CloudFlavour, st.sampled_from("abcd"), st.integers(1, 64), st.floats(0.01, 3.0)), min_size=1, max_size=3
).map(tuple)


@st.composite
def works(draw: st.DrawFn) -> Work:
    tasks = draw(st.integers(0, 300))
    median = draw(st.none() | seconds)
    longest = None if median is None else median * draw(st.floats(1, 3))
    return Work(
        tasks,
        median_task_s=median,
        longest_task_s=longest,
        hint_task_s=draw(st.none() | seconds),
        cores_per_task=draw(st.integers(1, 8)),
        together=draw(st.booleans()),
        bytes_to_move=draw(st.integers(0, 10**11)),
        empty_since=None if tasks else NOW - draw(st.floats(0, 100)),
    )


@st.composite
def workers(draw: st.DrawFn, prefix: str, kind: PoolKind) -> tuple[Worker, ...]:
    found = []
    for number in range(draw(st.integers(0, 6))):
        states = [state for state in WorkerState if kind is PoolKind.BATCH or state is not WorkerState.QUEUED]
        state = draw(st.sampled_from(states))
        age = draw(st.floats(0, 2e4))
        busy = state is WorkerState.RUNNING and draw(st.booleans())
        waiting = state is WorkerState.QUEUED
        found.append(
            Worker(
                f"{prefix}-{number}",
                state,
                NOW - age,
                draw(st.integers(1, 16)),
                tasks=1 if busy else 0,
                idle_since=NOW - age / 2 if state is WorkerState.RUNNING and not busy else None,
                ends=NOW + draw(st.floats(0, 1e5)) if draw(st.booleans()) else None,
                holds_results=state is WorkerState.RUNNING and draw(st.booleans()),
                wait=draw(st.none() | waits) if waiting else None,
            )
        )
    return tuple(found)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    batch = Pool(
        "cluster",
        PoolKind.BATCH,
        maximum=draw(st.integers(0, 50)),
        workers=draw(workers("cluster", PoolKind.BATCH)),
        cores=draw(st.integers(1, 16)),
        walltime_s=draw(st.none() | st.floats(60, 1e6)),
        wait=draw(st.none() | waits),
        refused=draw(st.sampled_from(["", "", "queue is stopped"])),
    )
    cloud = Pool(
        "cloud",
        PoolKind.CLOUD,
        maximum=draw(st.integers(0, 50)),
        minimum=draw(st.sampled_from([0, 0, 0, 2])),
        workers=draw(workers("cloud", PoolKind.CLOUD)),
        flavours=draw(flavours),
        quantum_s=draw(st.sampled_from([1.0, 60.0, 3600.0])),
        boot_s=draw(st.floats(1, 600)),
        bandwidth_bytes_per_s=draw(st.none() | st.floats(1e5, 1e9)),
        asked_at=tuple(NOW - draw(st.floats(0, 100)) for _ in range(draw(st.integers(0, 5)))),
    )
    budget = draw(st.none() | st.floats(0, 100))
    spent = draw(st.floats(0, budget)) if budget else 0.0
    return Observation(NOW, draw(works()), (batch, cloud), Money(budget, spent))


rules = st.builds(
    PolicySettings,
    margin_s=st.floats(0, 3600),
    least_quanta=st.sampled_from([0.0, 0.5, 1.0]),
    slowdown_worth=st.none() | st.floats(0.001, 10),
    lifetime_s=st.floats(600, 1e6),
    creations_per_minute=st.integers(1, 100),
)


@seed(1)
@BOUNDED
@given(observations(), rules)
def test_the_same_observation_gives_the_same_decision(observation: Observation, rule: PolicySettings) -> None:
    assert decide(observation, rule) == decide(observation, rule)


@seed(2)
@BOUNDED
@given(observations(), rules)
def test_no_decision_reserves_more_than_is_left(observation: Observation, rule: PolicySettings) -> None:
    decision = decide(observation, rule)
    reserved = sum(ask.count * ask.reserve for ask in decision.asks)
    assert reserved <= max(0.0, observation.money.left) + ROUNDING
    assert all(ask.count > 0 for ask in decision.asks)


@seed(3)
@BOUNDED
@given(observations(), rules)
def test_limits_of_pools_and_rate_hold(observation: Observation, rule: PolicySettings) -> None:
    decision = decide(observation, rule)
    for pool in observation.pools:
        count = asked(decision, pool.name)
        assert count == 0 or count + len(pool.workers) <= pool.maximum
        if pool.kind is PoolKind.CLOUD and count:
            assert count + sum(at > NOW - 60 for at in pool.asked_at) <= rule.creations_per_minute


@seed(4)
@BOUNDED
@given(observations(), rules)
def test_a_machine_that_boots_is_never_cancelled_within_boot_and_grace(
    observation: Observation, rule: PolicySettings
) -> None:
    gone = {*(decision := decide(observation, rule)).cancel, *decision.retire}
    for pool in observation.pools:
        for worker in pool.workers:
            if worker.state is WorkerState.BOOTING and worker.name in gone:
                assert NOW - worker.asked > pool.boot_s + rule.boot_grace_s


@seed(5)
@BOUNDED
@given(observations(), rules)
def test_only_workers_that_are_there_go_and_each_once(observation: Observation, rule: PolicySettings) -> None:
    decision = decide(observation, rule)
    states = {worker.name: worker for pool in observation.pools for worker in pool.workers}
    assert len({*decision.cancel, *decision.retire}) == len(decision.cancel) + len(decision.retire)
    assert all(states[name].state in (WorkerState.QUEUED, WorkerState.BOOTING) for name in decision.cancel)
    assert all(states[name].state is WorkerState.RUNNING and not states[name].tasks for name in decision.retire)


@seed(6)
@BOUNDED
@given(observations(), rules)
def test_results_always_have_a_place_to_go(observation: Observation, rule: PolicySettings) -> None:
    retired = set(decide(observation, rule).retire)
    running = [worker for pool in observation.pools for worker in pool.workers if worker.state is WorkerState.RUNNING]
    if any(worker.holds_results for worker in running):
        last_holder_goes = all(worker.name in retired for worker in running)
        assert not last_holder_goes


@seed(7)
@BOUNDED
@given(observations(), rules)
def test_every_action_has_its_reason_in_words(observation: Observation, rule: PolicySettings) -> None:
    decision = decide(observation, rule)
    told = {(note.act, note.worker or note.pool) for note in decision.notes}
    assert {(Act.ASK, ask.pool) for ask in decision.asks} <= told
    assert {(Act.CANCEL, name) for name in decision.cancel} <= told
    assert {(Act.RETIRE, name) for name in decision.retire} <= told
    for language in ("en", "fr"):
        lines = explain(decision, language)
        assert len(lines) == max(1, len(decision.notes))
        assert all("{" not in line for line in lines)


@seed(8)
@BOUNDED
@given(observations(), rules)
def test_a_decision_whose_rows_are_written_is_not_taken_again(observation: Observation, rule: PolicySettings) -> None:
    roomy = dataclasses.replace(rule, creations_per_minute=10_000)
    decision = decide(observation, roomy)
    # What is foreseen of the queue as a whole is not foreseen of the jobs in it; LEAVING workers free their places.
    again = decide(carried_out(observation, decision), roomy)
    assert not set(again.cancel) & set(decision.cancel)
    assert not set(again.retire) & set(decision.retire)
    if not decision.cancel and not decision.retire:
        assert again.asks == ()


@seed(9)
@BOUNDED
@given(observations(), rules, st.floats(1.0, 10.0))
def test_a_longer_wait_never_asks_for_fewer_machines(
    observation: Observation, rule: PolicySettings, factor: float
) -> None:
    # Tasks that run only together are another matter: machines for a part of them are of use, for all of them too many.
    assume(not observation.work.together)
    batch, cloud = observation.pools
    fresh = dataclasses.replace(batch, workers=(), wait=batch.wait or Wait(1000.0, 500.0, 2000.0))
    assert fresh.wait is not None
    longer = Wait(fresh.wait.median_s * factor, fresh.wait.low_s * factor, fresh.wait.high_s * factor)
    slow = dataclasses.replace(fresh, wait=longer)
    before, after = (
        asked(decide(dataclasses.replace(observation, pools=(pool, cloud)), rule), "cloud") for pool in (fresh, slow)
    )
    assert before <= after


@seed(10)
@BOUNDED
@given(observations(), rules, st.floats(0, 100))
def test_more_budget_never_asks_for_fewer_machines(observation: Observation, rule: PolicySettings, more: float) -> None:
    budget = observation.money.budget
    richer = dataclasses.replace(observation.money, budget=None if budget is None else budget + more)
    before, after = (
        asked(decide(dataclasses.replace(observation, money=money), rule), "cloud")
        for money in (observation.money, richer)
    )
    assert before <= after


@seed(11)
@BOUNDED
@given(observations(), rules, st.integers(1, 100))
def test_more_tasks_never_ask_for_fewer_batch_workers(
    observation: Observation, rule: PolicySettings, more: int
) -> None:
    work = observation.work
    busier = dataclasses.replace(work, tasks=work.tasks + more, empty_since=None)
    before, after = (decide(dataclasses.replace(observation, work=w), rule) for w in (work, busier))
    # Without any task, one worker may be asked for to take over the results of machines; with tasks, they stay there.
    anchors = sum(note.key == "anchor" for note in before.notes)
    assert asked(before, "cluster") - anchors <= asked(after, "cluster")


# --- histories ------------------------------------------------------------------------------------------------------


@dataclass
class Cluster:
    """A cluster in short: machines boot, work, fail and are forgotten by a crash, but not by the ledger."""

    budget: float
    flavour: CloudFlavour
    quantum_s: float
    now: float = NOW
    rows: dict[str, Charge] = field(default_factory=dict)
    ready: dict[str, float] = field(default_factory=dict)
    boot_s: float = 100.0
    removed: list[tuple[str, float]] = field(default_factory=list)

    def observed(self, tasks: int) -> Observation:
        machines = tuple(self._worker(name, tasks) for name, row in self.rows.items() if row.gone is None)
        cloud = Pool(
            "cloud",
            PoolKind.CLOUD,
            maximum=50,
            workers=machines,
            flavours=(self.flavour,),
            quantum_s=self.quantum_s,
            boot_s=self.boot_s,
            asked_at=tuple(row.asked for row in self.rows.values()),
        )
        batch = Pool("cluster", PoolKind.BATCH, maximum=0)
        work = Work(tasks, median_task_s=900.0, empty_since=None if tasks else self.now - 100)
        return Observation(self.now, work, (batch, cloud), money_of(self.rows.values(), self.budget))

    def _worker(self, name: str, tasks: int) -> Worker:
        row = self.rows[name]
        up = self.ready[name] <= self.now
        return Worker(
            name,
            WorkerState.RUNNING if up else WorkerState.BOOTING,
            row.asked,
            self.flavour.cores,
            since=self.ready[name] if up else row.asked,
            idle_since=self.ready[name] if up and not tasks else None,
            tasks=1 if up and tasks else 0,
            ends=row.asked + row.lifetime_s,
        )

    def write_rows(self, decision: Decision) -> None:
        for ask in decision.asks:
            if ask.pool != "cloud":
                continue
            for _ in range(ask.count):
                name = f"cloud-{len(self.rows)}"
                price = self.flavour.price_per_hour
                self.rows[name] = Charge(self.now, ask.lifetime_s or 0.0, price, self.quantum_s)
                self.ready[name] = self.now + self.boot_s

    def remove(self, decision: Decision) -> None:
        for name in (*decision.cancel, *decision.retire):
            self.rows[name] = dataclasses.replace(self.rows[name], gone=self.now)
            self.removed.append((name, self.now))

    def pass_time(self, seconds_passed: float) -> None:
        self.now += seconds_passed
        for name, row in self.rows.items():
            if row.gone is None and row.asked + row.lifetime_s <= self.now:
                self.rows[name] = dataclasses.replace(row, gone=row.asked + row.lifetime_s)


steps = st.lists(
    st.tuples(st.integers(0, 200), st.floats(1, 4000), st.sampled_from(["act", "act", "crash", "only rows", "lost"])),
    max_size=40,
)


@seed(12)
@BOUNDED
@given(
    steps,
    st.floats(0, 20),
    st.builds(CloudFlavour, st.just("a"), st.integers(1, 16), st.floats(0.01, 2)),
    st.sampled_from([60.0, 3600.0]),
)
def test_the_budget_is_never_exceeded_and_no_machine_is_killed_young(
    history: list[tuple[int, float, str]], budget: float, flavour: CloudFlavour, quantum_s: float
) -> None:
    cluster = Cluster(budget, flavour, quantum_s)
    for tasks, passed, fate in history:
        decision = decide(cluster.observed(tasks))
        if fate != "crash":
            # A crash after the rows: the machines exist or not, and count in any case.
            cluster.write_rows(decision)
        if fate == "act":
            cluster.remove(decision)
        if fate == "lost" and cluster.rows:
            name = next(reversed(cluster.rows))
            cluster.rows[name] = dataclasses.replace(cluster.rows[name], gone=cluster.rows[name].gone or cluster.now)
        cluster.pass_time(passed)
        money = money_of(cluster.rows.values(), budget)
        assert money.spent + money.reserved <= budget + ROUNDING
    for name, at in cluster.removed:
        assert at - cluster.rows[name].asked >= cluster.boot_s


@pytest.mark.parametrize("crashes", [1, 5])
def test_a_decision_repeated_after_crashes_spends_nothing_twice(crashes: int) -> None:
    cluster = Cluster(1.0, CloudFlavour("a", 4, 0.5), HOUR)
    for _ in range(crashes + 1):
        cluster.write_rows(decide(cluster.observed(400)))
    money = money_of(cluster.rows.values(), 1.0)
    assert 0 < money.reserved <= 1.0 + ROUNDING
