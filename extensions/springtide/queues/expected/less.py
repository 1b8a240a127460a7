"""Requests that ask for less than another one, the least change first."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator

from springtide.queues.expected.room import has_room, nodes_for
from springtide.queues.model import JobRequest, Node, QueueLimits

_PARTS = (2, 4, 8)
_SHORTEST_S = 600
_MEMORY_GRAIN = 2**20
_WALLTIME_GRAIN_S = 60
# Who asks for 400 cores is not helped by one.
_LEAST_SHARE = 1 / 16


def smaller(request: JobRequest, nodes: Collection[Node]) -> Iterator[JobRequest]:
    """Yield `request` with what one node has free, then with fewer nodes, or cores of its one node."""
    rooms = [cut for node in nodes_for(request, nodes) if (cut := _cut_to(node, request)) not in (None, request)]
    yield from sorted(filter(None, rooms), key=lambda cut: -_share(cut, request))[:1]
    for part in _PARTS:
        if request.nodes >= part:
            yield dataclasses.replace(request, nodes=request.nodes // part)
        elif request.nodes <= 1 and request.cores >= part:
            yield _with_cores(request, request.cores // part)


def in_shorter_queues(request: JobRequest, queues: Collection[QueueLimits]) -> Iterator[JobRequest]:
    """Yield `request` cut to the walltime of each queue for shorter jobs that takes it, the longest first."""
    limits = {queue.name: queue.walltime_s or 0 for queue in queues if _takes(queue, request)}
    for name, walltime_s in sorted(limits.items(), key=lambda item: -item[1]):
        if 0 < walltime_s < request.walltime_s and name != request.queue:
            yield dataclasses.replace(request, queue=name, walltime_s=walltime_s)


def shorter(request: JobRequest) -> Iterator[JobRequest]:
    """Yield `request` with half its walltime, and less."""
    for part in _PARTS:
        walltime_s = request.walltime_s // part // _WALLTIME_GRAIN_S * _WALLTIME_GRAIN_S
        if walltime_s >= _SHORTEST_S:
            yield dataclasses.replace(request, walltime_s=walltime_s)


def _cut_to(node: Node, request: JobRequest) -> JobRequest | None:
    """Return `request` cut to what `node` has free; None where too little of it is left."""
    memory_bytes = request.memory_bytes
    if node.memory_bytes:
        memory_bytes = min(memory_bytes, node.free_memory_bytes // _MEMORY_GRAIN * _MEMORY_GRAIN)
    cut = _with_cores(request, min(request.cores, node.free_cores))
    cut = dataclasses.replace(cut, nodes=1, memory_bytes=memory_bytes)
    return cut if cut.cores > 0 and has_room(node, cut) and _share(cut, request) >= _LEAST_SHARE else None


def _with_cores(request: JobRequest, cores: int) -> JobRequest:
    return dataclasses.replace(request, cores=cores, ranks=min(request.ranks, cores))


def _share(cut: JobRequest, request: JobRequest) -> float:
    """Return how much of `request` is left in `cut`: of its cores in all, or of a node's memory if that is less."""
    of_cores = cut.cores * cut.nodes / max(1, request.cores * request.nodes)
    return min(of_cores, cut.memory_bytes / request.memory_bytes if request.memory_bytes > 0 else 1.0)


def _takes(queue: QueueLimits, request: JobRequest) -> bool:
    asked_and_limits = (
        (request.cores, queue.cores_per_node),
        (request.cores * request.nodes, queue.cores),
        (request.nodes, queue.nodes),
        (request.memory_bytes * request.nodes, queue.memory_bytes),
    )
    within = all(limit is None or asked <= limit for asked, limit in asked_and_limits)
    return queue.open and queue.started and within
