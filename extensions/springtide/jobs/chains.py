"""Jobs that follow each other: which may go first, and what those that are over mean for one that follows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from springtide.errors import ChainError, NotSubmitted
from springtide.jobs.spec import Follow
from springtide.ledger.records import JobRecord
from springtide.queues.model import After, Dependency


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


def dependencies_at(site: str, follows: Sequence[Follow], rows: Mapping[str, JobRecord]) -> tuple[Dependency, ...]:
    """Return what a site's queue has to wait for; jobs that have ended as they should need no waiting.

    Parameters
    ----------
    rows : mapping
        The rows of the jobs to follow, by the tokens in `follows`.

    Raises
    ------
    ChainError
        If one ended otherwise than it should, so that the job would never start, or one is open at another site.
    NotSubmitted
        If nobody knows yet whether one was submitted.
    """
    found: dict[After, list[str]] = {}
    for follow in follows:
        row, when = rows[follow.token], After(follow.when)
        if row.over:
            _check_end(row, when)
        elif row.site != site:
            raise ChainError(
                f"The job {row.token} is still open at {row.site}, and no queue waits for another site's jobs.",
                f"Submit to {row.site} too, or wait for its end.",
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
