"""Which nodes have room for a request now."""

from __future__ import annotations

from collections.abc import Collection

from springtide.queues.model import JobRequest, Node


def fits_now(request: JobRequest, nodes: Collection[Node]) -> bool:
    """Return whether enough of `nodes` have the cores and the memory free that `request` asks for."""
    return sum(has_room(node, request) for node in nodes_for(request, nodes)) >= max(1, request.nodes)


def nodes_for(request: JobRequest, nodes: Collection[Node]) -> list[Node]:
    """Return the usable nodes that surely take jobs of the request's queue.

    Which queue a request without one goes to is not known here: only nodes that take them all are sure to take it.
    """
    wanted = {request.queue} if request.queue else {queue for node in nodes for queue in node.queues}
    return [node for node in nodes if node.usable and (not node.queues or wanted <= set(node.queues))]


def has_room(node: Node, request: JobRequest) -> bool:
    """Return whether `node` has free what `request` asks for on each of its nodes."""
    # Free GPUs are not counted by all schedulers: those of a wholly idle node are free.
    return (
        request.cores <= node.free_cores
        and (not node.memory_bytes or request.memory_bytes <= node.free_memory_bytes)
        and (not request.gpus or (request.gpus <= node.gpus and node.free_cores == node.cores))
    )
