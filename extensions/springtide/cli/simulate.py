"""``springtide simulate``: what the hybrid cluster's policy, or a simpler rule, makes of a workload trace."""

from __future__ import annotations

import json
import math
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from springtide.cluster.explain import CURRENCY
from springtide.cluster.observation import CloudFlavour
from springtide.cluster.simulate.compare import Comparison, compare
from springtide.cluster.simulate.plot import check_format, plot
from springtide.cluster.simulate.rules import DEFAULT_RULES, RULE_FORMS, rule_named
from springtide.cluster.simulate.swf import Trace, read_trace
from springtide.cluster.simulate.world import World
from springtide.units import describe_duration, parse_walltime

_GB, _MB = 1e9, 1e6
_FLAVOUR_CORES = (4, 16)
_HEADINGS = ("policy", "bounded slowdown", "bound", "wait p50", "wait p95", f"cost, {CURRENCY}", "idle", "in cloud")


def _finite(context: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


def _duration(context: click.Context, param: click.Parameter, value: str) -> float:
    try:
        return float(parse_walltime(value))
    except ValueError as error:
        raise click.BadParameter(f"“{value}” is not a duration: {error}") from None


_FROM_0 = click.FloatRange(min=0)
_ABOVE_0 = click.FloatRange(min=0, min_open=True)


@click.command()
@click.argument("file", metavar="TRACE", type=click.Path(path_type=Path))
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME",
    help=f"Replay with this one only; may be given several times: {', '.join(RULE_FORMS)}.",
)
@click.option("--load", type=_ABOVE_0, callback=_finite, default=1.0, help="Submit the jobs so many times as fast.")
@click.option("--budget", type=_FROM_0, callback=_finite, help="The most that machines may cost in all.")
@click.option("--price", type=_FROM_0, callback=_finite, default=0.04, show_default=True, help="A core costs an hour.")
@click.option("--boot", callback=_duration, default="3m", show_default=True, help="A machine takes so long to boot.")
@click.option(
    "--quantum", callback=_duration, default="1m", show_default=True, help="Machines are billed in steps of it."
)
@click.option(
    "--data", type=_FROM_0, callback=_finite, default=1.0, show_default=True, help="GB to be moved for a job's core."
)
@click.option(
    "--bandwidth",
    type=_ABOVE_0,
    callback=_finite,
    default=100.0,
    show_default=True,
    help="Towards the cloud, in MB a second.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the coin of random-split.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--plot", "drawing", type=click.Path(path_type=Path, dir_okay=False), help="Draw cost against slowdown.")
def simulate(
    file: Path,
    policies: tuple[str, ...],
    load: float,
    budget: float | None,
    price: float,
    boot: float,
    quantum: float,
    data: float,
    bandwidth: float,
    seed: int,
    as_json: bool,
    drawing: Path | None,
) -> None:
    """Replay the jobs of TRACE, and say how slow and how dear they would have been.

    TRACE is a workload in the Standard Workload Format, plain or packed with gzip. The batch queue is first come first
    served with EASY backfill; each job may get machines of its own. No rule knows the future, but for the lower bound.

    WORTH is the most that the policy pays for sparing a job one wait as long as its run (by default 10): the higher,
    the faster and the dearer. DURATION is how long a job waits in the queue before machines are made for it (15m).
    """
    rules = [rule_named(name, seed) for name in dict.fromkeys(policies or DEFAULT_RULES)]
    if drawing:
        check_format(drawing)
    trace = read_trace(file).scaled(load)
    flavours = tuple(CloudFlavour(f"c{cores}", cores, cores * price) for cores in _FLAVOUR_CORES)
    world = World(flavours, boot, quantum, data * _GB, bandwidth * _MB, budget=budget)
    console = Console(stderr=True)
    with console.status("") as status:
        found = compare(trace, rules, world, lambda step: status.update(f"{trace.name}: {step} …"))
    if drawing:
        plot(found, drawing)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        _print(found)


def _print(found: Comparison) -> None:
    table = Table(*(_HEADINGS[:1]), box=None, pad_edge=False)
    for heading in _HEADINGS[1:]:
        table.add_column(heading, justify="right")
    for policy in found.policies:
        table.add_row(
            policy.name,
            f"{policy.bounded_slowdown_mean:.2f}",
            f"{found.bound.at(policy.cost):.2f}",
            describe_duration(policy.wait_p50_s),
            describe_duration(policy.wait_p95_s),
            f"{policy.cost:.2f}",
            f"{policy.vm_idle_fraction:.0%}",
            f"{policy.cloud_fraction:.0%}",
        )
    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    console.print(_described(found.trace), soft_wrap=True)
    console.print(table)
    console.print(
        "Bounded slowdown: wait and run over run, mean. Bound: no schedule of the same cost can be below, not even of "
        "one who knows the future. Idle: of the machine time paid for. No figure says what your own cluster would do.",
        soft_wrap=True,
    )


def _described(trace: Trace) -> str:
    skipped = f", {trace.skipped} skipped that never ran or do not fit" if trace.skipped else ""
    return f"{trace.name}: {len(trace.jobs):,} jobs on {trace.cores} cores, load {trace.load:.2f}{skipped}"
