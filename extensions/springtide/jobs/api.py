"""``springtide.run`` and what goes with it: jobs from Python, in a notebook as in a script."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from springtide.errors import ParameterError
from springtide.jobs import loop
from springtide.jobs.asked import Asked
from springtide.jobs.chains import ChainStep
from springtide.jobs.desk import Desk
from springtide.jobs.job import Job
from springtide.jobs.listing import Jobs
from springtide.jobs.opening import own_desk, own_lab, own_ledger
from springtide.jobs.quotas import Standing
from springtide.jobs.remote import RemoteDesk, remote_desk
from springtide.jobs.spec import follows
from springtide.ledger.records import RunRecord
from springtide.queues.model import After

Before = Job | str | Sequence["Job | str"]
"""Jobs to follow, or their tokens."""

_ASKED = frozenset(field.name for field in fields(Asked)) - {"parent", "start", "sweep", "after", "token"}
_AFTER = {"after": After.OK, "after_failure": After.FAILURE, "after_any": After.ANY}
_lock = threading.Lock()
_desk: Desk | RemoteDesk | None = None


def desk() -> Desk | RemoteDesk:
    """Return the desk of this process, opened when it is first needed: the broker's where the session has one."""
    global _desk
    with _lock:
        if _desk is None:
            _desk = remote_desk() or _desk_here()
        return _desk


def _desk_here() -> Desk:
    lab = own_lab()
    return own_desk(lab, own_ledger(lab), say=print)


def run(
    application: str,
    *,
    site: str = "auto",
    cores: int | None = None,
    memory: str | int | None = None,
    walltime: str | int | None = None,
    name: str = "",
    after: Before = (),
    after_failure: Before = (),
    after_any: Before = (),
    **parameters: Any,
) -> Job:
    """Submit an application, and return its job at once.

    Parameters
    ----------
    application : str
        Its name; ``springtide apps`` lists them.
    site : str, optional
        Where it runs; by default where it may be expected to start first: `Job.reason` says why there.
    cores, memory, walltime : optional
        What it gets, within the application's limits: ``cores=4, memory="8G", walltime="2h"``.
    name : str, optional
        What the job is called.
    after, after_failure, after_any : Job, token, or several, optional
        Jobs that come first: it starts once they succeeded, failed, or ended.
    **parameters
        The application's own. A list runs it once for each value: a sweep.

    Raises
    ------
    UnknownApplication, ParameterError, ChainError
        If what is asked for is wrong: then nothing was submitted.
    NotSubmitted
        If the job could never run, or was refused.
    """
    options = {"site": site, "cores": cores, "memory": memory, "walltime": walltime, "name": name}
    before = {"after": after, "after_failure": after_failure, "after_any": after_any}
    asked = replace(_asked({**options, **before}), start=Path.cwd())
    here = desk()
    return here.job_of(loop.call(here.submit(application, parameters, asked)))


def list_jobs(*, limit: int = 50) -> Jobs:
    """Return your jobs of applications, the newest first: also those of other days and other notebooks."""
    here = desk()
    return Jobs(here.job_of(run) for run in loop.call(here.runs(limit=limit)))


def quotas() -> list[Standing]:
    """Return what limits your jobs, yours first, then your groups', and what is spent of it."""
    return loop.call(desk().quotas())


def job(token: str) -> Job:
    """Return one of your jobs.

    Raises
    ------
    ParameterError
        If there is none of this token.
    """
    here = desk()
    return here.job_of(loop.call(here.run(token)))


def submit_again(here: Desk | RemoteDesk, before: RunRecord, changes: Mapping[str, Any]) -> Job:
    """Submit a run again, with changes of parameters and of how it runs."""
    options = {name: value for name, value in changes.items() if name in _ASKED or name in _AFTER}
    parameters = {name: value for name, value in changes.items() if name not in options}
    asked = replace(_asked(options), start=Path.cwd())
    return here.job_of(loop.call(here.submit_again(before, parameters, asked)))


def _asked(options: Mapping[str, Any]) -> Asked:
    after = {when: _tokens(options.get(name, ())) for name, when in _AFTER.items()}
    wishes = {name: value for name, value in options.items() if name in _ASKED and value is not None}
    return Asked(**wishes, after=follows(after))


def _tokens(before: Before) -> list[str]:
    several: list[Any] = list(before) if isinstance(before, (list, tuple)) else [before]
    if wrong := [one for one in several if not isinstance(one, (Job, str))]:
        raise ParameterError("after", f"{wrong[0]!r} is no job.", "Give a job, its token, or a list of them.")
    return [one.token if isinstance(one, Job) else one for one in several]


# --- chains -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One step of a chain, from `step`."""

    application: str
    parameters: Mapping[str, Any]
    before: Mapping[After, tuple[str, ...]]
    options: Mapping[str, Any] = field(default_factory=dict)


def step(
    application: str,
    *,
    after: str | Sequence[str] = (),
    after_failure: str | Sequence[str] = (),
    after_any: str | Sequence[str] = (),
    **parameters: Any,
) -> Step:
    """Return a step of a chain: what `run` takes, with the names of the steps that come first."""
    options = {name: parameters.pop(name) for name in list(parameters) if name in _ASKED}
    named = {After.OK: after, After.FAILURE: after_failure, After.ANY: after_any}
    before = {when: (names,) if isinstance(names, str) else tuple(names) for when, names in named.items()}
    return Step(application, parameters, before, options)


def chain(**steps: Step) -> dict[str, Job]:
    """Submit steps that follow each other; return their jobs by the steps' names. All of them or none.

    ``{upstream.outputs}`` in a command becomes the outputs of the steps that come first.

    Raises
    ------
    ChainError
        If the steps go round in a circle, or one follows a step that is not there: then nothing was submitted.
    SpringtideError
        As `run` does; what was submitted before is cancelled.
    """
    here = desk()
    planned = {
        name: ChainStep(one.application, one.parameters, replace(_asked(one.options), start=Path.cwd()), one.before)
        for name, one in steps.items()
    }
    return {name: here.job_of(run) for name, run in loop.call(here.submit_chain(planned)).items()}
