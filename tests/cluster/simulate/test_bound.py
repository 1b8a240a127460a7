"""The bound: below everything that can be done, and worth something where the cluster is full."""

from __future__ import annotations

import itertools

import pytest

from springtide.cluster.simulate.bound import lower_bound
from springtide.cluster.simulate.compare import compare
from springtide.cluster.simulate.figures import bounded_slowdown
from springtide.cluster.simulate.rules import DEFAULT_RULES, rule_named
from springtide.cluster.simulate.swf import Trace, read_trace
from springtide.cluster.simulate.world import World
from tests.cluster.simulate.traces import HPC2N, job, trace


@pytest.mark.parametrize("load", [1.0, 4.0])
def test_no_rule_is_below_the_bound_of_its_cost(load: float) -> None:
    part = read_trace(HPC2N).part(200, 350).scaled(load)
    found = compare(part, [rule_named(name) for name in DEFAULT_RULES], World())
    assert all(policy.bounded_slowdown_mean >= found.bound.at(policy.cost) for policy in found.policies)


def test_the_bound_falls_with_the_cost() -> None:
    bound = lower_bound(_crowd(), World(), [(20.0, 0.0)])
    values = [bound.at(cost) for cost in (0.0, 0.1, 1.0, 10.0)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(1.0, abs=0.2)


def test_nobody_can_run_a_crowd_on_one_core_fast() -> None:
    jobs = _crowd()
    best = min(_one_after_the_other(jobs, order) for order in itertools.permutations(range(len(jobs.jobs))))
    found = lower_bound(jobs, World(), [(best, 0.0)]).at(0.0)
    assert 0.5 * best < found <= best + 1e-9


def _crowd() -> Trace:
    """Return jobs of ten to seventy minutes that all come at once, to one core."""
    return trace(*(job(number, float(number), 600.0 * number) for number in range(1, 8)), cores=1)


def _one_after_the_other(jobs: Trace, order: tuple[int, ...]) -> float:
    now, total = 0.0, 0.0
    for number in order:
        one = jobs.jobs[number]
        now = max(now, one.submitted)
        total += bounded_slowdown(now - one.submitted, one.run_s)
        now += one.run_s
    return total / len(jobs.jobs)
