"""Several rules on one trace, side by side and beside the bound."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from springtide.cluster.simulate.bound import Bound, lower_bound
from springtide.cluster.simulate.figures import Figures, figures
from springtide.cluster.simulate.replay import replay
from springtide.cluster.simulate.rules import Rule
from springtide.cluster.simulate.swf import Trace
from springtide.cluster.simulate.world import World

_CURVE_POINTS = 41


@dataclass(frozen=True)
class Comparison:
    """What came out of each rule, in the order they were asked for."""

    trace: Trace
    world: World
    policies: tuple[Figures, ...]
    bound: Bound

    @property
    def highest_cost(self) -> float:
        """Of all rules."""
        return max(policy.cost for policy in self.policies)

    def curve(self) -> list[tuple[float, float]]:
        """Return costs, up to the highest of the rules, and the bound on the mean bounded slowdown at each."""
        costs = [self.highest_cost * number / (_CURVE_POINTS - 1) for number in range(_CURVE_POINTS)]
        return [(cost, self.bound.at(cost)) for cost in dict.fromkeys(costs)]

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as plain values; times in seconds, costs in the currency of the prices."""
        trace = self.trace
        policies = [
            {**dataclasses.asdict(policy), "bound_bounded_slowdown_mean": self.bound.at(policy.cost)}
            for policy in self.policies
        ]
        return {
            "trace": {
                "name": trace.name,
                "jobs": len(trace.jobs),
                "skipped": trace.skipped,
                "cores": trace.cores,
                # JSON has no infinity: jobs that all come at once have no load.
                "load": trace.load if math.isfinite(trace.load) else None,
            },
            "world": dataclasses.asdict(self.world),
            "policies": policies,
            "bound": {
                "kind": "clairvoyant",
                # At the cost of the dearest: no rule in the list can be below.
                "bounded_slowdown_mean": self.bound.at(self.highest_cost),
                "cost": self.highest_cost,
                "without_machines": self.bound.at(0.0),
                "curve": [{"cost": cost, "bounded_slowdown_mean": least} for cost, least in self.curve()],
            },
        }


def compare(
    trace: Trace, rules: Sequence[Rule], world: World, progress: Callable[[str], None] = lambda step: None
) -> Comparison:
    """Return what comes out of each rule on `trace`.

    Parameters
    ----------
    progress : callable
        Told what begins now: the name of a rule, or “bound”.
    """
    found = []
    for rule in rules:
        progress(rule.name)
        found.append(figures_of(trace, rule, world))
    progress("bound")
    reached = [(policy.bounded_slowdown_mean, policy.cost) for policy in found]
    return Comparison(trace, world, tuple(found), lower_bound(trace, world, reached))


def figures_of(trace: Trace, rule: Rule, world: World) -> Figures:
    """Return what comes out of one rule."""
    began = time.perf_counter()
    outcomes = replay(trace, rule.decide, rule.settings, world, foresee=rule.foresees)
    return figures(rule.name, outcomes, time.perf_counter() - began)
