"""How a job ended, in one sentence that a scientist understands."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from typing import Any

from springtide.queues.model import Cause, JobInfo
from springtide.queues.reason_words import one_line
from springtide.texts import translate
from springtide.units import describe_duration, format_memory

_SIGNALS = range(129, 193)
_KNOWN_STATUSES = {126: "exit_126", 127: "exit_127"}
_KNOWN_SIGNALS = {
    "KILL": "signal_kill",
    "SEGV": "signal_segv",
    "BUS": "signal_segv",
    "ABRT": "signal_abrt",
    "FPE": "signal_fpe",
    "ILL": "signal_ill",
    "XCPU": "signal_xcpu",
    "XFSZ": "signal_xfsz",
    "TERM": "signal_term",
}
# Words of PBS and Slurm that say more than the cause.
_SPECIAL = tuple(
    (cause, re.compile(pattern, re.IGNORECASE), key)
    for cause, pattern, key in (
        (Cause.CANCELLED, r"^(PREEMPTED|REVOKED)", "preempted"),
        (Cause.CANCELLED, r"\bhook\b", "hook"),
        (Cause.WALLTIME, r"^DEADLINE", "deadline"),
        (Cause.NEVER_RUNS, r"^DEADLINE", "deadline_waiting"),
        (Cause.NEVER_RUNS, r"\bhook\b", "hook"),
        (Cause.NEVER_RUNS, r"account or group|Bad [UG]ID|its password|Kerberos", "bad_account"),
        (Cause.NEVER_RUNS, r"could not be (started|joined)|is not safe", "not_started"),
        (Cause.SIGNAL, r"more cores than|resource ncpus", "too_many_cores"),
        (Cause.SIGNAL, r"more CPU time than|resource cput", "too_much_cpu_time"),
        (Cause.LOST, r"started anew|restarted", "node_restarted"),
        (Cause.LOST, r"nodes? was lost|NODE_FAIL|NodeDown", "node_lost"),
        (Cause.LOST, r"^(BOOT_FAIL|LAUNCH_FAILED|RECONFIG_FAIL)|LaunchFail", "not_launched"),
    )
)


def explain_end(job: JobInfo, language: str) -> str:
    """Return how `job` ended, and what to do where that is known; that it is not known where nothing is."""
    if job.state.alive or job.cause is None:
        key, values = _without_cause(job)
    elif special := _special(job):
        key, values = special, {"node": job.nodes[0] if job.nodes else ""}
    else:
        key, values = _BY_CAUSE[job.cause](job)
    return translate(language, f"causes.{key}", **values)


_Said = tuple[str, dict[str, Any]]


def _special(job: JobInfo) -> str:
    key = next((key for cause, words, key in _SPECIAL if cause is job.cause and words.search(job.reason)), "")
    return f"{key}_on" if key in ("node_restarted", "node_lost") and job.nodes else key


def _without_cause(job: JobInfo) -> _Said:
    if job.exit_status is not None and not job.state.alive:
        return _exit(job)
    words = one_line(job.reason)
    return ("unknown_said", {"words": words}) if words and not job.state.alive else ("unknown", {})


def _exit(job: JobInfo) -> _Said:
    status = job.exit_status
    if status is None:
        return "exit_unknown", {}
    if status in _SIGNALS:
        return _signal(job)
    if status == 0:
        return "exit_0", {}
    return _KNOWN_STATUSES.get(status, "exit"), {"status": status}


def _signal(job: JobInfo) -> _Said:
    if job.exit_status is None:
        words = one_line(job.reason)
        return ("signal_said", {"words": words}) if words else ("signal_unknown", {})
    name = _name_of_signal(job.exit_status - 128)
    return _KNOWN_SIGNALS.get(name, "signal"), {"signal": name, "status": job.exit_status}


def _name_of_signal(number: int) -> str:
    """Return "KILL" of 9; the number of what has no name."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def _walltime(job: JobInfo) -> _Said:
    return ("walltime", {"asked": describe_duration(job.walltime_s)}) if job.walltime_s else ("walltime_unknown", {})


def _memory(job: JobInfo) -> _Said:
    used = (job.used.memory_bytes if job.used else 0) or 0
    if not job.memory_bytes:
        return "memory_unknown", {}
    values = {"asked": format_memory(job.memory_bytes), "used": format_memory(used)}
    # What was measured last may be less than what was too much.
    return ("memory_used" if used > job.memory_bytes and values["used"] != values["asked"] else "memory"), values


def _cancelled(job: JobInfo) -> _Said:
    who = one_line(job.cancelled_by)
    if not who:
        return "cancelled", {}
    if who == job.owner:
        return "cancelled_by_owner", {"who": who}
    return ("cancelled_by_root" if who == "root" else "cancelled_by"), {"who": who}


def _never_ran(job: JobInfo) -> _Said:
    words = one_line(job.reason)
    return ("never_ran_said", {"words": words}) if words else ("never_ran", {})


def _lost(job: JobInfo) -> _Said:
    words = one_line(job.reason)
    return ("lost_said", {"words": words}) if words else ("lost", {})


_BY_CAUSE: dict[Cause, Callable[[JobInfo], _Said]] = {
    Cause.EXIT: _exit,
    Cause.SIGNAL: _signal,
    Cause.WALLTIME: _walltime,
    Cause.MEMORY: _memory,
    Cause.CANCELLED: _cancelled,
    Cause.DEPENDENCY: lambda job: ("dependency", {}),
    Cause.NEVER_RUNS: _never_ran,
    Cause.REQUEUED: lambda job: ("requeued", {}),
    Cause.LOST: _lost,
}
