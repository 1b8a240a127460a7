"""What a job asks for against what a site has: pure functions, shared by what refuses a job and what explains one."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, inf
from typing import Any

from springtide.queues.model import JobInfo, Node, QueueLimits
from springtide.texts import translate
from springtide.units import describe_duration, format_memory

_PARTS_OF_A_HOST = re.compile(r"\[\d+\]$")


@dataclass(frozen=True)
class Demand:
    """What a job asks for; 0: nothing, or not known."""

    cores: int = 0
    """On each node."""
    memory_bytes: int = 0
    """On each node."""
    gpus: int = 0
    """On each node."""
    nodes: int = 1
    total_cores: int = 0
    walltime_s: int = 0
    apart: bool = True
    """Whether each part needs a node of its own."""


@dataclass(frozen=True)
class Shortfall:
    """Why something can never run, and what to do: keys of the texts and their values."""

    key: str
    values: Mapping[str, Any]
    """What is filled in; a function is called with the language."""
    advice_key: str = ""
    """Empty: `key`."""

    def sentence(self, language: str) -> str:
        """Return what stands against it."""
        return translate(language, f"reasons.{self.key}", **self._said(language))

    def advice(self, language: str) -> str:
        """Return what to do about it."""
        return translate(language, f"advice.{self.advice_key or self.key}", **self._said(language))

    def _said(self, language: str) -> dict[str, Any]:
        return {name: value(language) if callable(value) else value for name, value in self.values.items()}


def demand_of(job: JobInfo) -> Demand:
    """Return what a job known from its scheduler asks for, spread evenly over its nodes."""
    nodes = max(1, job.node_count)
    return Demand(
        cores=ceil(job.cores / nodes),
        memory_bytes=ceil(job.memory_bytes / nodes),
        nodes=nodes,
        total_cores=job.cores,
        walltime_s=job.walltime_s or 0,
        # PBS counts chunks, of which several may share a node.
        apart=False,
    )


def queue_of(name: str, queues: Collection[QueueLimits]) -> QueueLimits | None:
    """Return the queue called `name`, the default one where it is empty; None where that is not known."""
    return next((queue for queue in queues if (queue.name == name if name else queue.default)), None)


def hosts_of(nodes: Collection[Node], queue: str, queues: Collection[QueueLimits]) -> list[Node]:
    """Return the nodes that take jobs of `queue`, down ones included: they may come back.

    The parts ("node1[0]", "node1[1]") that PBS Pro may show of a host are put together: a job may span them.
    """
    limits = queue_of(queue, queues)
    name = limits.name if limits else queue
    # Where the job ends up that a routing queue passes on is not known.
    routed = limits is not None and limits.routes
    hosts: dict[str, Node] = {}
    for node in nodes:
        if node.queues and name and name not in node.queues and not routed:
            continue
        host = _PARTS_OF_A_HOST.sub("", node.name)
        hosts[host] = _together(hosts[host], node) if host in hosts else node
    return list(hosts.values())


def _together(one: Node, other: Node) -> Node:
    sums = ("cores", "free_cores", "memory_bytes", "free_memory_bytes", "gpus")
    return replace(one, usable=one.usable or other.usable, **{n: getattr(one, n) + getattr(other, n) for n in sums})


def node_shortfalls(demand: Demand, hosts: Collection[Node]) -> list[Shortfall]:
    """Return what `hosts` cannot give, now or ever; nothing where no host is known."""
    if not hosts:
        return []
    single = [shortfall for check in _ON_ONE_NODE if (shortfall := check(demand, hosts))]
    return single or list(_together_on_nodes(demand, hosts))


def _cores_of(node: Node) -> float:
    # A node that has never answered has no size yet.
    return node.cores or inf


def _memory_of(node: Node) -> float:
    return node.memory_bytes or inf


def _too_many_cores(demand: Demand, hosts: Collection[Node]) -> Shortfall | None:
    most = max(map(_cores_of, hosts))
    if demand.cores <= most:
        return None
    key = "too_many_cores" if demand.nodes == 1 else "too_many_cores_each"
    total = sum(map(_cores_of, hosts))
    values = {"asked": demand.cores, "nodes": demand.nodes, "most": int(most), "cores": _cores_said(int(most))}
    if demand.cores * demand.nodes <= total:
        return Shortfall(key, values)
    return Shortfall(key, {**values, "total": int(total)}, "more_cores_than_all")


def _too_much_memory(demand: Demand, hosts: Collection[Node]) -> Shortfall | None:
    most = max(map(_memory_of, hosts))
    if demand.memory_bytes <= most:
        return None
    values = {"asked": format_memory(demand.memory_bytes), "most": at_most(int(most))}
    return Shortfall("too_much_memory", values)


def _too_many_gpus(demand: Demand, hosts: Collection[Node]) -> Shortfall | None:
    most = max(node.gpus for node in hosts)
    if demand.gpus <= most:
        return None
    return Shortfall("too_many_gpus" if most else "no_gpus", {"asked": demand.gpus, "most": most})


_ON_ONE_NODE: tuple[Callable[[Demand, Collection[Node]], Shortfall | None], ...] = (
    _too_many_cores,
    _too_much_memory,
    _too_many_gpus,
)


def _together_on_nodes(demand: Demand, hosts: Collection[Node]) -> Iterator[Shortfall]:
    fitting = sum(holds(demand, node) for node in hosts)

    each = partial(said_of, demand)
    if not fitting:
        yield _not_at_once(demand, hosts, each)
    elif demand.apart and len(hosts) < demand.nodes:
        yield Shortfall("too_many_nodes", {"asked": demand.nodes, "most": len(hosts)})
    elif demand.apart and fitting < demand.nodes:
        yield Shortfall("too_few_such_nodes", {"asked": demand.nodes, "each": each, "most": fitting})


def _not_at_once(demand: Demand, hosts: Collection[Node], each: Callable[[str], str]) -> Shortfall:
    memory = max((_memory_of(host) for host in hosts if holds(replace(demand, memory_bytes=0), host)), default=0)
    cores = max((_cores_of(host) for host in hosts if holds(replace(demand, cores=0), host)), default=0)
    if not memory or not cores:
        return Shortfall("not_at_once", {"each": each})
    sizes = {
        "size": format_memory(demand.memory_bytes),
        "memory": at_most(int(memory)),
        "most": _cores_said(int(cores)),
    }
    return Shortfall("not_at_once", {"each": each, "cores": _cores_said(demand.cores), **sizes}, "cores_or_memory")


def holds(demand: Demand, node: Node) -> bool:
    """Whether `node` as a whole has what is asked for on one node."""
    return demand.cores <= _cores_of(node) and demand.memory_bytes <= _memory_of(node) and demand.gpus <= node.gpus


def said_of(demand: Demand, language: str) -> str:
    """Return what is asked for on each node: "4 cores, 64G of memory, 1 GPU"."""
    parts = [_counted("core", demand.cores, language)] if demand.cores else []
    if demand.memory_bytes:
        parts.append(translate(language, "reasons.memory", size=format_memory(demand.memory_bytes)))
    return ", ".join(parts + ([_counted("gpu", demand.gpus, language)] if demand.gpus else []))


def _counted(what: str, number: int, language: str) -> str:
    return translate(language, f"reasons.{what}{'' if number == 1 else 's'}", number=number)


def _cores_said(number: int) -> Callable[[str], str]:
    return partial(_counted, "core", number)


def limit_shortfalls(demand: Demand, limits: QueueLimits) -> list[Shortfall]:
    """Return which limits of one job in a queue are exceeded."""
    found = []
    for key, asked, most, show in (
        ("over_walltime", demand.walltime_s, limits.walltime_s, describe_duration),
        ("over_cores", demand.total_cores, limits.cores, str),
        ("over_cores_each", demand.cores, limits.cores_per_node, str),
        ("over_nodes", demand.nodes if demand.apart else 1, limits.nodes, str),
        # Of each node: some schedulers limit that, others the whole job.
        ("over_memory", demand.memory_bytes, limits.memory_bytes, format_memory),
    ):
        if most and asked > most:
            said: Callable[[int], str] = at_most if show is format_memory else show
            values = {"asked": show(asked), "most": said(most), "cores": _cores_said(most), "queue": limits.name}
            found.append(Shortfall(key, values))
    return found


def at_most(memory_bytes: int) -> str:
    """Return a size rounded down, so that who asks for it gets it."""
    for letter, unit in (("T", 2**40), ("G", 2**30), ("M", 2**20)):
        if memory_bytes >= unit:
            return f"{memory_bytes * 100 // unit / 100:g}{letter}"
    return format_memory(memory_bytes)
