"""Springtide: one notebook desk over a lab's machine, its batch cluster and its cloud account.

What notebooks and scripts call::

    job = springtide.run("instrument-noise", duration="1 d", seed=range(8))
    job.wait().plot()
    springtide.launcher()
    springtide.jobs()
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Imported when they are first used: most of what imports this package needs its version only.
_LAZY = {
    "Job": "springtide.jobs.job",
    "chain": "springtide.jobs.api",
    "job": "springtide.jobs.api",
    "jobs_table": "springtide.widgets.opening",
    "launcher": "springtide.widgets.opening",
    "quotas": "springtide.jobs.api",
    "run": "springtide.jobs.api",
    "schedule": "springtide.jobs.repeating",
    "schedules": "springtide.jobs.repeating",
    "step": "springtide.jobs.api",
}


def __getattr__(name: str) -> Any:
    if name == "jobs":
        return importlib.import_module("springtide.jobs")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, "jobs"})
