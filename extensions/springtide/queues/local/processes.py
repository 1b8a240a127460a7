"""Processes as ``/proc`` shows them: who is alive, who descends from whom, who carries a job's mark.

A process is named by its number AND the tick it started at: numbers are used again, and a stranger is never signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

MARK_VARIABLE = "SPRINGTIDE_LOCAL_JOB"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_DEAD_STATES = "ZXx"
_KIB = 2**10
_SERVANTS = b"springtide.queues.local."
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessName(NamedTuple):
    """Tells a process from every other of this boot."""

    pid: int
    start: int
    """Clock ticks after the boot."""


class _Stat(NamedTuple):
    state: str
    parent: int
    session: int
    start: int


def me() -> ProcessName:
    """Return this process's name."""
    return ProcessName(os.getpid(), start_of(os.getpid()) or 0)


def start_of(pid: int) -> int | None:
    """Return when the process started, None where there is none, or only its exit status is left of it."""
    stat = _stat(pid)
    return None if stat is None or stat.state in _DEAD_STATES else stat.start


def is_alive(process: ProcessName) -> bool:
    """Whether this very process runs."""
    return start_of(process.pid) == process.start


def open_watch(process: ProcessName) -> int | None:
    """Return a descriptor that becomes readable when the process ends.

    None on kernels before 5.3; the caller then has to look now and then.

    Raises
    ------
    ProcessLookupError
        If it has ended.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        raise
    except OSError:
        if not is_alive(process):
            raise ProcessLookupError(process.pid) from None
        return None
    if is_alive(process):
        return descriptor
    os.close(descriptor)
    raise ProcessLookupError(process.pid)


def send(process: ProcessName, number: signal.Signals) -> bool:
    """Signal this very process; whether it was there."""
    try:
        descriptor = open_watch(process)
        if descriptor is None:
            os.kill(process.pid, number)
            return True
        try:
            signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal all of `pids`; those that are gone, or are another account's by now, are left out."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def descendants(pid: int, folder: str) -> set[int]:
    """Return the living processes below `pid`, itself not among them.

    A job may submit another one, and thereby start the keeper of the queue in `folder`: it and all below it are no
    part of the job.
    """
    found: set[int] = set()
    todo = [pid]
    while todo:
        new = [child for child in _children(todo.pop()) if child not in found and not _serves(child, folder)]
        found.update(new)
        todo += new
    return {child for child in found if start_of(child) is not None}


def processes_of(mark: str, leader: ProcessName | None, folder: str) -> set[int]:
    """Return the living processes of a job whose shepherd is gone.

    These carry the job's mark in their environment, share a session with its first process, or descend from those.
    """
    stats = {pid: stat for pid in _all_pids() if (stat := _stat(pid)) and stat.state not in _DEAD_STATES}
    found = {pid for pid in stats if _carries(pid, mark)}
    if leader and leader.pid in stats and stats[leader.pid].start == leader.start:
        found |= {pid for pid, stat in stats.items() if stat.session == leader.pid}
    others = {pid for pid in stats if _serves(pid, folder)}
    while new := {pid for pid, stat in stats.items() if stat.parent in found - others} - found:
        found |= new
    return found - others


def memory_of(pids: Iterable[int], limit_bytes: int) -> int:
    """Return the bytes of memory the processes use together.

    Pages they share are counted once for each process at first, and fairly only where that sum passes `limit_bytes`:
    the fair count (PSS) costs the kernel a walk through all pages.
    """
    listed = list(pids)
    total = sum(map(_resident_bytes, listed))
    return total if total <= limit_bytes else sum(map(_fair_bytes, listed))


def become_subreaper() -> None:
    """Become the parent of every descendant whose own parent ends: none gets out of sight."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def prefer_in_memory_shortage() -> None:
    """Let the kernel, when memory runs out, end this process and its children before the machine's services."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _prctl(option: int, value: int) -> None:
    # Late: the commands do without, and are to start quickly.
    import ctypes

    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _all_pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found = []
    for thread in threads:
        words = _read(f"/proc/{pid}/task/{thread}/children")
        if words is None and os.path.exists(f"/proc/{pid}/task/{thread}/stat"):
            # A kernel without these files.
            return [other for other in _all_pids() if (stat := _stat(other)) and stat.parent == pid]
        found += [int(word) for word in (words or b"").split()]
    return found


def _stat(pid: int) -> _Stat | None:
    text = _read(f"/proc/{pid}/stat")
    if not text:
        return None
    # The command's name stands in brackets and may hold anything, brackets included.
    fields = text.rpartition(b")")[2].split()
    return _Stat(fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]))


def _serves(pid: int, folder: str) -> bool:
    """Whether the process is keeper or shepherd of the queue in `folder`."""
    words = (_read(f"/proc/{pid}/cmdline") or b"").split(b"\0")
    return folder.encode() in words and any(word.startswith(_SERVANTS) for word in words)


def _carries(pid: int, mark: str) -> bool:
    environment = _read(f"/proc/{pid}/environ") or b""
    return f"{MARK_VARIABLE}={mark}".encode() in environment.split(b"\0")


def _resident_bytes(pid: int) -> int:
    words = (_read(f"/proc/{pid}/statm") or b"").split()
    return int(words[1]) * _PAGE_BYTES if len(words) > 1 else 0


def _fair_bytes(pid: int) -> int:
    for line in (_read(f"/proc/{pid}/smaps_rollup") or b"").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * _KIB
    return _resident_bytes(pid)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None
