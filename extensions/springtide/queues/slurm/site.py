"""What sinfo and scontrol say of a site's nodes and partitions. All of it was written by the administrator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from springtide.errors import QueueUnreachable
from springtide.queues.model import JobInfo, Node, QueueLimits
from springtide.queues.slurm.words import parse_count, parse_limit, parse_size

_MIB = 2**20
_FIELDS = ("nodehost", "cpusstate", "memory", "allocmem", "gres", "statelong", "partitionname")
NODE_FORMAT = "".join(f"{field}:|," for field in _FIELDS)[:-1]
_HEADING = "HOSTNAMES|"
_UNUSABLE = re.compile(r"down|drain|fail|unk|maint|inval|future|perfctrs|reserved|blocked|power(?:ed|ing)?_down|.*\*")
_GPUS = re.compile(r"(?:^|,)gpu(?::[^:,(]+)*?(?::(\d+))?(?:\([^)]*\))?(?=,|$)")
_PAIR = re.compile(r"(?:^| )(\w+)=(\S*)")
# Whether a partition in this state takes jobs, and whether it starts them.
_PARTITION_STATES = {"UP": (True, True), "DOWN": (True, False), "DRAIN": (False, True), "INACTIVE": (False, False)}


def parse_nodes(text: str) -> tuple[Node, ...]:
    """Return the nodes of a ``sinfo --Node`` answer to `NODE_FORMAT`: a line for each node in each of its partitions.

    Raises
    ------
    QueueUnreachable
        If it is no such answer.
    """
    heading, *lines = text.splitlines() or [""]
    if not heading.startswith(_HEADING):
        raise QueueUnreachable(f"sinfo's answer cannot be read: {text[:80]!r}")
    fields: dict[str, list[str]] = {}
    partitions: dict[str, list[str]] = {}
    try:
        for line in lines:
            name, *others, partition, _ = line.split("|")
            fields[name] = others
            partitions.setdefault(name, []).append(partition)
        return tuple(_node(name, *others, partitions=partitions[name]) for name, others in fields.items())
    except (ValueError, TypeError) as error:
        raise QueueUnreachable(f"sinfo's answer cannot be read: {error}") from error


def _node(name: str, cores: str, memory: str, taken: str, gres: str, state: str, *, partitions: Iterable[str]) -> Node:
    _, idle, _, total = (int(number) for number in cores.split("/"))
    usable = not _UNUSABLE.match(state)
    memory_bytes = int(memory) * _MIB
    return Node(
        name=name,
        usable=usable,
        state=state,
        cores=total,
        free_cores=idle if usable else 0,
        memory_bytes=memory_bytes,
        free_memory_bytes=max(0, memory_bytes - int(taken) * _MIB) if usable else 0,
        gpus=count_gpus(gres),
        queues=tuple(sorted(set(partitions))),
    )


def count_gpus(gres: str) -> int:
    """Return the GPUs of "gpu:a100:2(S:0-1),gpu:1,mps:100": of "gpu" alone, one."""
    return sum(int(number or 1) for number in _GPUS.findall(gres))


def parse_partitions(text: str, jobs: Iterable[JobInfo]) -> Iterator[QueueLimits]:
    """Yield the partitions of a ``scontrol --oneliner show partition`` answer, with how many of `jobs` are in each.

    Slurm limits cores for each node, memory for each node, and nodes; the cores of a whole job only in its accounts.
    """
    known = list(jobs)
    for line in text.splitlines():
        values = dict(_PAIR.findall(line))
        name = values.get("PartitionName", "")
        if not name:
            raise QueueUnreachable(f"scontrol's answer cannot be read: {line[:80]!r}")
        takes, starts = _PARTITION_STATES.get(values.get("State", ""), (True, True))
        here = [job for job in known if name in job.queue.split(",")]
        yield QueueLimits(
            name=name,
            default=values.get("Default") == "YES",
            open=takes,
            started=starts,
            walltime_s=parse_limit(values.get("MaxTime", "")),
            nodes=parse_count(values.get("MaxNodes", "")),
            memory_bytes=parse_size(values.get("MaxMemPerNode", "")),
            cores_per_node=parse_count(values.get("MaxCPUsPerNode", "")),
            waiting=sum(job.state.waits for job in here),
            running=sum(job.state.placed for job in here),
        )
