"""What a batch job does to be a worker: the script that dask-jobqueue's job classes write, under our own directives."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from dask_jobqueue.core import Job
from dask_jobqueue.pbs import PBSJob
from dask_jobqueue.slurm import SLURMJob

from springtide.cluster.pools.base import Contact, WorkerOptions

# By the queue's dialect. Their settings come from Dask's configuration (``jobqueue.pbs``, ``jobqueue.slurm``).
_JOB_CLASSES: dict[str, type[Job]] = {"slurm": SLURMJob, "slurm-pbs": SLURMJob}
# Never a default address: a node may have none that others reach, and several that they do not.
_ADDRESS = (
    "import socket,sys;s=socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET,socket.SOCK_DGRAM);"
    "s.connect((sys.argv[1],int(sys.argv[2])));print(s.getsockname()[0])"
)


def worker_job(
    dialect: str, name: str, worker: WorkerOptions, contact: Contact, lifetime_s: float, python: Sequence[str]
) -> Job:
    """Return dask-jobqueue's job for one worker. It is asked for its script, and never submits anything itself.

    Parameters
    ----------
    python : sequence of str
        What starts the worker's Python.
    """
    where = [] if worker.interface else ["--host", '"$SPRINGTIDE_ADDRESS"']
    return _JOB_CLASSES.get(dialect, PBSJob)(
        scheduler=contact.address,
        name=name,
        cores=worker.cores,
        memory=worker.memory_bytes,
        processes=1,
        death_timeout=f"{worker.death_timeout_s:.0f}",
        python=shlex.join(python),
        local_directory=worker.local_directory,
        worker_extra_args=[*where, *map(shlex.quote, [*worker.extra(lifetime_s), *contact.files.options])],
    )


def body_of(job: Job, worker: WorkerOptions, python: Sequence[str], prologue: str, variables: Mapping[str, str]) -> str:
    """Return the job's script without its directives.

    The worker takes the shell's place: a signal to the job is one to the worker, and what it returns is the job's end.
    """
    lines = job.job_script().partition(job.job_header)[2].rstrip().splitlines()
    exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())]
    return "\n".join([prologue, *exports, *_address(job, worker, python), *lines[:-1], f"exec {lines[-1].strip()}"])


def _address(job: Job, worker: WorkerOptions, python: Sequence[str]) -> list[str]:
    if worker.interface:
        return []
    scheduler = urlsplit(job.scheduler)
    command = [*python, "-I", "-S", "-c", _ADDRESS, scheduler.hostname or "", str(scheduler.port or 0)]
    return [f"SPRINGTIDE_ADDRESS=$({shlex.join(command)}) || exit 1"]


def log_of(folder: Path, name: str) -> Path:
    """Return where a worker's job writes."""
    return folder / f"{name}.log"
