"""What nobody can do better, not even who knows the future: a lower bound on the mean bounded slowdown at a given cost.

The relaxation. Every job j (p cores, run time r, submitted at s) either starts in the queue at some S ≥ s, or in the
cloud after its boot and transfer for its least cost c. All that is kept of the cluster is that no more than P cores are
busy at any time; that is priced instead of enforced (Lagrangian relaxation of the time-indexed formulation: Dyer,
Wolsey, "Formulating the single machine sequencing problem with release dates as a mixed integer program", Discrete
Applied Mathematics 26, 1990; Fisher, "The Lagrangian Relaxation Method", Management Science 27, 1981). For *any* prices
λ(t) ≥ 0 of a core-second and μ ≥ 0 of money, in slowdowns,

    L(λ, μ) = Σ_j min( min over S ≥ s of b_j(S − s) + p ∫_S^{S+r} λ,  b_j(boot + transfer) + μ c ) − P ∫ λ

with b_j(w) = max(1, (w + r) / max(r, τ)), and any schedule of n jobs that costs C has a mean bounded slowdown of at
least (L(λ, μ) − μ C) / n, and of at least 1. Good prices are found by subgradient steps of Polyak's length (1969); bad
ones only make the bound weaker, never wrong. No random number is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from springtide.clouds.money import cost_of
from springtide.cluster.simulate.figures import bounded_slowdown
from springtide.cluster.simulate.swf import Trace, TraceJob
from springtide.cluster.simulate.world import World

MONEY_PRICES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0, 1e6)
"""In slowdowns, summed over jobs, per unit of money; the last stands for "no machines at all"."""
_STEPS = 25
# So that a hundred thousand jobs do not take an hour: fewer steps, a weaker bound.
_MOST_VISITS = 300_000
_LEAST_STEPS = 2
_MOST_BINS = 4000
_LEAST_BIN_S = 600.0
_HALVE_AFTER = 3
# How far above the best L found the next is hoped for, as a share of it, at first.
_GAIN = 0.3


@dataclass(frozen=True)
class Line:
    """One proved inequality: mean bounded slowdown ≥ `at_no_cost` − `per_money` × cost."""

    at_no_cost: float
    per_money: float


@dataclass(frozen=True)
class Bound:
    """The lower bound as a function of the cost: the highest of its lines."""

    lines: tuple[Line, ...]

    def at(self, cost: float) -> float:
        """Return the least mean bounded slowdown that any schedule of this cost can have."""
        return max(1.0, *(line.at_no_cost - line.per_money * cost for line in self.lines))


def lower_bound(
    trace: Trace, world: World, reached: Sequence[tuple[float, float]], prices: Sequence[float] = MONEY_PRICES
) -> Bound:
    """Return the bound for `trace`.

    Parameters
    ----------
    reached : sequence of (float, float)
        Mean bounded slowdown and cost of some schedules: they guide the length of the steps, and nothing else.
    """
    number = len(trace.jobs)
    steps = max(_LEAST_STEPS, min(_STEPS, _MOST_VISITS // (number * len(prices))))
    lines = []
    core_prices: list[float] | None = None
    for price in prices:
        target = min(number * slowdown + price * cost for slowdown, cost in reached)
        relaxation = _Relaxation(trace, world, price, core_prices)
        lines.append(Line(relaxation.best(target, steps) / number, price / number))
        # The dearer money is, the higher is L at the same prices of cores: what is found next is no lower.
        core_prices = relaxation.prices
    return Bound(tuple(lines))


class _Relaxation:
    """L(·, μ) for one μ; λ is constant within bins, and 0 after the last."""

    def __init__(self, trace: Trace, world: World, price: float, prices: list[float] | None = None) -> None:
        self.trace, self.price = trace, price
        work_s = sum(job.cores * job.run_s for job in trace.jobs) / trace.cores
        horizon_s = trace.jobs[-1].submitted + work_s + max(job.run_s for job in trace.jobs)
        self.bin_s = max(_LEAST_BIN_S, horizon_s / _MOST_BINS)
        self.prices = prices or [0.0] * (int(horizon_s / self.bin_s) + 2)
        self.sums = [0.0] * (len(self.prices) + 1)
        self.in_cloud = [_in_cloud(job, world, price) for job in trace.jobs]

    def best(self, target: float, steps: int) -> float:
        """Return the highest L found in so many steps, and leave its prices; no L can exceed `target`."""
        best, best_prices, since, pace = -math.inf, self.prices, 0, 1.0
        best_excess: list[float] = []
        for _ in range(steps):
            value, excess = self._solve()
            if value > best:
                best, best_prices, since = value, self.prices, 0
            else:
                since += 1
                if since >= _HALVE_AFTER:
                    pace, since = pace / 2, 0
                    self.prices, value, excess = best_prices, best, best_excess
            if value == best:
                best_excess = excess
            square = sum(over * over for price, over in zip(self.prices, excess, strict=True) if price > 0 or over > 0)
            aim = min(target, best + pace * _GAIN * max(best, float(len(self.trace.jobs))))
            if square <= 0 or aim <= value:
                break
            step = (aim - value) / square
            self.prices = [max(0.0, price + step * over) for price, over in zip(self.prices, excess, strict=True)]
        self.prices = best_prices
        return best

    def _solve(self) -> tuple[float, list[float]]:
        """Return L at the present prices, and how many core-seconds are asked for beyond what there is, bin by bin."""
        total = 0.0
        for number, price in enumerate(self.prices):
            self.sums[number] = total
            total += price * self.bin_s
        self.sums[-1] = total
        supply = self.trace.cores * self.bin_s
        excess = [-supply] * len(self.prices)
        value = -self.trace.cores * total
        for job, in_cloud in zip(self.trace.jobs, self.in_cloud, strict=True):
            found, start = self._cheapest_start(job, in_cloud)
            value += found
            if start is not None:
                self._occupy(excess, job, start)
        return value, excess

    def _cheapest_start(self, job: TraceJob, in_cloud: float) -> tuple[float, float | None]:
        """Return the least a job adds to L, and when it then starts; None: in the cloud.

        Between the edges of bins, before its start and after its end, everything is linear: only edges are looked at.
        """
        begin, run_s, cores = job.submitted, job.run_s, job.cores
        least, start = bounded_slowdown(0.0, run_s) + cores * self._between(begin, run_s), begin
        scale = max(run_s, 10.0)
        edge = int(begin / self.bin_s) + 1
        ending = int((begin + run_s) / self.bin_s) + 1
        last = len(self.prices) * self.bin_s
        while least > 1.0:
            first_s, second_s = edge * self.bin_s, ending * self.bin_s - run_s
            if first_s <= second_s:
                at = first_s
                edge += 1
            else:
                at = second_s
                ending += 1
            slowdown = max(1.0, (at - begin + run_s) / scale)
            if slowdown >= least or at > last:
                break
            value = slowdown + cores * self._between(at, run_s)
            if value < least:
                least, start = value, at
        # A run shorter than the shortest that counts may wait a little for nothing.
        free_s = scale - run_s
        if free_s > 0 and (value := 1.0 + cores * self._between(begin + free_s, run_s)) < least:
            least, start = value, begin + free_s
        return (least, start) if least <= in_cloud else (in_cloud, None)

    def _between(self, begin: float, run_s: float) -> float:
        """Return the integral of the prices over a run."""
        return self._until(begin + run_s) - self._until(begin)

    def _until(self, moment: float) -> float:
        number = int(moment / self.bin_s)
        if number >= len(self.prices):
            return self.sums[-1]
        return self.sums[number] + (moment - number * self.bin_s) * self.prices[number]

    def _occupy(self, excess: list[float], job: TraceJob, start: float) -> None:
        end = start + job.run_s
        for number in range(int(start / self.bin_s), min(len(excess), int(end / self.bin_s) + 1)):
            begin_bin = number * self.bin_s
            excess[number] += job.cores * max(0.0, min(end, begin_bin + self.bin_s) - max(start, begin_bin))


def _in_cloud(job: TraceJob, world: World, price: float) -> float:
    ready_s = world.ready_s(job.cores)
    cost = min(
        math.ceil(job.cores / flavour.cores) * cost_of(ready_s + job.run_s, flavour.price_per_hour, world.quantum_s)
        for flavour in world.flavours
    )
    return bounded_slowdown(ready_s, job.run_s) + price * cost
