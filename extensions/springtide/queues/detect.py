"""Which scheduler a machine has: found by asking the commands, not by their path.

Slurm's PBS commands (``qsub``, ``qstat`` of slurm-wlm-torque) are told apart from a real PBS by what they answer.
Slurm's own commands beside them are used instead, for they know more; a folder without them speaks "slurm-pbs".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from springtide.errors import QueueError
from springtide.lab.models import BatchSite, LocalSite
from springtide.queues.base import Queue
from springtide.queues.commands import Answer, Runner, run_command
from springtide.queues.local.queue import LocalQueue
from springtide.queues.pbs.pro import PbsProQueue
from springtide.queues.pbs.torque import TorqueQueue
from springtide.queues.slurm.pbs import SlurmPbsQueue
from springtide.queues.slurm.queue import SlurmQueue

_DIALECTS: tuple[type[Queue], ...] = (PbsProQueue, TorqueQueue, SlurmQueue, SlurmPbsQueue, LocalQueue)
QUEUES: dict[str, type[Queue]] = {queue.dialect: queue for queue in _DIALECTS}

_USUAL_FOLDERS = ("/opt/pbs/bin", "/usr/local/bin", "/usr/bin", "/opt/slurm/bin", "/opt/torque/bin")
# The command whose success means "the scheduler answers".
_STATUS_COMMAND = {
    "pbspro": ("qstat", "-B"),
    "torque": ("qstat", "-q"),
    "slurm": ("sinfo", "--noheader"),
    "slurm-pbs": ("qstat", "-Q"),
}
# What each kind of site may turn out to be, and the commands it is known by.
_DIALECTS_OF = {
    "pbspro": ("pbspro",),
    "torque": ("torque",),
    "slurm": ("slurm", "slurm-pbs"),
    "batch": ("pbspro", "torque", "slurm", "slurm-pbs"),
}
_KNOWN_BY = {"pbspro": "qsub and qstat", "torque": "qsub and qstat", "slurm": "sbatch and squeue, or qsub and qstat"}


@dataclass(frozen=True)
class Found:
    """A scheduler's commands on this machine, and whether the scheduler answered them."""

    dialect: str
    folder: Path
    answers: bool
    words: str = ""


async def find_scheduler(site: BatchSite | LocalSite, runner: Runner = run_command) -> Found:
    """Return the scheduler of `site`: the first whose commands are there, one that answers before one that does not.

    Raises
    ------
    QueueError
        If none of the commands can be found.
    """
    if isinstance(site, LocalSite):
        return local_scheduler()
    wanted = _DIALECTS_OF[site.kind]
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
        raise _not_found(site)
    return silent


def local_scheduler() -> Found:
    """Return this machine's own queue, whose commands lie beside the Python that runs Springtide."""
    return Found(LocalQueue.dialect, Path(sys.executable).parent, answers=True)


def open_queue(found: Found, runner: Runner = run_command) -> Queue:
    """Return the queue that speaks the dialect that was found."""
    return QUEUES[found.dialect](found.folder, runner)


async def dialect_of(folder: Path, runner: Runner = run_command) -> str | None:
    """Return the dialect of the batch commands in `folder`, None where there are none."""
    wrappers = False
    if _is_program(folder / "qstat") and _is_program(folder / "qsub"):
        answer = await runner([str(folder / "qstat"), "--version"])
        words = answer.output + answer.errors
        if "pbs_version" in words:
            return "pbspro"
        if answer.exit_status == 0 and "ersion" in words:
            return "torque"
        wrappers = await _is_wrapper(answer, folder, runner)
    if _is_program(folder / "sbatch") and _is_program(folder / "squeue"):
        return "slurm"
    return "slurm-pbs" if wrappers else None


async def _is_wrapper(version: Answer, folder: Path, runner: Runner) -> bool:
    """Whether qsub is Slurm's: a qstat that knows no ``--version``, and a qsub that says which sbatch it would run."""
    if "Unknown option: version" not in version.output + version.errors:
        return False
    answer = await runner([str(folder / "qsub"), "--sbatchline", "-j", "oe", "-o", "/dev/null", "/dev/null"])
    return answer.exit_status == 0 and "sbatch " in answer.output


def _not_found(site: BatchSite) -> QueueError:
    dialects = _DIALECTS_OF[site.kind]
    names = " or ".join(name for name in dialects if name in _KNOWN_BY)
    programs = "; ".join(dict.fromkeys(words for name, words in _KNOWN_BY.items() if name in dialects))
    return QueueError(
        f"No batch commands of {names} were found in {', '.join(map(str, _folders(site)))} (looked for {programs}).",
        "Name their folder with “commands” in the lab file, or install the scheduler's client package.",
    )


def _folders(site: BatchSite) -> list[Path]:
    if site.commands is not None:
        return [site.commands]
    return list(dict.fromkeys(Path(folder).resolve() for folder in _search_path() if Path(folder).is_dir()))


def _search_path() -> Iterable[str]:
    return (*filter(None, os.environ.get("PATH", "").split(os.pathsep)), *_USUAL_FOLDERS)


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
