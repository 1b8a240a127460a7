"""The figure of the application instrument-noise, of one run or of all runs of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

_FEW = 8
_SHOWN_HZ = (7e-4, 0.2)


def psd(runs: Sequence[Any]) -> Figure:
    """Return the spectrum of each run, their mean where there are several, model and requirement."""
    tables = [np.loadtxt(Path(run.folder, "spectrum.csv"), delimiter=",", skiprows=1).T for run in runs]
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    for run, table in zip(runs, tables, strict=True):
        several = len(runs) > 1
        label = None if len(runs) > _FEW else f"seed {run.parameters['seed']}"
        axes.loglog(table[0], np.sqrt(table[1]), linewidth=0.7, alpha=0.5 if several else 1, label=label)
    f, _, model, required = tables[0]
    if len(runs) > 1 and all(len(table[0]) == len(f) for table in tables):
        mean = np.mean([table[1] for table in tables], axis=0)
        axes.loglog(f, np.sqrt(mean), color="black", label=f"mean of {len(runs)} runs")
    axes.loglog(f, np.sqrt(model), ":", color="tab:green", label="model of this instrument")
    axes.loglog(f, np.sqrt(required), "--", color="tab:red", label="mission requirement")
    axes.set(
        title="LISA instrument noise after time-delay interferometry",
        xlabel="Frequency [Hz]",
        ylabel="Fractional frequency noise of X₂ [1/√Hz]",
        xlim=(max(_SHOWN_HZ[0], f[0]), min(_SHOWN_HZ[1], f[-1])),
    )
    inside = (f >= _SHOWN_HZ[0]) & (f <= _SHOWN_HZ[1])
    if inside.any():
        axes.set_ylim(np.sqrt(np.median(model[inside])) / 1e3, np.sqrt(model[inside].max()) * 10)
    axes.grid(True, which="major", alpha=0.4)
    axes.legend()
    return figure
