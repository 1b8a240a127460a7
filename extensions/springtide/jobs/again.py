"""Running a job again: the same parameters and the same inputs, as they were, with whatever is to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from springtide.jobs.applications.load import Offer
from springtide.jobs.applications.parameters import FileParameter
from springtide.jobs.asked import Asked
from springtide.jobs.folder import describe_folder
from springtide.jobs.routing import AUTO
from springtide.jobs.spec import JobSpec
from springtide.ledger.records import RunRecord


def given_again(run: RunRecord, offer: Offer, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a run, with changes; files are the copies that it ran with.

    Raises
    ------
    JobError
        If it had files, and its folder is gone.
    """
    spec = JobSpec.from_json(run.spec)
    given = {name: value for name, value in spec.given.items() if value is not None}
    parameters = offer.application.parameters
    files = [name for name in given if isinstance(parameters.get(name), FileParameter) and name not in changes]
    if files:
        runs = describe_folder(Path(run.folder))["runs"]
        for name in files:
            copies = list(dict.fromkeys(one["parameters"][name] for one in runs))
            given[name] = copies if name in spec.swept else copies[0]
    return {**given, **changes}


def asked_again(run: RunRecord, asked: Asked) -> Asked:
    """Return where and how a run is to run again: as before, where nothing else is said."""
    spec = JobSpec.from_json(run.spec)
    chosen = spec.site if not spec.reason else AUTO
    return replace(
        asked,
        site=asked.site or chosen,
        cores=asked.cores if asked.cores is not None else spec.cores,
        memory=asked.memory if asked.memory is not None else spec.memory_bytes,
        walltime=asked.walltime if asked.walltime is not None else spec.walltime_s,
        name=asked.name or spec.name,
        after=asked.after or spec.after,
        parent=run.token,
    )
