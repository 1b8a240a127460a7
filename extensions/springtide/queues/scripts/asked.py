"""What the directives of a batch script ask for, in words common to all schedulers, and how that becomes a request."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from springtide.errors import ScriptError
from springtide.queues.bookkeeping import check_name
from springtide.queues.model import Dependency, JobArray, Mail


@dataclass(frozen=True)
class Directive:
    """One directive line."""

    place: str
    """Where it stands, ``FILE:LINE``."""
    prefix: str
    """``#PBS`` or ``#SBATCH``."""
    text: str
    """What follows the prefix."""


@dataclass(frozen=True)
class Native:
    """An option with no counterpart elsewhere: passed on to schedulers that know it."""

    place: str
    text: str
    essential: bool = False
    """Whether the job would be another one without it."""
    silent: bool = False
    """Whether to leave it out elsewhere is not worth a word."""
    dialects: tuple[str, ...] = ()
    """Those that know it; empty: all that have such directives."""


@dataclass
class Asked:
    """Collects what the directives say; 0 and empty: nothing was said."""

    name: str = ""
    queue: str = ""
    account: str = ""
    nodes: int = 0
    tasks: int = 0
    """MPI processes of all nodes together."""
    tasks_per_node: int = 0
    cores_per_task: int = 0
    cores: int = 0
    """On each node."""
    memory_bytes: int = 0
    """On each node."""
    job_memory_bytes: int = 0
    core_memory_bytes: int = 0
    task_memory_bytes: int = 0
    gpus: int = 0
    """On each node."""
    job_gpus: int = 0
    walltime_s: int = 0
    array: JobArray | None = None
    dependencies: list[Dependency] = field(default_factory=list)
    rerunnable: bool = False
    held: bool = False
    start_after: float | None = None
    output: str = ""
    errors: str = ""
    joined: bool = False
    """Whether both streams go to one file."""
    mail: Mail | None = None
    mail_to: tuple[str, ...] = ()
    shell: str = ""
    folder: str = ""
    """Where the job starts."""
    variables: dict[str, str | None] = field(default_factory=dict)
    """To set in the job; None: as the submitter has it."""
    whole_environment: bool = False
    """Whether the submitter's environment goes with the job."""
    natives: list[Native] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    place: str = ""
    """Of the directive that is being read."""

    def native(self, text: str, **how: Any) -> None:
        """Keep an option for the schedulers that know it; `how` as in `Native`."""
        self.natives.append(Native(self.place, text, **how))

    def refuse(self, message: str, hint: str) -> NoReturn:
        """Say what is wrong with the directive that is being read."""
        raise ScriptError(f"{self.place}: {message}", hint)

    def read(self, what: str, found: str, reader: Callable[[Asked, str], None]) -> None:
        """Have `reader` read `found`; what it cannot read is said with its place."""
        try:
            reader(self, found)
        except (ValueError, OverflowError) as error:
            self.refuse(f"{what} is “{found}”.", f"Write {error}.")

    def resources(self, node_cores: int) -> dict[str, Any]:
        """Return the resources as fields of `JobRequest`.

        Parameters
        ----------
        node_cores : int
            Cores of the site's largest node, on which tasks without a number of nodes are spread; 0: not known.
        """
        nodes = self.nodes or spread(self.tasks, self.cores_per_task or 1, node_cores)
        ranks = self.tasks_per_node or math.ceil(self.tasks / nodes)
        if self.tasks and ranks * nodes != self.tasks and not self.tasks_per_node:
            self.notes.append(f"{self.tasks} processes on {nodes} nodes: {ranks} are asked for on each.")
        cores = self.cores or max(1, ranks) * (self.cores_per_task or 1)
        memory = (
            self.memory_bytes
            or self.core_memory_bytes * cores
            or self.task_memory_bytes * (ranks or cores)
            or math.ceil(self.job_memory_bytes / nodes)
        )
        return {
            "nodes": nodes,
            "cores": cores,
            "ranks": ranks,
            "memory_bytes": memory,
            "gpus": self.gpus or math.ceil(self.job_gpus / nodes),
            "walltime_s": self.walltime_s,
        }


def spread(tasks: int, cores_per_task: int, node_cores: int) -> int:
    """Return the fewest nodes of `node_cores` cores on which `tasks` fit, the same number on each."""
    if tasks * cores_per_task <= node_cores or node_cores < cores_per_task or not tasks:
        return 1
    fewest = math.ceil(tasks / (node_cores // cores_per_task))
    return next(nodes for nodes in range(fewest, tasks + 1) if tasks % nodes == 0)


def read_name(asked: Asked, text: str) -> None:
    """Take the job's name."""
    try:
        check_name(text)
    except ScriptError as error:
        asked.refuse(error.message, error.hint)
    asked.name = text


def read_word(field_name: str) -> Callable[[Asked, str], None]:
    """Return a reader that keeps the value as it is in `field_name`."""

    def keep(asked: Asked, text: str) -> None:
        if not text or not text.isprintable() or " " in text:
            raise ValueError("one word")
        setattr(asked, field_name, text)

    return keep


def read_path(field_name: str) -> Callable[[Asked, str], None]:
    """Return a reader that keeps the path in `field_name`."""

    def keep(asked: Asked, text: str) -> None:
        if not text or not text.isprintable():
            raise ValueError("a path")
        setattr(asked, field_name, text)

    return keep


def read_dependencies(asked: Asked, text: str, words: Mapping[str, Any]) -> None:
    """Take ``afterok:12:13,afterany:14``.

    Raises
    ------
    ValueError
        If it is none of `words` with ids.
    """
    for clause in text.replace("?", ",").split(","):
        word, *ids = clause.split(":")
        if word not in words or not ids or not all(ids):
            raise ValueError(f"one of {', '.join(words)} with the ids of jobs: afterok:123")
        asked.dependencies.append(Dependency(words[word], tuple(job_id.partition("+")[0] for job_id in ids)))
