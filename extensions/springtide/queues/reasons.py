"""Why a job waits, and how it ended: the scheduler's own words, put so that a scientist understands them.

What no row of `reason_words` knows is shown as the scheduler said it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from springtide.queues.demands import (
    Demand,
    Shortfall,
    at_most,
    demand_of,
    holds,
    hosts_of,
    limit_shortfalls,
    node_shortfalls,
    queue_of,
)
from springtide.queues.ends import explain_end
from springtide.queues.model import Cause, JobInfo, JobState, Node, QueueLimits
from springtide.queues.pbs.words import size_bytes
from springtide.queues.reason_words import NEVER, VAGUE, insufficient_in, kind_of, one_line
from springtide.texts import translate
from springtide.units import format_memory

__all__ = ["Explanation", "explain", "explain_end", "explain_reason"]

_WITHOUT_WORDS = {JobState.HELD: "held", JobState.WAITING: "later_or_dependency"}
_BY_CAUSE = {Cause.NEVER_RUNS: "never_runs", Cause.DEPENDENCY: "dependency_never"}
# Kinds that come with an advice of the same name that needs no figures.
_ADVISED = frozenset(
    {
        "never_runs",
        "job_limit",
        "too_long",
        "too_little",
        "node_limit",
        "deadline",
        "dependency_never",
        "no_such",
        "account",
        "qos",
        "provision",
        "limit_reached",
        "budget_spent",
        "array_limit",
        "maintenance",
        "held",
        "held_by_admin",
        "held_failed",
        "reservation_gone",
        "others_first",
        "no_share",
        "start_failed",
        "failed_before",
        "timed_out_before",
        "memory_before",
        "nodes_unfit",
    }
)
_RESOURCES = {"ncpus": "cores", "mem": "memory", "vmem": "memory", "ngpus": "gpus", "nodect": "nodes"}


@dataclass(frozen=True)
class Explanation:
    """Why a job is where it is."""

    reason: str
    """The scheduler's own words."""
    sentence: str
    """The same for a scientist; empty where there is nothing to explain."""
    advice: str
    """What its owner can do, with figures where they are known; empty where there is nothing to do."""


@dataclass(frozen=True)
class _Case:
    """A job and what is known of its site."""

    job: JobInfo
    hosts: Collection[Node]
    queues: Collection[QueueLimits]
    demand: Demand

    @property
    def usable(self) -> list[Node]:
        return [node for node in self.hosts if node.usable]


def explain_reason(words: str, language: str) -> str:
    """Return why a job waits, in `language`; empty where the scheduler gave no reason."""
    if not words:
        return ""
    kind = kind_of(words)
    return translate(language, f"reasons.{kind}") if kind else words


def explain(job: JobInfo, nodes: Collection[Node], queues: Collection[QueueLimits], language: str) -> Explanation:
    """Return why `job` waits or how it ended, and what its owner can do about it.

    Parameters
    ----------
    nodes, queues : Collection
        What the site has, as its scheduler says; either may be empty: not known.
    """
    if not job.state.alive:
        return Explanation(job.reason, explain_end(job, language), "")
    if job.state is JobState.SUSPENDED:
        return Explanation(job.reason, translate(language, "reasons.suspended"), "")
    if not job.state.waits:
        return Explanation(job.reason, "", "")
    sentence, advice = _why(_Case(job, hosts_of(nodes, job.queue, queues), queues, demand_of(job)), language)
    if job.cause is Cause.REQUEUED:
        sentence = f"{translate(language, 'reasons.requeued')} {sentence}".strip()
    return Explanation(job.reason, sentence, advice)


def _why(case: _Case, language: str) -> tuple[str, str]:
    """Return the sentence and the advice for a job that waits."""
    if shortfall := _shortfall(case):
        return shortfall.sentence(language), shortfall.advice(language)
    kind = _kind(case)
    if kind == "never_runs" and (found := insufficient_in(case.job.reason)):
        return _insufficient(*found, language)
    sentence = translate(language, f"reasons.{kind}") if kind else one_line(case.job.reason)
    if kind in _WITH_FIGURES:
        key, values = _WITH_FIGURES[kind](case)
        return sentence, translate(language, f"advice.{key}", **values) if key else ""
    return sentence, translate(language, f"advice.{kind}") if kind in _ADVISED else ""


