"""The folder of a job: all that it needs to run, and all that it leaves. Only its owner can look into it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from springtide import __version__, progress
from springtide.errors import JobError
from springtide.jobs import runner
from springtide.jobs.applications.command import arguments
from springtide.jobs.applications.files import copy_file
from springtide.jobs.applications.load import Offer
from springtide.jobs.applications.parameters import FileParameter
from springtide.jobs.applications.values import Value
from springtide.jobs.containers import Container
from springtide.jobs.spec import JobSpec

LOG = "log.txt"
OUTPUTS = "outputs"
_PROGRAM = "program"
_INPUTS = "inputs"
_DESCRIPTION = "job.json"
_RUNNER = "runner.py"
_PROGRESS = "springtide_progress.py"


def make_folder(
    folder: Path,
    *,
    token: str,
    spec: JobSpec,
    offer: Offer,
    prefix: str,
    environment: Mapping[str, str],
    variables: Mapping[str, str],
    upstream: Sequence[Path],
    container: Container | None = None,
    at: Path | None = None,
) -> None:
    """Make the folder of a job, complete or not at all; one of a former try that nobody wrote down is replaced.

    Parameters
    ----------
    prefix : str
        Where the environment's software is; empty: what is on PATH.
    environment : mapping
        What is known of the environment, for the record.
    upstream : sequence of Path
        The folders of the jobs it follows.
    container : Container, optional
        In what it runs; None: the node itself.
    at : Path, optional
        Where it is made, if it is carried to its place afterwards.

    Raises
    ------
    JobError
        If it cannot be written, or an input cannot be read.
    """
    place = at or folder
    beside = place.with_name(f".{place.name}.new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in (beside, place):
            shutil.rmtree(left, ignore_errors=True)
        for part in (beside, beside / _PROGRAM, beside / _INPUTS, beside / OUTPUTS):
            part.mkdir(mode=0o700)
        _copy_program(offer, beside / _PROGRAM)
        copies = _copy_inputs(spec, offer, beside / _INPUTS)
        places = {
            "program": [str(folder / _PROGRAM / offer.application.program)] if offer.application.program else [],
            "cores": [str(spec.cores)],
            "ranks": [str(spec.ranks * spec.nodes)],
            "upstream.outputs": [str(one / OUTPUTS) for one in upstream],
        }
        runs = [_with_ranks(_run(offer, values, places, copies, folder), spec) for values in spec.runs]
        variables = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(spec.cores), **variables}
        description = {
            "token": token,
            "application": spec.application,
            "environment": dict(environment),
            "site": spec.site,
            "springtide": __version__,
            "prefix": prefix,
            "variables": variables,
            "swept": list(spec.swept),
            "plots": {plot.name: plot.entry for plot in offer.application.plots},
            "outputs": {output.name: output.files for output in offer.application.outputs},
            "runs": runs,
        }
        if container:
            description |= _in_container(container, description, spec, folder, upstream)
        _write(beside / _DESCRIPTION, json.dumps(description, indent=2, ensure_ascii=False))
        _write(beside / _RUNNER, Path(runner.__file__).read_text(encoding="utf-8"))
        os.rename(beside, place)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        where = error.filename or folder
        raise JobError(
            f"The job's folder cannot be made: {where}: {error.strerror or error}.", "Is the disk full, or closed?"
        ) from error


def _copy_program(offer: Offer, target: Path) -> None:
    names = {offer.application.program, *(plot.entry.partition(":")[0] for plot in offer.application.plots)}
    for name in sorted(filter(None, names)):
        shutil.copyfile(offer.file.parent / name, target / name)
        (target / name).chmod(0o700)
    shutil.copyfile(progress.__file__, target / _PROGRESS)


def _copy_inputs(spec: JobSpec, offer: Offer, target: Path) -> dict[str, str]:
    """Copy the files that parameters name; return the copies' names by path."""
    copies: dict[str, str] = {}
    named = [name for name, parameter in offer.application.parameters.items() if isinstance(parameter, FileParameter)]
    for name in named:
        for path in dict.fromkeys(str(run[name]) for run in spec.runs if run.get(name)):
            copies[path] = f"{len(copies) + 1}-{Path(path).name}"
            copy_file(Path(path), target / copies[path])
    return copies


def _run(
    offer: Offer,
    values: Mapping[str, Value],
    places: Mapping[str, Sequence[str]],
    copies: Mapping[str, str],
    folder: Path,
) -> dict[str, Any]:
    local = {
        name: str(folder / _INPUTS / copies[str(value)])
        if value and isinstance(offer.application.parameters[name], FileParameter)
        else value
        for name, value in values.items()
    }
    return {"parameters": local, "command": arguments(offer.application, local, places)}


def _in_container(
    container: Container, description: Mapping[str, Any], spec: JobSpec, folder: Path, upstream: Sequence[Path]
) -> dict[str, Any]:
    """Return what the description of a job has besides, or otherwise, where it runs in an image."""
    variables, runs = description["variables"], description["runs"]
    # Ranks on one node find each other inside; of several nodes, the launcher has to be outside.
    outside = spec.ranks * spec.nodes if spec.nodes > 1 else 0
    return {
        "container": container.described(folder, variables, description["token"], runner.VERSIONS),
        "prefix": "",
        "runs": [
            run
            | {
                "argv": container.argv(
                    run["command"][3:] if outside else run["command"],
                    folder=folder,
                    outputs=run_folder(folder, index, len(runs)),
                    upstream=[one / OUTPUTS for one in upstream],
                    variables=variables,
                    ranks=outside,
                )
            }
            for index, run in enumerate(runs, 1)
        ],
    }


def _with_ranks(run: dict[str, Any], spec: JobSpec) -> dict[str, Any]:
    if not spec.ranks:
        return run
    return run | {"command": ["mpirun", "-n", str(spec.ranks * spec.nodes), *run["command"]]}


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def describe_folder(folder: Path) -> dict[str, Any]:
    """Return what ``job.json`` in a job's folder says.

    Raises
    ------
    JobError
        If it is not there any more.
    """
    try:
        found: dict[str, Any] = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"The job's folder {folder} has been removed or changed.", "Its history is kept.") from error
    return found


def run_folder(folder: Path, index: int, count: int) -> Path:
    """Return where run `index` (from 1) of a job leaves its outputs."""
    return folder / OUTPUTS / str(index) if count > 1 else folder / OUTPUTS


def log_file(folder: Path, index: int, count: int) -> Path:
    """Return what run `index` (from 1) of a job writes to."""
    return folder / (f"{LOG}.{index}" if count > 1 else LOG)


def provenance(folder: Path, index: int, count: int) -> dict[str, Any]:
    """Return what is written down of a run; empty before it has begun."""
    name = f"provenance-{index}.json" if count > 1 else "provenance.json"
    try:
        found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def has_begun(folder: Path) -> bool:
    """Whether a run has left any trace in a job's folder: then it was submitted, whatever is remembered of it."""
    return any(True for pattern in (f"{LOG}*", "provenance*.json", ".began*") for _ in folder.glob(pattern))


def program_file(folder: Path, name: str) -> Path:
    """Return a file of the application, as it was when the job was submitted."""
    return folder / _PROGRAM / name
