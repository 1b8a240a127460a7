"""Jobs replayed through the policy and through simpler rules."""

from __future__ import annotations

import pytest

from springtide.cluster.simulate.figures import figures
from springtide.cluster.simulate.replay import BATCH, CLOUD, Outcome, replay
from springtide.cluster.simulate.rules import DEFAULT_RULES, RULE_FORMS, rule_named
from springtide.cluster.simulate.swf import Trace, read_trace
from springtide.cluster.simulate.world import World
from springtide.errors import TraceError
from tests.cluster.simulate.traces import HPC2N, job, trace

HOUR = 3600.0
BUSY = trace(job(1, 0, 10 * HOUR, 4), job(2, 60, 1800, 1))
PART = read_trace(HPC2N).part(400, 800).scaled(2)


def run(what: Trace, name: str, world: World | None = None, seed: int = 0) -> list[Outcome]:
    rule = rule_named(name, seed)
    return replay(what, rule.decide, rule.settings, world or World(), foresee=rule.foresees)


@pytest.mark.parametrize("name", DEFAULT_RULES)
def test_every_job_runs_once_whatever_the_rule(name: str) -> None:
    outcomes = run(PART, name)
    assert [outcome.job for outcome in outcomes] == list(PART.jobs)
    assert all(outcome.waited_s >= 0 and outcome.cost >= 0 for outcome in outcomes)
    assert all(outcome.used_s <= outcome.billed_s + 1e-6 for outcome in outcomes)


@pytest.mark.parametrize("name", DEFAULT_RULES)
def test_the_same_seed_gives_the_same_outcomes(name: str) -> None:
    assert run(PART, name, seed=5) == run(PART, name, seed=5)


@pytest.mark.parametrize("name", ["springtide", "springtide:1000", "cloud-only", "adaptive", "no-free-slot"])
@pytest.mark.parametrize("budget", [0.0, 5.0, 40.0])
def test_no_rule_spends_more_than_the_budget(name: str, budget: float) -> None:
    assert figures(name, run(PART, name, World(budget=budget))).cost <= budget


def test_the_queue_alone_costs_nothing_and_keeps_its_order() -> None:
    first, second = run(BUSY, "batch-only")
    assert (first.waited_s, second.waited_s) == (0, 10 * HOUR - 60)
    assert (first.cost, second.cost) == (0, 0)


def test_a_job_behind_a_long_one_goes_to_the_cloud() -> None:
    first, second = run(BUSY, "springtide")
    assert (first.place, second.place) == (BATCH, CLOUD)
    assert second.waited_s == 180 + 10
    # Boot, transfer and run in whole minutes of the four-core machine.
    assert second.cost == pytest.approx(0.16 * 34 / 60)


def test_a_job_that_starts_at_once_makes_no_machine() -> None:
    (only,) = run(trace(job(1, 0, HOUR)), "springtide")
    assert (only.place, only.machines) == (BATCH, 0)


def test_where_sparing_time_is_worth_nothing_no_machine_is_made() -> None:
    assert all(outcome.place == BATCH for outcome in run(PART, "springtide:0"))


def test_cloud_only_waits_for_boot_and_transfer() -> None:
    assert {outcome.waited_s for outcome in run(BUSY, "cloud-only")} == {180 + 40, 180 + 10}


def test_waiting_first_pays_after_the_limit() -> None:
    _, second = run(BUSY, "waited:1h")
    assert second.waited_s == HOUR + 190


def test_a_slow_link_keeps_jobs_in_the_queue() -> None:
    slow = World(bandwidth_bytes_per_s=1e4)
    assert all(outcome.place == BATCH for outcome in run(BUSY, "springtide", slow))


@pytest.mark.parametrize("rule", ["random-split", "cloud-only", "no-free-slot"])
def test_a_simple_rule_is_slower_and_dearer(rule: str) -> None:
    ours, simple = figures("", run(PART, "springtide:1000")), figures("", run(PART, rule))
    assert ours.bounded_slowdown_mean < simple.bounded_slowdown_mean
    assert ours.cost < simple.cost


@pytest.mark.parametrize("name", ["none", "springtide:x", "springtide:-1", "waited:x", "random-split:2", "adaptive:1"])
def test_a_policy_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(TraceError, match="polic"):
        rule_named(name)


def test_every_form_has_a_rule() -> None:
    assert all(rule_named(form.split("[")[0]).name for form in RULE_FORMS)