def _kind(case: _Case) -> str:
    """Return the kind of reason, found out by figures where the words do not say."""
    job = case.job
    kind = kind_of(job.reason)
    if not kind and job.cause in _BY_CAUSE:
        return _BY_CAUSE[job.cause]
    if not kind and not job.reason:
        return _WITHOUT_WORDS.get(job.state) or _kind_by_figures(case)
    if kind == "cores_taken" and _lacks_memory_only(case):
        return "memory_taken"
    return kind


def _kind_by_figures(case: _Case) -> str:
    limits = queue_of(case.job.queue, case.queues)
    if limits and not limits.started:
        return "queue_stopped"
    if case.usable and sum(node.free_cores for node in case.usable) < case.job.cores:
        return "cores_taken"
    return ""


def _lacks_memory_only(case: _Case) -> bool:
    """Whether there are cores enough, but not memory beside them."""
    free = [replace(n, cores=n.free_cores, memory_bytes=n.free_memory_bytes) for n in case.usable if n.free_cores]
    with_cores = [node for node in free if case.demand.cores <= node.cores]
    known = all(node.memory_bytes for node in case.usable)
    enough = [node for node in with_cores if node.memory_bytes and holds(case.demand, node)]
    return known and len(with_cores) >= case.demand.nodes > len(enough)


def _shortfall(case: _Case) -> Shortfall | None:
    """Return what can never be had: by the site's figures, where the scheduler's words agree or leave it open."""
    kind = kind_of(case.job.reason)
    limits = queue_of(case.job.queue, case.queues)
    if kind in NEVER or (kind in VAGUE and case.job.cause is Cause.NEVER_RUNS):
        over = limit_shortfalls(case.demand, limits) if limits else []
        found = [*node_shortfalls(case.demand, case.hosts), *over]
        return next((one for one in found if kind != "too_long" or one.key == "over_walltime"), None)
    if kind in VAGUE and case.job.state is JobState.QUEUED:
        return next(iter(node_shortfalls(case.demand, case.hosts)), None)
    return None


def _insufficient(resource: str, asked: str, most: str, language: str) -> tuple[str, str]:
    name = translate(language, f"reasons.name_{_RESOURCES[resource]}") if resource in _RESOURCES else resource
    if _RESOURCES.get(resource) == "memory":
        asked, most = (format_memory(size_bytes(amount) or 0) for amount in (asked, most))
    sentence = translate(language, "reasons.more_than_there_is", resource=name, asked=asked, most=most)
    return sentence, translate(language, "advice.more_than_there_is", most=most, resource=name)


_Advice = tuple[str, dict[str, Any]]


def _cores_advice(case: _Case) -> _Advice:
    free = [node.free_cores for node in case.usable]
    room = sum(node.free_cores >= case.demand.cores for node in case.usable)
    if not free or room >= case.demand.nodes:
        # The nodes were looked at later than the job: there is room by now.
        return "", {}
    total = sum(node.cores for node in case.usable)
    values = {"free": sum(free), "most": max(free), "total": total, "asked": case.job.cores}
    return ("cores_taken" if any(free) else "cores_full"), values


def _memory_advice(case: _Case) -> _Advice:
    free = max((node.free_memory_bytes for node in case.usable if node.free_cores), default=0)
    if not free or not case.demand.memory_bytes:
        return "", {}
    return "memory_taken", {"asked": format_memory(case.demand.memory_bytes), "most": at_most(free)}


def _down_advice(case: _Case) -> _Advice:
    down = len(case.hosts) - len(case.usable)
    return ("nodes_down_some", {"down": down, "total": len(case.hosts)}) if down else ("nodes_down", {})


def _queue_advice(case: _Case) -> _Advice:
    others = [queue.name for queue in case.queues if queue.open and queue.started and queue.name != case.job.queue]
    return ("open_queues", {"queues": ", ".join(others)}) if others else ("queue_stopped", {})


_WITH_FIGURES: dict[str, Callable[[_Case], _Advice]] = {
    "cores_taken": _cores_advice,
    "memory_taken": _memory_advice,
    "nodes_down": _down_advice,
    "queue_stopped": _queue_advice,
}
