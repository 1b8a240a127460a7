"""When a job may be expected to start, in words."""

from __future__ import annotations

from springtide.queues.foreseeing import AT_ONCE_S, Foreseen, foresee
from springtide.queues.model import JobRequest
from springtide.texts import Translate
from springtide.units import describe_duration, format_memory

__all__ = ["Foreseen", "foresee", "in_words"]

_SHOWN = (
    ("nodes", "cli.what_nodes", str),
    ("cores", "cli.what_cores", str),
    ("memory_bytes", "cli.what_memory", format_memory),
    ("walltime_s", "cli.what_walltime", describe_duration),
    ("queue", "cli.what_queue", str),
)


def in_words(foreseen: Foreseen, request: JobRequest, text: Translate) -> list[str]:
    """Return what is foreseen of `request`, a sentence a line; empty where nothing is known."""
    found = foreseen.estimate
    if found is None:
        return []
    if found.high_s <= AT_ONCE_S:
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
