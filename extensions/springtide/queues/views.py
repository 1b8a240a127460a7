"""A job as every interface shows it: one form for the command line's tables, its JSON, and what comes later.

Where the scheduler and the ledger both know a job, the scheduler's word counts for what it says; what it does not say
(any more) comes from the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from springtide.ledger.records import LOST, REFUSED, JobRecord
from springtide.queues.model import Cause, JobInfo, JobState

UNKNOWN = "unknown"
"""State of a job of which nothing certain is known: its submission is under way, or nobody can be asked."""
STATES = (*(state.value for state in JobState), UNKNOWN)
_WAITS = frozenset(state.value for state in JobState if state.waits)
_STATES = {state.value: state for state in JobState}
_CAUSES = {cause.value: cause for cause in Cause}
# The ledger's own words for jobs that are over without ever having been finished by a scheduler.
_OVER_OTHERWISE = {REFUSED: ("finished", "refused"), LOST: ("finished", "lost")}


@dataclass(frozen=True)
class JobView:
    """One job; times are seconds since 1970, None and empty is what nobody has said."""

    id: str
    site: str
    name: str
    state: str
    """One of `STATES`."""
    exit_status: int | None = None
    cause: str = ""
    reason: str = ""
    """The scheduler's own words for why it waits or how it ended."""
    explanation: str = ""
    """The same in a sentence."""
    advice: str = ""
    """What its owner can do about it."""
    submitted: float | None = None
    started: float | None = None
    ended: float | None = None
    expected_start: float | None = None
    """When it may be expected to start, while it waits: the scheduler's word, else what was foreseen at submission."""
    token: str = ""
    user: str = ""
    queue: str = ""
    cores: int = 0
    nodes: tuple[str, ...] = ()
    folder: str = ""
    output: str = ""
    errors: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing happens to it any more."""
        return self.state == JobState.FINISHED.value

    def unknown(self, explanation: str) -> JobView:
        """Return the same as a job of which nothing certain is known now."""
        return replace(self, state=UNKNOWN, explanation=explanation, advice="")

    def explained(self, explanation: str, advice: str) -> JobView:
        """Return the same with a sentence and an advice."""
        return replace(self, explanation=explanation, advice=advice)

    def as_json(self) -> dict[str, Any]:
        """Return the job as JSON has it: times in ISO 8601, UTC; null is what is not known or not said."""
        return {
            "id": self.id or None,
            "site": self.site,
            "name": self.name,
            "state": self.state,
            "exit_status": self.exit_status,
            "cause": self.cause or None,
            "reason": self.reason or None,
            "advice": self.advice or None,
            "submitted": iso_time(self.submitted),
            "started": iso_time(self.started),
            "ended": iso_time(self.ended),
            "expected_start": iso_time(self.expected_start),
            "explanation": self.explanation or None,
            "token": self.token or None,
            "user": self.user,
            "queue": self.queue or None,
            "cores": self.cores or None,
            "nodes": list(self.nodes),
            "folder": self.folder or None,
            "output": self.output or None,
            "errors": self.errors or None,
        }


def view_of_job(job: JobInfo, site: str) -> JobView:
    """Return what the scheduler says of a job."""
    return JobView(
        id=job.id,
        site=site,
        name=job.name,
        state=job.state.value,
        exit_status=job.exit_status,
        cause=job.cause.value if job.cause else "",
        reason=job.reason,
        submitted=job.submitted,
        started=job.started,
        ended=job.ended,
        expected_start=job.expected_start if job.state.waits else None,
        user=job.owner,
        queue=job.queue,
        cores=job.cores,
        nodes=job.nodes,
    )


def view_of_record(record: JobRecord) -> JobView:
    """Return what the ledger knows of a job."""
    state, cause = _OVER_OTHERWISE.get(record.state, (record.state, record.cause))
    return JobView(
        id=record.job_id,
        site=record.site,
        name=record.name,
        state=state if state in STATES else UNKNOWN,
        exit_status=record.exit_status,
        cause=cause,
        reason=record.reason,
        submitted=record.submitted or record.recorded or None,
        started=record.started,
        ended=record.ended,
        expected_start=record.expected_start if state in _WAITS else None,
        token=record.token,
        user=record.user,
        queue=record.queue,
        cores=record.cores,
        folder=record.folder,
        output="" if record.output == "/dev/null" else record.output,
        errors=record.errors,
    )


def merged(record: JobRecord, job: JobInfo) -> JobView:
    """Return what both know: the scheduler's word where it has one."""
    known, said = vars(view_of_record(record)), vars(view_of_job(job, record.site))
    # The scheduler knows the job under a name made for it, and its owner as an account.
    kept = {"name", "user", "site", "token", "folder", "output", "errors"}
    news = {name: value for name, value in said.items() if name not in kept and value not in (None, "", 0, ())}
    if job.exit_status == 0:
        news["exit_status"] = 0
    if not job.state.waits:
        news["expected_start"] = None
    return JobView(**{**known, **news})


def info_of_record(record: JobRecord) -> JobInfo | None:
    """Return the ledger's row in the scheduler's form, to be explained; None where its state is no job's."""
    state, cause = _OVER_OTHERWISE.get(record.state, (record.state, record.cause))
    if state not in _STATES:
        return None
    return JobInfo(
        id=record.job_id,
        state=_STATES[state],
        name=record.name,
        owner=record.account,
        queue=record.queue,
        reason=record.reason,
        exit_status=record.exit_status,
        cause=_CAUSES.get(cause),
        cancelled_by=record.cancelled_by,
        cores=record.cores,
        memory_bytes=record.memory_bytes,
        node_count=record.nodes,
        walltime_s=record.walltime_s or None,
        submitted=record.submitted,
        started=record.started,
        ended=record.ended,
        runs=record.runs,
    )


def iso_time(time: float | None) -> str | None:
    """Return a time in ISO 8601, UTC, to the second."""
    return None if time is None else datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
