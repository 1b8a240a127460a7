"""Small traces for tests, and the real one."""

from __future__ import annotations

from pathlib import Path

from springtide.cluster.simulate.swf import Trace, TraceJob

HPC2N = Path(__file__).parents[2] / "data" / "hpc2n.swf"


def job(number: int, submitted: float, run_s: float, cores: int = 1, requested_s: float | None = None) -> TraceJob:
    return TraceJob(number, submitted, run_s, cores, run_s if requested_s is None else requested_s, 1)


def trace(*jobs: TraceJob, cores: int = 4) -> Trace:
    return Trace("small", cores, jobs)


def line(number: int, submitted: float, run_s: float, cores: int, requested_s: float) -> str:
    return f"{number} {submitted} 0 {run_s} {cores} -1 -1 {cores} {requested_s} -1 1 1 1 -1 -1 1 -1 -1"
