"""A list of jobs that a notebook shows as a live table, and anything else as text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import springtide
from springtide.jobs.job import Job


class Jobs(list[Job]):
    """Jobs, the newest first."""

    def __repr__(self) -> str:
        return "\n".join(f"{job.token}  {job.application}  {job.site}" for job in self) or "[]"

    def _repr_mimebundle_(self, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None) -> Any:
        """Return the live table; below it what is shown where there are no widgets."""
        bundle = {"text/plain": repr(self), "text/html": f"<pre>{escape(repr(self))}</pre>"}
        try:
            # What is drawn lies above what is listed, and is not installed on every node.
            table = springtide.jobs_table()
        except ImportError:
            return bundle
        return {**table._repr_mimebundle_(), **bundle}
