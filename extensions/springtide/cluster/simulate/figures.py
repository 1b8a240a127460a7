"""What came out of a replay, in figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from springtide.cluster.grow_cloud import SHORTEST_RUN_S
from springtide.cluster.simulate.replay import CLOUD, Outcome


@dataclass(frozen=True)
class Figures:
    """How good and how dear a rule was on a trace."""

    name: str
    bounded_slowdown_mean: float
    wait_mean_s: float
    wait_p50_s: float
    wait_p95_s: float
    cost: float
    vm_idle_fraction: float
    """Of the machine time that was paid for: what was boot, transfer, rest of a billing step, or for nothing."""
    cloud_fraction: float
    """Of the jobs."""
    machines: int
    seconds: float = 0.0
    """That the replay took."""


def bounded_slowdown(waited_s: float, run_s: float, shortest_s: float = SHORTEST_RUN_S) -> float:
    """Return how many times longer a job took than it ran; a run counts as no shorter than `shortest_s`.

    Feitelson, Rudolph, Schwiegelshohn, Sevcik, Wong: "Theory and Practice in Parallel Job Scheduling", JSSPP 1997.
    """
    return max(1.0, (waited_s + run_s) / max(run_s, shortest_s))


def figures(name: str, outcomes: Sequence[Outcome], seconds: float = 0.0) -> Figures:
    """Return the figures of a replay of some jobs."""
    waits = sorted(outcome.waited_s for outcome in outcomes)
    billed_s = math.fsum(outcome.billed_s for outcome in outcomes)
    used_s = math.fsum(outcome.used_s for outcome in outcomes)
    return Figures(
        name,
        statistics.fmean(bounded_slowdown(outcome.waited_s, outcome.job.run_s) for outcome in outcomes),
        statistics.fmean(waits),
        quantile(waits, 0.5),
        quantile(waits, 0.95),
        math.fsum(outcome.cost for outcome in outcomes),
        max(0.0, 1 - used_s / billed_s) if billed_s else 0.0,
        sum(outcome.place == CLOUD for outcome in outcomes) / len(outcomes),
        sum(outcome.machines for outcome in outcomes),
        seconds,
    )


def quantile(ordered: Sequence[float], level: float) -> float:
    """Return a quantile of sorted numbers: the least that `level` of them do not exceed."""
    return ordered[max(0, math.ceil(level * len(ordered)) - 1)]
