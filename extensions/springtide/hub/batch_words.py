"""What a batch session says of itself while it waits, and when it ends: pure functions of what is known of its job."""

from __future__ import annotations

import time
from dataclasses import dataclass

from springtide.queues.model import Estimate, JobState, Node, QueueLimits
from springtide.queues.monitor import Sight, is_waiting
from springtide.queues.reasons import explain
from springtide.texts import translator
from springtide.units import describe_duration


@dataclass(frozen=True)
class View:
    """What is known of a session's job at one moment."""

    language: str
    job_id: str = ""
    sight: Sight | None = None
    outage: str = ""
    """The scheduler's words if it could not even be given the job."""
    submitted_at: float = 0.0
    estimate: Estimate | None = None
    nodes: tuple[Node, ...] = ()
    queues: tuple[QueueLimits, ...] = ()

    @property
    def node(self) -> str:
        """The first node the job runs on; "" while it has none."""
        job = self.sight.job if self.sight else None
        return job.nodes[0] if job and job.state.placed and job.nodes else ""


def progress_of(view: View) -> tuple[int, str]:
    """Return how far a start is, in percent, and the sentence for it; "" where there is nothing to add."""
    words, sight = translator(view.language), view.sight
    if not view.job_id or sight is None:
        if view.outage:
            return 5, words("batch.outage", duration=_waited(view), words=view.outage)
        return 5, words("batch.submitting")
    if sight.outage:
        return 20, words("batch.outage", duration=describe_duration(sight.age_s), words=sight.outage)
    if sight.ended:
        return 60, ""  # why it ended is said with the failure
    if view.node:
        return 60, words("batch.running", job=view.job_id, node=view.node)
    return 20, _waiting(view)


def _waiting(view: View) -> str:
    words = translator(view.language)
    job = view.sight.job if view.sight else None
    why = explain(job, view.nodes, view.queues, view.language) if job else None
    reason = " ".join(filter(None, (why.sentence, why.advice))) if why else ""
    if job is not None and job.state is JobState.HELD:
        return words("batch.held", job=view.job_id, reason=reason)
    since = words("batch.since", duration=_waited(view))
    parts = [words("batch.waiting", job=view.job_id, since=since)]
    if view.sight and is_waiting(view.sight):
        parts += [reason, expected_words(view.estimate, view.language)]
    return " ".join(filter(None, parts))


def expected_words(estimate: Estimate | None, language: str) -> str:
    """Return when a job may be expected to start, as a sentence; "" where nothing is known."""
    if estimate is None:
        return ""
    words = translator(language)
    if estimate.high_s < 60:
        return words("batch.expected_now")
    low, median, high = (
        describe_duration(_rounded(seconds)) for seconds in (estimate.low_s, estimate.median_s, estimate.high_s)
    )
    return words("batch.expected", median=median, low=low, high=high)


def _rounded(seconds: float) -> float:
    """Return `seconds` no finer than a forecast deserves, so that the page does not change at each look."""
    step = 60 if seconds < 3600 else 600 if seconds < 86400 else 3600
    return max(step, step * round(seconds / step))


def _waited(view: View) -> str:
    """Return how long the user has waited, rounded so that the page does not change every second."""
    waited_s = max(0.0, time.time() - view.submitted_at)
    return describe_duration(waited_s - waited_s % (60 if waited_s > 60 else 10))
