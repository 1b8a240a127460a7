"""What the hybrid cluster's policy makes of a real trace, beside simpler rules at no lower cost and a lower bound.

Everything below this line was fixed before any of it was run. The policy was tuned on the *first* half of the trace at
loads 1, 1.5, 2 and 3; what is reported is its *second* half at other loads.
"""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import replace
from pathlib import Path

from springtide.cluster.simulate.bound import Bound, lower_bound
from springtide.cluster.simulate.compare import figures_of
from springtide.cluster.simulate.figures import Figures
from springtide.cluster.simulate.rules import DEFAULT_RULES, rule_named
from springtide.cluster.simulate.swf import Trace, read_trace
from springtide.cluster.simulate.world import World
from tests.benches.report import QUICK, Report, Table, repetitions, spread

_TRACE = Path(__file__).parents[1] / "data" / "hpc2n.swf"
_LOADS = (1.25,) if QUICK else (1.25, 1.75, 2.5)
_SEED = 20261126
_WORTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0, 1e6)
_BASELINES = tuple(name for name in DEFAULT_RULES if not name.startswith("springtide"))
_MANY_JOBS = 5_000 if QUICK else 100_000
_MANY_LOAD = 1.75
_NOTE = """\
The second half of an excerpt of the HPC2N trace ({jobs} jobs, 240 cores; Parallel Workloads Archive, thanks to Åke
Sandgren), its jobs submitted so many times as fast. {machines} Springtide is run with each of {worths} worths of a
slowdown; beside a rule stands the fastest of those runs that costs no more than the rule does, so that a ratio below 1
is a lower mean bounded slowdown for the same money or less. The queue alone costs nothing, and for nothing the policy
can only be the queue: no row. Bound: what no schedule at the rule's cost can be below, even one that knows the future
and is not bound to the queue's order; how near to it one can come is not known."""
_DEFAULT_NOTE = """\
The policy as `springtide simulate` sets it, at a worth of 10 chosen on the first half, beside the two rules that are
nearest to it and the queue alone."""
_SPEED_NOTE = """\
{jobs} jobs drawn with replacement from the whole trace at load {load}, seed {seed}: replayed through the policy, n =
{n}. Reading a trace and computing the bound are not in it."""
_MACHINES = """\
Machines of 4 or 16 cores at 0.04 a core-hour (an invented price), billed by the minute from the request on, ready after
3 min and 10 s a core for the data. Queue: EASY backfill by the walltimes asked for; it has no limits a user and no fair
share, so its waits are not those that the real cluster had."""


def bench_policy() -> None:
    report = Report("policy")
    part = _second_half()
    world = World()
    equal: list[tuple[str, ...]] = []
    usual: list[tuple[str, ...]] = []
    for load in _LOADS:
        trace = part.scaled(load)
        ours = [figures_of(trace, rule_named(f"springtide:{worth:g}"), world) for worth in _WORTHS]
        theirs = [figures_of(trace, rule_named(name, _SEED), world) for name in _BASELINES]
        bound = lower_bound(trace, world, [(one.bounded_slowdown_mean, one.cost) for one in (*ours, *theirs)])
        equal += [_at_no_more_cost(trace, other, ours, bound) for other in theirs if other.cost]
        usual += _as_it_is_set(trace, theirs, bound, world)
    head = ("load, rule", "its slowdown", "its cost", "ours", "our cost", "ratio", "bound")
    report.add(Table(head, equal))
    report.add(_NOTE.format(jobs=f"{len(part.jobs):,}", machines=_MACHINES.replace("\n", " "), worths=len(_WORTHS)))
    report.add(Table(("load, rule", "slowdown", "wait p50, min", "wait p95, min", "cost", "idle", "bound"), usual))
    report.add(_DEFAULT_NOTE)
    report.add(_speed_table(world))
    report.add(_SPEED_NOTE.format(jobs=f"{_MANY_JOBS:,}", load=_MANY_LOAD, seed=_SEED, n=repetitions(3)))
    report.publish()


def _second_half() -> Trace:
    trace = read_trace(_TRACE)
    return trace.part(len(trace.jobs) // 2, len(trace.jobs))


def _at_no_more_cost(trace: Trace, other: Figures, ours: list[Figures], bound: Bound) -> tuple[str, ...]:
    payable = [one for one in ours if one.cost <= other.cost]
    first = (f"{trace.load:.2f}, {other.name}", f"{other.bounded_slowdown_mean:.2f}", f"{other.cost:.0f}")
    least = f"{bound.at(other.cost):.2f}"
    if not payable:
        return (*first, "–", "–", "–", least)
    best = min(payable, key=lambda one: one.bounded_slowdown_mean)
    quotient = best.bounded_slowdown_mean / other.bounded_slowdown_mean
    return (*first, f"{best.bounded_slowdown_mean:.2f}", f"{best.cost:.0f}", f"{quotient:.2f}", least)


def _as_it_is_set(trace: Trace, theirs: list[Figures], bound: Bound, world: World) -> list[tuple[str, ...]]:
    shown = [figures_of(trace, rule_named("springtide"), world)]
    shown += [one for one in theirs if one.name in ("batch-only", "no-free-slot", "adaptive")]
    return [
        (
            f"{trace.load:.2f}, {one.name}",
            f"{one.bounded_slowdown_mean:.2f}",
            f"{one.wait_p50_s / 60:.0f}",
            f"{one.wait_p95_s / 60:.0f}",
            f"{one.cost:.0f}",
            f"{one.vm_idle_fraction:.0%}",
            f"{bound.at(one.cost):.2f}",
        )
        for one in shown
    ]


def _speed_table(world: World) -> Table:
    trace = _many_jobs()
    times = []
    for _ in range(repetitions(3)):
        began = time.perf_counter()
        figures_of(trace, rule_named("springtide"), world)
        times.append(time.perf_counter() - began)
    return Table(("jobs", "replayed in, s"), [(f"{len(trace.jobs):,}", spread(times, 1))])


def _many_jobs() -> Trace:
    """Return as many jobs as wanted, and gaps between them, each drawn from those of the trace."""
    trace, chance = read_trace(_TRACE), random.Random(_SEED)
    gaps = [second.submitted - first.submitted for first, second in itertools.pairwise(trace.jobs)]
    submitted = itertools.accumulate(chance.choices(gaps, k=_MANY_JOBS))
    drawn = zip(chance.choices(trace.jobs, k=_MANY_JOBS), submitted, strict=True)
    jobs = tuple(replace(job, number=number, submitted=at) for number, (job, at) in enumerate(drawn))
    return replace(trace, jobs=jobs).scaled(_MANY_LOAD)
