"""What PBS Pro says of a job, put into the words of all dialects: where it is, how it ended, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from springtide.errors import QueueUnreachable
from springtide.queues.model import Cause, JobInfo, JobState
from springtide.queues.pbs import words as pbs_words
from springtide.queues.pbs.pro_answers import parse_records, unescaped

STATES = {
    "Q": JobState.QUEUED,
    "H": JobState.HELD,
    "W": JobState.WAITING,
    "T": JobState.WAITING,
    "M": JobState.WAITING,
    "R": JobState.RUNNING,
    "B": JobState.RUNNING,
    "S": JobState.SUSPENDED,
    "U": JobState.SUSPENDED,
    "E": JobState.ENDING,
    "X": JobState.FINISHED,
    "F": JobState.FINISHED,
}
_WAITS_FOR_A_JOB = "22"
_DELETED, _DONE, _FAILED = "91", "92", "93"
# The second after some twenty starts that failed at once, as when its logs cannot be opened.
_NEVER = re.compile(r"^Can Never Run|^job (?:array )?held, too many failed attempts", re.IGNORECASE)
_ENDED_BY = " terminated by "
_TOO_MUCH_MEMORY = re.compile(r"exceeded resource v?mem|mem(?:ory)? limit exceeded", re.IGNORECASE)
# Exit_status below 0 is PBS's own (JOB_EXEC_… of its source): the cause, and words for those without a comment.
_OWN_STATUS = {
    -1: (Cause.NEVER_RUNS, "it could not be started"),
    -2: (Cause.NEVER_RUNS, "it could not be started"),
    -3: (Cause.NEVER_RUNS, "it could not be started"),
    -4: (Cause.LOST, "its node was started anew"),
    -5: (Cause.LOST, "its node was started anew"),
    -6: (Cause.LOST, "its node was started anew"),
    -7: (Cause.NEVER_RUNS, "it could not be started again from its checkpoint"),
    -10: (Cause.NEVER_RUNS, "its account or group is not valid on the node"),
    -13: (Cause.NEVER_RUNS, "its password is wrong"),
    -14: (Cause.LOST, "one of its nodes was lost"),
    -17: (Cause.NEVER_RUNS, "a hook of the site refused it"),
    -19: (Cause.CANCELLED, "a hook of the site deleted it"),
    -20: (Cause.LOST, "its node was lost"),
    -21: (Cause.NEVER_RUNS, "PBS's folder on the node is not safe"),
    -23: (Cause.NEVER_RUNS, "its Kerberos ticket is missing"),
    -24: (Cause.SIGNAL, "it used more cores than it had asked for"),
    -25: (Cause.SIGNAL, "it used more cores than it had asked for"),
    -26: (Cause.MEMORY, "it used more virtual memory than it had asked for"),
    -27: (Cause.MEMORY, "it used more memory than it had asked for"),
    -28: (Cause.SIGNAL, "it used more CPU time than it had asked for"),
    -29: (Cause.WALLTIME, "it ran longer than it had asked for"),
    -30: (Cause.NEVER_RUNS, "its nodes could not be joined"),
}


def parse_jobs(text: str, delimiter: str) -> Iterator[JobInfo]:
    """Yield the jobs of a ``qstat -f -F dsv`` answer.

    Raises
    ------
    QueueUnreachable
        If it is cut off, is something else, or names a job twice.
    """
    seen = set()
    for job_id, attributes in parse_records(text, "Job Id", delimiter):
        if job_id in seen or "job_state" not in attributes:
            raise QueueUnreachable(f"qstat: the answer about {job_id} cannot be read")
        seen.add(job_id)
        yield _job(job_id, attributes)


def _job(job_id: str, attributes: Mapping[str, str]) -> JobInfo:
    said = attributes.get
    state = _state(attributes)
    starts = pbs_words.number(said("run_count", ""))
    begun = state.placed or not state.alive
    status, cause, reason = _end(attributes) if not state.alive else (None, *_while_alive(state, attributes))
    return JobInfo(
        id=job_id,
        name=unescaped(said("Job_Name", "")),
        state=state,
        owner=pbs_words.user_of(said("Job_Owner", "")),
        queue=said("queue", ""),
        nodes=pbs_words.hosts_of(said("exec_host", "")) if begun else (),
        reason=reason,
        exit_status=status,
        cause=cause,
        cancelled_by=_ended_by(said("comment", "")) if cause is Cause.CANCELLED else "",
        cores=pbs_words.number(said("Resource_List.ncpus", "")) or 0,
        memory_bytes=pbs_words.size_bytes(said("Resource_List.mem", "")) or 0,
        node_count=pbs_words.number(said("Resource_List.nodect", "")) or 0,
        walltime_s=pbs_words.duration_s(said("Resource_List.walltime", "")),
        submitted=pbs_words.moment(said("ctime", "")),
        started=pbs_words.moment(said("stime", "")) if begun else None,
        ended=None if state.alive else pbs_words.moment(said("obittime", said("history_timestamp", said("mtime", "")))),
        expected_start=pbs_words.moment(said("estimated.start_time", "")) if state.waits else None,
        runs=starts,
        array=said("array_id", ""),
        used=pbs_words.used(
            said("resources_used.cput", ""), said("resources_used.mem", ""), said("resources_used.walltime", "")
        ),
    )


def _state(attributes: Mapping[str, str]) -> JobState:
    """Return the state; PBS calls a job held, too, that waits for another: nobody can release it."""
    if attributes["job_state"] == "H" and attributes.get("substate") == _WAITS_FOR_A_JOB:
        return JobState.WAITING
    return STATES.get(attributes["job_state"], JobState.QUEUED)


def _while_alive(state: JobState, attributes: Mapping[str, str]) -> tuple[Cause | None, str]:
    """Return what is to be said of a job that has not ended, and PBS's own words for why it waits."""
    words = unescaped(attributes.get("comment", ""))
    if not state.waits:
        return None, words
    if _NEVER.search(words):
        return Cause.NEVER_RUNS, words
    again = (pbs_words.number(attributes.get("run_count", "")) or 0) > 0
    return Cause.REQUEUED if again else None, words or _why_without_a_comment(state, attributes)


