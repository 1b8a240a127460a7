"""Slurm's words for states, ends, reasons, times, sizes and hosts, in ours.

The same for squeue and sacct, and for all versions: a word of a version to come is no end, so that no job is declared
dead for it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from springtide.queues.model import Cause, JobState

_ALIVE = {
    "PENDING": JobState.QUEUED,
    "REQUEUED": JobState.QUEUED,
    "REQUEUE_FED": JobState.QUEUED,
    "EXPEDITING": JobState.QUEUED,
    "REQUEUE_HOLD": JobState.HELD,
    "SPECIAL_EXIT": JobState.HELD,
    "RESV_DEL_HOLD": JobState.HELD,
    "CONFIGURING": JobState.RUNNING,
    "POWER_UP_NODE": JobState.RUNNING,
    "RUNNING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "SUSPENDED": JobState.SUSPENDED,
    "STOPPED": JobState.SUSPENDED,
    "COMPLETING": JobState.ENDING,
    "STAGE_OUT": JobState.ENDING,
}
# EXIT: the exit status says more. PREEMPTED and REVOKED: the scheduler took it away for another.
_ENDED = {
    "COMPLETED": Cause.EXIT,
    "FAILED": Cause.EXIT,
    "CANCELLED": Cause.CANCELLED,
    "TIMEOUT": Cause.WALLTIME,
    "DEADLINE": Cause.WALLTIME,
    "OUT_OF_MEMORY": Cause.MEMORY,
    "NODE_FAIL": Cause.LOST,
    "BOOT_FAIL": Cause.LOST,
    "LAUNCH_FAILED": Cause.LOST,
    "RECONFIG_FAIL": Cause.LOST,
    "PREEMPTED": Cause.CANCELLED,
    "REVOKED": Cause.CANCELLED,
}
_WAITING = (
    (JobState.HELD, re.compile(r"JobHeld|JobHoldMaxRequeue|RequeueExitHold|ReservationDeleted|.*requeued.*\bheld")),
    (JobState.WAITING, re.compile(r"BeginTime|Dependency")),
)
# What only an administrator's change could let start. Not PartitionNodeLimit: it is also said of nodes that are down.
_NEVER_RUNS = re.compile(
    r"BadConstraints|PartitionTimeLimit|MaxMemPerLimit|DeadLine|InvalidAccount|InvalidQOS|AccountNotAllowed|QOSNotAllowed"
    r"|(?:Assoc|QOS)Max\w+Per(?:Job|Node)(?:Limit)?\b|QOSMin\w+"
)
_NO_WORDS = ("None", "")
_UNITS = {"": 2**20, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)", re.ASCII)
_MEMORY = re.compile(r"(?:^|,)mem=([^,]*)")
_HOSTS = re.compile(r"(?:[^,\[]|\[[^\]]*\])+")
_RANGE = re.compile(r"\[([^\]]*)\]")
_MOST_HOSTS = 100_000
_OUT_OF_MEMORY = 125


def has_ended(word: str) -> bool:
    """Whether Slurm's word for a state is an end."""
    return word in _ENDED


def live_state(word: str, reason: str, *, placed: bool) -> JobState:
    """Return the state of a job that has not ended."""
    state = _ALIVE.get(word) or (JobState.RUNNING if placed else JobState.QUEUED)
    if state is not JobState.QUEUED:
        return state
    return next((waits for waits, words in _WAITING if words.match(reason)), state)


def waiting_cause(reason: str, restarts: int) -> Cause | None:
    """Return what there is to say of a job that waits."""
    if reason.startswith("DependencyNeverSatisfied"):
        return Cause.DEPENDENCY
    if _NEVER_RUNS.match(reason):
        return Cause.NEVER_RUNS
    return Cause.REQUEUED if restarts else None


def end_of(word: str, reason: str, code: str, *, placed: bool) -> tuple[Cause, int | None]:
    """Return why a job ended and its script's exit status (128 + signal where one ended it).

    A job that was ended from outside has no success of its own: its 0 is None.

    Parameters
    ----------
    word, reason, code : str
        Slurm's words for the state and the reason, and the status: "3:0", or as wait(2) gives it.
    placed : bool
        Whether it ever had nodes.
    """
    status, signal = _split_status(code)
    known = 128 + signal if signal else status if status or word == "COMPLETED" else None
    cause = _ENDED[word]
    if "DependencyNeverSatisfied" in reason:
        return Cause.DEPENDENCY, None
    if word == "DEADLINE" and not placed:
        return Cause.NEVER_RUNS, None
    if word == "OUT_OF_MEMORY" and _OUT_OF_MEMORY in (status, signal):
        # Slurm's own mark, no signal.
        return cause, None
    if word == "FAILED":
        # Without an exit status it could not even be started.
        cause = Cause.SIGNAL if signal else Cause.EXIT if status else Cause.LOST
    return cause, known


def _split_status(code: str) -> tuple[int, int]:
    if ":" in code:
        status, _, signal = code.partition(":")
        return int(status), int(signal)
    return int(code) >> 8 & 0xFF, int(code) & 0x7F


def shown_reason(word: str, reason: str, *, alive: bool, waits: bool) -> str:
    """Return what to show: why a job waits, nothing of a running one, how it ended."""
    if alive:
        return reason if waits and reason not in _NO_WORDS else ""
    return word if reason in _NO_WORDS else f"{word} ({reason})"


def parse_time(text: str) -> float | None:
    """Return the seconds since 1970, None where there is no such time ("N/A", "Unknown", "None")."""
    return (float(text) or None) if text.isdecimal() else None


def parse_limit(text: str) -> int | None:
    """Return the seconds of "5:00", "1:00:00" or "2-00:00:00", None of UNLIMITED, NOT_SET and the like."""
    days, _, clock = text.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdecimal() for part in (days or "0", *parts)):
        return None
    seconds = functools.reduce(lambda whole, part: whole * 60 + int(part), parts, 0)
    return seconds + int(days or 0) * 86400


def parse_size(text: str) -> int | None:
    """Return the bytes of "512M", "1.5G" or "4096" (MiB, Slurm's unit), None of UNLIMITED and the like."""
    match = _SIZE.fullmatch(text)
    return int(float(match[1]) * _UNITS[match[2]]) if match else None


def parse_count(text: str) -> int | None:
    """Return a number, None of UNLIMITED and the like."""
    return int(text) if text.isdecimal() else None


@functools.lru_cache(maxsize=4096)
def memory_of(tres: str) -> int:
    """Return the bytes of ``mem=`` among a job's trackable resources; 0 where it has none."""
    match = _MEMORY.search(tres)
    return (parse_size(match[1]) or 0) if match else 0


@functools.lru_cache(maxsize=4096)
def expand_hosts(hosts: str) -> tuple[str, ...]:
    """Return the host names of "n[01-03,7],m1" one by one.

    Raises
    ------
    ValueError
        If it is no such list.
    """
    return tuple(host for part in _HOSTS.findall(hosts) for host in _expanded(part))


def _expanded(part: str) -> Iterator[str]:
    found = _RANGE.search(part)
    if not found:
        yield part
        return
    before, behind = part[: found.start()], tuple(_expanded(part[found.end() :]))
    for numbers in found[1].split(","):
        first, _, last = numbers.partition("-")
        if int(last or first) - int(first) > _MOST_HOSTS:
            raise ValueError(f"too many hosts in {part}")
        for number in range(int(first), int(last or first) + 1):
            yield from (f"{before}{number:0{len(first)}d}{rest}" for rest in behind)
