"""The batch script of a job: it starts the runner in the job's folder, and nothing else."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from springtide.jobs.folder import LOG
from springtide.jobs.spec import JobSpec
from springtide.lab.models import BatchSite, LocalSite
from springtide.queues.model import Dependency, JobArray, JobRequest
from springtide.queues.scripts.variables import exports

_NO_PYTHON = "This node has no Python: the administrator can name one with “python” of the site in the lab file."


def request_of(
    spec: JobSpec, folder: Path, site: BatchSite | LocalSite | None, python: str, dependencies: Sequence[Dependency]
) -> JobRequest:
    """Return what the queue is asked for.

    Parameters
    ----------
    python : str
        A Python that starts the runner; another one is looked for where a node has not got it.
    """
    batch = site if isinstance(site, BatchSite) else None
    count = len(spec.runs)
    return JobRequest(
        body=_body(folder, site, python),
        name=spec.name,
        cores=spec.cores,
        memory_bytes=spec.memory_bytes,
        walltime_s=spec.walltime_s,
        nodes=spec.nodes,
        ranks=spec.ranks,
        queue=batch.queue if batch else "",
        account=batch.account if batch else "",
        directives=batch.directives if batch else (),
        array=JobArray(1, count, at_once=spec.at_once) if count > 1 else None,
        dependencies=tuple(dependencies),
        output=str(folder / LOG),
    )


def _body(folder: Path, site: BatchSite | LocalSite | None, python: str) -> str:
    runner, where = shlex.quote(str(folder / "runner.py")), shlex.quote(str(folder))
    lines = exports(site.environment_variables) if site else []
    lines += [site.prologue] if isinstance(site, BatchSite) and site.prologue else []
    lines += [
        f"for python in {shlex.quote(python)} python3 python; do",
        f'    if command -v "$python" >/dev/null 2>&1; then exec "$python" -I {runner} {where}; fi',
        "done",
        f"echo {shlex.quote(_NO_PYTHON)} >&2",
        "exit 127",
    ]
    return "\n".join(lines)