def _why_without_a_comment(state: JobState, attributes: Mapping[str, str]) -> str:
    if state is JobState.HELD:
        return f"held: Hold_Types = {attributes.get('Hold_Types', '')}"
    if attributes.get("substate") == _WAITS_FOR_A_JOB:
        return f"depend = {attributes.get('depend', '')}"
    if "Execution_Time" in attributes and state is JobState.WAITING:
        return f"Execution_Time = {attributes['Execution_Time']} UTC"
    return ""


def _end(attributes: Mapping[str, str]) -> tuple[int | None, Cause, str]:
    """Return a job's exit status, why it ended, and PBS's own words for it."""
    words = unescaped(attributes.get("comment", ""))
    substate, code = attributes.get("substate", ""), pbs_words.number(attributes.get("Exit_status", ""))
    if code is None:
        return None, _end_without_status(substate, attributes), words
    if code < 0:
        cause, meaning = _OWN_STATUS.get(code, (Cause.LOST, "PBS gave it up"))
        status, words = None, words if "exceeded" in words else f"{words} ({meaning})".strip()
    else:
        status, cause = pbs_words.status_of(code)
    if substate == _DELETED:
        cause = Cause.CANCELLED
    elif cause in (Cause.SIGNAL, Cause.EXIT) and status != 0 and _TOO_MUCH_MEMORY.search(words):
        cause = Cause.MEMORY
    if code == 0 and substate == _FAILED:
        # Of an array PBS says 0 whatever its jobs returned.
        status = None
    return status, cause, words


def _end_without_status(substate: str, attributes: Mapping[str, str]) -> Cause:
    if substate == _DELETED:
        return Cause.CANCELLED
    if substate == _FAILED or "stime" in attributes:
        return Cause.LOST
    return Cause.DEPENDENCY if "after" in attributes.get("depend", "") else Cause.NEVER_RUNS


def _ended_by(comment: str) -> str:
    _, found, who = comment.rpartition(_ENDED_BY)
    return pbs_words.user_of(who.strip()) if found else ""
