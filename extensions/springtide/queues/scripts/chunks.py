"""The parts of a node that PBS asks for: ``select=`` of PBS Pro, ``nodes=`` of Torque."""

from __future__ import annotations

import re
from dataclasses import dataclass

from springtide.queues.scripts.asked import Asked
from springtide.queues.scripts.values import MOST_CORES, MOST_NODES, read_count, read_pbs_memory


@dataclass(frozen=True)
class _Chunk:
    """One part of a ``select=`` or ``nodes=``."""

    count: int
    cores: int
    ranks: int
    memory_bytes: int
    gpus: int
    plain: bool
    """Whether this is all that was said of it."""


def read_select(asked: Asked, text: str) -> None:
    """Take ``select=2:ncpus=4:mem=2gb:mpiprocs=2``."""
    _take_chunks(asked, f"-l select={text}", [_select_chunk(part) for part in text.split("+")])


def _select_chunk(text: str) -> _Chunk:
    count, parts = _counted(text)
    said = dict(_named(part) for part in parts)
    known = {"ncpus", "mpiprocs", "mem", "ngpus", "ompthreads"}
    cores = read_count(said.get("ncpus", "1"), MOST_CORES)
    # PBS starts one process in a chunk where mpiprocs is not said, whatever its cores.
    return _Chunk(
        count,
        cores,
        read_count(said.get("mpiprocs", "1"), MOST_CORES),
        read_pbs_memory(said["mem"]) if "mem" in said else 0,
        _count_or_none(said.get("ngpus", "0")),
        set(said) <= known,
    )


def read_nodes(asked: Asked, text: str) -> None:
    """Take ``nodes=2:ppn=4``."""
    _take_chunks(asked, f"-l nodes={text}", [_nodes_chunk(part) for part in text.split("+")])


def _nodes_chunk(text: str) -> _Chunk:
    count, parts = _counted(text)
    said = dict(_named(part) for part in parts if "=" in part)
    named = [part for part in parts if "=" not in part]
    cores = read_count(said.get("ppn", "1"), MOST_CORES)
    plain = not named and set(said) <= {"ppn", "gpus"}
    return _Chunk(count, cores, cores, 0, _count_or_none(said.get("gpus", "0")), plain)


def _counted(text: str) -> tuple[int, list[str]]:
    first, *rest = text.split(":")
    if "=" in first or not re.match(r"[-+.\d]", first):
        return 1, [first, *rest]
    return read_count(first, MOST_NODES), rest


def _named(part: str) -> tuple[str, str]:
    name, found, value = part.partition("=")
    if not found or not name or not value:
        raise ValueError("chunks like 2:ncpus=4:mem=2gb or 2:ppn=4")
    return name, value


def _count_or_none(text: str) -> int:
    return 0 if text == "0" else read_count(text, MOST_CORES)


def _take_chunks(asked: Asked, native: str, chunks: list[_Chunk]) -> None:
    asked.nodes = sum(chunk.count for chunk in chunks)
    asked.cores = max(chunk.cores for chunk in chunks)
    asked.tasks_per_node = max(chunk.ranks for chunk in chunks)
    asked.memory_bytes = max(chunk.memory_bytes for chunk in chunks)
    asked.gpus = max(chunk.gpus for chunk in chunks)
    if len(chunks) > 1 or not chunks[0].plain:
        asked.native(native, essential=True)
