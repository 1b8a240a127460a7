"""Jobs that follow each other: which may go first, and what those that are over mean for one that follows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from springtide.errors import ChainError, NotSubmitted, SpringtideError
from springtide.jobs.asked import Asked
from springtide.jobs.spec import Follow
from springtide.ledger.records import JobRecord, RunRecord
from springtide.queues.model import After, Dependency

if TYPE_CHECKING:
    from springtide.jobs.desk import Desk


@dataclass(frozen=True)
class ChainStep:
    """One step of a chain: what is submitted, and the names of the steps that come first."""

    application: str
    given: Mapping[str, Any]
    asked: Asked
    before: Mapping[After, tuple[str, ...]]


async def submit_chain(desk: Desk, steps: Mapping[str, ChainStep]) -> dict[str, RunRecord]:
    """Submit steps that follow each other; return what is written down of them, by name. All of them or none.

    Raises
    ------
    ChainError
        If they go round in a circle, or one follows a step that is not there: then nothing was submitted.
    SpringtideError
        As `Desk.submit` does; what was submitted before is cancelled. `step` of the error names its step.
    """
    order = in_order({name: {one for names in step.before.values() for one in names} for name, step in steps.items()})
    runs: dict[str, RunRecord] = {}
    name = ""
    try:
        for name in order:
            # What is wrong with the last step is said before the first is submitted.
            step = steps[name]
            await desk.plan(step.application, step.given, step.asked)
        for name in order:
            step = steps[name]
            after = [Follow(when.value, runs[one].token) for when, names in step.before.items() for one in names]
            site = step.asked.site or (runs[order[0]].site if runs else "")
            asked = replace(step.asked, site=site, after=(*step.asked.after, *after))
            runs[name] = await desk.submit(step.application, step.given, asked)
    except SpringtideError as error:
        error.step = name
        for submitted in runs.values():
            await desk.cancel(submitted)
        raise
    return {name: runs[name] for name in steps}


def in_order(steps: Mapping[str, Collection[str]]) -> list[str]:
    """Return the names of steps so that each comes after those it follows.

    Parameters
    ----------
    steps : mapping
        For each step the names of those it follows.

    Raises
    ------
    ChainError
        If one follows a step that is not there, or they go round in a circle; it is shown.
    """
    for name, before in steps.items():
        if missing := sorted(set(before) - set(steps)):
            raise ChainError(
                f"The step “{name}” follows “{missing[0]}”, which is no step.", f"There are: {', '.join(steps)}."
            )
    done: list[str] = []
    for name in steps:
        _visit(name, steps, done)
    return done


def _visit(start: str, steps: Mapping[str, Collection[str]], done: list[str]) -> None:
    """Add `start` to `done`, after all that it follows; without recursion, as chains may be long."""
    path: list[str] = []
    todo = [(start, False)]
    while todo:
        name, left = todo.pop()
        if left:
            done.append(path.pop())
        elif name in path:
            circle = " → ".join([*path[path.index(name) :], name][::-1])
            raise ChainError(f"The steps go round in a circle: {circle}.", "One of them has to begin.")
        elif name not in done:
            path.append(name)
            todo += [(name, True), *((before, False) for before in sorted(steps[name], reverse=True))]


def must_wait(site: str, follows: Sequence[Follow], rows: Mapping[str, JobRecord]) -> bool:
    """Whether a job cannot be submitted yet: one that it follows is open at another site, or is itself not submitted.

    Raises
    ------
    ChainError
        If one ended otherwise than it should, so that the job would never start.
    """
    for follow in follows:
        if follow.token in rows and rows[follow.token].over:
            _check_end(rows[follow.token], After(follow.when))
    return any(
        follow.token not in rows or (not rows[follow.token].over and rows[follow.token].site != site)
        for follow in follows
    )


def dependencies_at(site: str, follows: Sequence[Follow], rows: Mapping[str, JobRecord]) -> tuple[Dependency, ...]:
    """Return what a site's queue has to wait for; jobs that have ended as they should need no waiting.

    Parameters
    ----------
    rows : mapping
        The rows of the jobs to follow, by the tokens in `follows`; `must_wait` has said that there are all.

    Raises
    ------
    ChainError
        If one ended otherwise than it should, so that the job would never start.
    NotSubmitted
        If nobody knows yet whether one was submitted.
    """
    found: dict[After, list[str]] = {}
    for follow in follows:
        row, when = rows[follow.token], After(follow.when)
        if row.over:
            _check_end(row, when)
        elif row.site != site:
            raise NotSubmitted(
                f"The job {row.token} is still open at {row.site}, and no queue waits for another site's jobs.",
                transient=True,
            )
        elif not row.job_id:
            raise NotSubmitted(f"Nobody knows yet whether the job {row.token} was submitted.", transient=True)
        else:
            found.setdefault(when, []).append(row.job_id)
    return tuple(Dependency(when, tuple(ids)) for when, ids in found.items())


def _check_end(row: JobRecord, when: After) -> None:
    good = row.state == "finished" and row.exit_status == 0 and row.cause in ("", "exit")
    fulfilled = {After.OK: good, After.FAILURE: not good, After.ANY: True, After.START: row.started is not None}[when]
    if not fulfilled:
        how = "succeeded" if good else f"did not succeed ({row.cause or row.state})"
        raise ChainError(
            f"The job {row.token} {how}, so that one that follows it would never start.",
            "Run it again, and follow that one.",
        )
