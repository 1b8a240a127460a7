"""Where a job goes that may go anywhere: where it may be expected to start first, and why, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from springtide.errors import NotSubmitted, QueueError
from springtide.queues.feasible import problems_with
from springtide.queues.foreseeing import AT_ONCE_S, Foreseen, foresee
from springtide.queues.model import JobRequest
from springtide.queues.opening import OpenSite
from springtide.texts import translator
from springtide.units import describe_duration

AUTO = "auto"


@dataclass(frozen=True)
class Candidate:
    """A site that could run a job, or why it cannot."""

    site: str
    foreseen: Foreseen | None = None
    objection: str = ""

    @property
    def start_s(self) -> float:
        """When the job may be expected to start there, in seconds from now; unknown is as late as it can be."""
        estimate = self.foreseen.estimate if self.foreseen else None
        return float("inf") if estimate is None else estimate.median_s


async def look_at(site: OpenSite, request: JobRequest, language: str, *, foreseeing: bool = True) -> Candidate:
    """Return what can be foreseen of `request` at a site; without `foreseeing`, only whether it could run there."""
    try:
        facts = await site.monitor.site()
    except QueueError as error:
        return Candidate(site.name, objection=error.message)
    if problems := problems_with(request, facts.nodes, facts.queues, language):
        return Candidate(site.name, objection=problems[0])
    return Candidate(site.name, await foresee(site, request, facts) if foreseeing else None)


def choose(candidates: Sequence[Candidate], language: str) -> tuple[Candidate, str]:
    """Return the site at which a job may be expected to start first, and the reason; of equals, the first.

    Raises
    ------
    NotSubmitted
        If none can run it; it says why of each.
    """
    text = translator(language)
    possible = [one for one in candidates if not one.objection]
    if not possible:
        objections = "\n".join(f"- {one.site}: {one.objection}" for one in candidates)
        raise NotSubmitted(f"{text('jobs.nowhere')}\n{objections}")
    best = min(possible, key=lambda one: max(AT_ONCE_S, one.start_s))
    if len(candidates) == 1:
        return best, text("jobs.only_site", site=best.site)
    parts = [start_at(one, language) for one in (best, *(one for one in candidates if one is not best))]
    return best, f"{text('jobs.chosen', site=best.site)} {'; '.join(parts)}."


def start_at(one: Candidate, language: str) -> str:
    """Return when a job may be expected to start at a site, or why it never can, in words."""
    text = translator(language)
    if one.objection:
        return text("jobs.start_impossible", site=one.site, words=one.objection.rstrip("."))
    if one.start_s == float("inf"):
        return text("jobs.start_unknown", site=one.site)
    if one.start_s <= AT_ONCE_S:
        return text("jobs.start_now", site=one.site)
    return text("jobs.start_in", site=one.site, duration=describe_duration(one.start_s))
