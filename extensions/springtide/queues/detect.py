"""Which scheduler a machine has: found by asking the commands, not by their path.

Slurm's PBS commands (``qsub``, ``qstat`` of slurm-wlm-torque) are told apart from a real PBS by what they answer, and
Slurm's own commands beside them are used instead: the wrappers take no script on standard input, know no history and
no exit status.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from springtide.errors import QueueError
from springtide.lab.models import BatchSite
from springtide.queues.base import Queue
from springtide.queues.commands import Runner, run_command
from springtide.queues.pbspro import PbsProQueue
from springtide.queues.slurm import SlurmQueue
from springtide.queues.torque import TorqueQueue

QUEUES: dict[str, type[Queue]] = {queue.dialect: queue for queue in (PbsProQueue, TorqueQueue, SlurmQueue)}

_USUAL_FOLDERS = ("/opt/pbs/bin", "/usr/local/bin", "/usr/bin", "/opt/slurm/bin", "/opt/torque/bin")
# The command that reads the queue, per dialect, and the one whose success means "the scheduler answers".
_STATUS_COMMAND = {"pbspro": ("qstat", "-B"), "torque": ("qstat", "-q"), "slurm": ("sinfo", "--noheader")}


@dataclass(frozen=True)
class Found:
    """A scheduler's commands on this machine, and whether the scheduler answered them."""

    dialect: str
    folder: Path
    answers: bool
    words: str = ""


async def find_scheduler(site: BatchSite, runner: Runner = run_command) -> Found:
    """Return the scheduler of `site`: the first whose commands are there, one that answers before one that does not.

    Raises
    ------
    QueueError
        If none of the commands can be found.
    """
    wanted = tuple(QUEUES) if site.kind == "batch" else (site.kind,)
    silent: Found | None = None
    for folder in _folders(site):
        dialect = await dialect_of(folder, runner)
        if dialect not in wanted:
            continue
        program, *arguments = _STATUS_COMMAND[dialect]
        answer = await runner([str(folder / program), *arguments])
        found = Found(dialect, folder, answer.exit_status == 0, answer.complaint if answer.exit_status else "")
        if found.answers:
            return found
        silent = silent or found
    if silent is None:
        raise QueueError(
            f"No batch commands of {' or '.join(wanted)} were found in {', '.join(map(str, _folders(site)))}.",
            "Name their folder with “commands” in the lab file, or install the scheduler's client package.",
        )
    return silent


def open_queue(found: Found, runner: Runner = run_command) -> Queue:
    """Return the queue that speaks the dialect that was found."""
    return QUEUES[found.dialect](found.folder, runner)


async def dialect_of(folder: Path, runner: Runner = run_command) -> str | None:
    """Return the dialect of the batch commands in `folder`, None where there are none."""
    if _is_program(folder / "qstat") and _is_program(folder / "qsub"):
        answer = await runner([str(folder / "qstat"), "--version"])
        words = answer.output + answer.errors
        if "pbs_version" in words:
            return "pbspro"
        if answer.exit_status == 0 and "ersion" in words:
            return "torque"
    if _is_program(folder / "sbatch") and _is_program(folder / "squeue"):
        return "slurm"
    return None


def _folders(site: BatchSite) -> list[Path]:
    if site.commands is not None:
        return [site.commands]
    return list(dict.fromkeys(Path(folder).resolve() for folder in _search_path() if Path(folder).is_dir()))


def _search_path() -> Iterable[str]:
    return (*filter(None, os.environ.get("PATH", "").split(os.pathsep)), *_USUAL_FOLDERS)


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
