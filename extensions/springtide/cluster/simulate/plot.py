"""The Pareto plot: what each rule costs and how slow its jobs are, beside what nobody can do better."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from springtide.cluster.explain import CURRENCY
from springtide.cluster.simulate.compare import Comparison
from springtide.errors import TraceError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE_INCHES = (9.0, 5.0)
_DOTS_PER_INCH = 150
_MARKERS = "osD^vP"


def check_format(file: Path) -> None:
    """Make sure that a plot can be written under this name, before anything is computed for it.

    Raises
    ------
    TraceError
        If matplotlib is not installed, knows no such format, or there is no such folder.
    """
    formats = _figure().canvas.get_supported_filetypes()
    if file.suffix.removeprefix(".").lower() not in formats:
        raise TraceError(f"A plot cannot be written as “{file.name}”.", f"Endings: {', '.join(sorted(formats))}.")
    if not file.absolute().parent.is_dir():
        raise TraceError(f"{file} cannot be written: there is no folder {file.absolute().parent}.")


def plot(comparison: Comparison, file: Path) -> None:
    """Write the plot; the ending of the name is its format.

    Raises
    ------
    TraceError
        If matplotlib is not installed, or the file cannot be written.
    """
    drawing = _figure()
    axes = drawing.add_subplot()
    # Names stand in the legend: points lie too near to one another for names beside them.
    for number, policy in enumerate(comparison.policies):
        ours = policy.name.startswith("springtide")
        marker = "*" if ours else _MARKERS[number % len(_MARKERS)]
        size = 14 if ours else 7
        axes.plot(policy.cost, policy.bounded_slowdown_mean, marker, ms=size, alpha=0.8, label=policy.name)
    costs, least = zip(*comparison.curve(), strict=True)
    axes.plot(costs, least, color="grey", ls="--", label="clairvoyant lower bound")
    axes.set_yscale("log")
    axes.set_xlabel(f"cost of machines ({CURRENCY})")
    axes.set_ylabel("mean bounded slowdown (times the run)")
    trace = comparison.trace
    axes.set_title(f"{trace.name}: {len(trace.jobs):,} jobs, load {trace.load:.2f}")
    axes.grid(alpha=0.3, which="both")
    drawing.legend(loc="outside right upper")
    try:
        drawing.savefig(file)
    except OSError as error:
        raise TraceError(f"{file} cannot be written: {error.strerror}.") from None


def _figure() -> Figure:
    # No one who does not plot has to have matplotlib.
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise TraceError("A plot needs matplotlib.", "pip install matplotlib, or leave out --plot.") from None
    return Figure(figsize=_SIZE_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
