"""What can never run at a site, found out before it is submitted.

Only what is known counts: without nodes and queues nothing but impossible numbers is refused, and a node that is down
may come back.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from springtide.queues.demands import Demand, Shortfall, hosts_of, limit_shortfalls, node_shortfalls, queue_of
from springtide.queues.model import JobArray, JobRequest, Node, QueueLimits
from springtide.queues.scripts.values import MOST_CORES, MOST_NODES
from springtide.texts import translate
from springtide.units import describe_duration, format_memory


def _large_memory(memory_bytes: int) -> str:
    return f"{memory_bytes >> 40}T" if memory_bytes >> 40 else format_memory(memory_bytes)


_TEN_YEARS_S = 10 * 366 * 86400
# Attribute, key of its name, least, most, and how it is shown.
_SENSIBLE = (
    ("cores", "cores", 1, MOST_CORES, str),
    ("nodes", "nodes", 1, MOST_NODES, str),
    ("memory_bytes", "memory", 0, 2**60, _large_memory),
    ("walltime_s", "walltime", 0, _TEN_YEARS_S, describe_duration),
    ("gpus", "gpus", 0, 10_000, str),
    ("ranks", "ranks", 0, MOST_CORES, str),
)
_MOST_ARRAY_JOBS = 1_000_000
_SHOWN_QUEUES = 5
# Directives that choose another queue, lift its limits, or ask for other resources than the request says.
_OVERRULE = re.compile(
    r"(?:^|\s)(?:-q\b|-p\b|--partition|--qos|--reservation|-l\s*(?:select|nodes|ncpus|mem|walltime|procs|qos|advres))"
    r"|(?:^|,|\s)(?:qos|advres)="
)
_PLACE = re.compile(r"\bplace=")


def problems_with(
    request: JobRequest, nodes: Collection[Node], queues: Collection[QueueLimits], language: str
) -> list[str]:
    """Return why `request` can never run, a sentence each with figures and what to do; empty where nothing is known.

    Parameters
    ----------
    nodes, queues : Collection
        What the site has, as its scheduler says; either may be empty: not known.
    """
    if impossible := list(_impossible(request, language)):
        return impossible
    if any(_OVERRULE.search(line) for line in request.directives) or "@" in request.queue:
        return []
    if problem := _closed(request.queue, nodes, queues, language):
        return [problem]
    # Slurm takes a list of partitions, and whichever can starts the job.
    wished = request.queue.split(",")
    found = [_shortfalls(request, name, nodes, queues) for name in wished]
    if not all(found):
        return []
    elsewhere = _other_queues(request, wished, nodes, queues)
    problems = [f"{shortfall.sentence(language)} {shortfall.advice(language)}" for shortfall in found[0]]
    if elsewhere:
        problems[-1] += " " + translate(language, "advice.other_queues", queues=", ".join(elsewhere[:_SHOWN_QUEUES]))
    return problems


def _demand(request: JobRequest) -> Demand:
    return Demand(
        cores=request.cores,
        memory_bytes=request.memory_bytes,
        gpus=request.gpus,
        nodes=request.nodes,
        total_cores=request.cores * request.nodes,
        walltime_s=request.walltime_s,
        apart=not any(_PLACE.search(line) for line in request.directives),
    )


def _shortfalls(
    request: JobRequest, queue: str, nodes: Collection[Node], queues: Collection[QueueLimits]
) -> list[Shortfall]:
    """Return what stands against `request` in one queue: its limits, and what its nodes have."""
    demand, limits = _demand(request), queue_of(queue, queues)
    over = limit_shortfalls(demand, limits) if limits else []
    return [*over, *node_shortfalls(demand, hosts_of(nodes, queue, queues))]


def _other_queues(
    request: JobRequest, wished: Collection[str], nodes: Collection[Node], queues: Collection[QueueLimits]
) -> list[str]:
    """Return the queues in which nothing stands against `request`."""
    default = queue_of("", queues)
    known = {*wished, default.name if default and "" in wished else ""}
    others = [queue for queue in queues if queue.open and not queue.routes and queue.name not in known]
    return [queue.name for queue in others if not _shortfalls(request, queue.name, nodes, queues)]


def _closed(name: str, nodes: Collection[Node], queues: Collection[QueueLimits], language: str) -> str:
    """Return why no queue takes the request; empty where one does, or the queues are not known."""
    if not queues:
        return ""
    names = name.split(",") if name else [queue.name for queue in queues if queue.default]
    named = [queue for queue in queues if queue.name in names]
    # Some queues are hidden from the list, but not from their nodes.
    hidden = {queue for node in nodes for queue in node.queues}.intersection(names)
    if not names or any(queue.open for queue in named) or (hidden and not named):
        return ""
    others = ", ".join([queue.name for queue in queues if queue.open][:_SHOWN_QUEUES])
    key = "queue_closed" if named else "queue_unknown"
    sentence = translate(language, f"reasons.{key}", queue=named[0].name if named else name)
    advice = translate(language, "advice.open_queues", queues=others) if others else ""
    return f"{sentence} {advice}".strip()


def _impossible(request: JobRequest, language: str) -> Iterator[str]:
    """Yield what no site can do: numbers below the least or beyond all reason."""
    for attribute, name, least, most, show in _SENSIBLE:
        value = getattr(request, attribute)
        if not least <= value <= most:
            shown = f"-{show(-value)}" if value < 0 else show(value)
            values = {"value": shown, "least": show(least), "most": show(most)}
            what = translate(language, f"reasons.name_{name}")
            yield translate(language, "reasons.not_sensible", what=what, **values)
    if request.array is not None:
        yield from _impossible_array(request.array, language)
    if any(not dependency.ids or not all(dependency.ids) for dependency in request.dependencies):
        yield translate(language, "reasons.dependency_empty")


def _impossible_array(array: JobArray, language: str) -> Iterator[str]:
    values = {"first": array.first, "last": array.last, "step": array.step}
    if array.step < 1 or not 0 <= array.first <= array.last or array.at_once < 0:
        yield translate(language, "reasons.array_empty", **values)
    elif (count := (array.last - array.first) // array.step + 1) > _MOST_ARRAY_JOBS:
        yield translate(language, "reasons.array_too_large", count=count, most=_MOST_ARRAY_JOBS)
