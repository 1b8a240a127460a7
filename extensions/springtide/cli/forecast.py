"""When a job may be expected to start, told before it is submitted."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from springtide.cli.sites import OpenSite
from springtide.errors import QueueUnreachable
from springtide.queues.expected.estimate import Suggestion, estimate, sooner
from springtide.queues.model import Estimate, JobRequest, JobState
from springtide.queues.monitor import SiteFacts
from springtide.texts import Translate
from springtide.units import describe_duration, format_memory

_HISTORY_S = 90 * 86400
_MOST_WAITS = 2000
# Less than this is "at once" for who waits for a batch queue.
_AT_ONCE_S = 60.0
_SHOWN = (
    ("nodes", "cli.what_nodes", str),
    ("cores", "cli.what_cores", str),
    ("memory_bytes", "cli.what_memory", format_memory),
    ("walltime_s", "cli.what_walltime", describe_duration),
    ("queue", "cli.what_queue", str),
)


@dataclass(frozen=True)
class Foreseen:
    """What is expected of a request, and of smaller or shorter ones."""

    at: float
    """When it was foreseen, in seconds since 1970."""
    estimate: Estimate | None
    suggestions: tuple[Suggestion, ...] = ()

    @property
    def as_times(self) -> dict[str, float]:
        """The interval as the ledger keeps it, so that it can be compared with what came true."""
        if self.estimate is None:
            return {}
        found = self.estimate
        return {
            "expected_start_low": self.at + found.low_s,
            "expected_start": self.at + found.median_s,
            "expected_start_high": self.at + found.high_s,
        }


async def foresee(site: OpenSite, request: JobRequest, facts: SiteFacts) -> Foreseen:
    """Return when `request` may be expected to start; a scheduler that has no forecast leaves it to the past."""
    now = time.time()
    forecast: float | None = None
    waiting = 0
    try:
        forecast = await site.queue.try_start(request)
        jobs = (await site.monitor.snapshot()).jobs.values()
        queued = (job for job in jobs if job.state is JobState.QUEUED)
        waiting = sum(not request.queue or job.queue == request.queue for job in queued)
    except QueueUnreachable:
        pass
    waits = await asyncio.to_thread(site.ledger.waits, site.name, since=now - _HISTORY_S, limit=_MOST_WAITS)
    found = estimate(request, now=now, nodes=facts.nodes, waits=waits, forecast=forecast, waiting_jobs=waiting)
    if found is None or found.high_s <= _AT_ONCE_S:
        return Foreseen(now, found)
    better = sooner(request, nodes=facts.nodes, queues=facts.queues, waits=waits, now=now, forecast=forecast)
    return Foreseen(now, found, tuple(better))


def in_words(foreseen: Foreseen, request: JobRequest, text: Translate) -> list[str]:
    """Return what is foreseen of `request`, a sentence a line; empty where nothing is known."""
    found = foreseen.estimate
    if found is None:
        return []
    if found.high_s <= _AT_ONCE_S:
        return [text("cli.starts_now")]
    median, low, high = (describe_duration(seconds) for seconds in (found.median_s, found.low_s, found.high_s))
    lines = [text("cli.starts_in", median=median, low=low, high=high)]
    for suggestion in foreseen.suggestions:
        soon = describe_duration(suggestion.estimate.median_s)
        lines.append(text("cli.would_start_sooner", median=soon, change=_change(request, suggestion.request, text)))
    return lines


def _change(request: JobRequest, other: JobRequest, text: Translate) -> str:
    changes = []
    for field, key, show in _SHOWN:
        before, now = getattr(request, field), getattr(other, field)
        if before != now:
            changes.append(text("cli.change_of", what=text(key), now=show(now), before=show(before) if before else "–"))
    return ", ".join(changes)
