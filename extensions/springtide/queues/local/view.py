"""The local queue as others see it: jobs with their state, their cause and why they wait.

An array is one job to those who look at the whole queue; its own jobs show when it is looked at by its id.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from springtide.queues.local.directives import QUEUE_NAME, parse_id
from springtide.queues.local.machine import Settings, account, host_name
from springtide.queues.local.schedule import Room, Running, Waiting, expected_starts, free_room
from springtide.queues.local.store import id_of
from springtide.units import format_memory, format_walltime

_ACTIVE = ("running", "ending")
# The state of an array is the first of these that one of its jobs is in.
_ARRAY_STATES = ("running", "ending", "queued", "waiting", "held", "finished")
_STATE_LETTERS = {"queued": "Q", "held": "H", "waiting": "W", "running": "R", "ending": "E", "finished": "F"}
_GOOD = ("exit", 0)
_WAITS_FOR = {
    "ok": "to end with exit status 0",
    "failure": "to end with an error",
    "any": "to end",
    "start": "to start",
}


class View:
    """The queue at one moment."""

    def __init__(self, live: Sequence[sqlite3.Row], settings: Settings) -> None:
        self.now = time.time()
        self.total = Room(settings.cores, settings.memory_bytes)
        self.running = [running_of(row, self.now) for row in live if row["state"] in _ACTIVE]
        self.free = free_room(self.total, self.running)
        self.waiting = [waiting_of(row) for row in live if is_ready(row, self.now)]
        self.expected = expected_starts(self.waiting, self.running, self.total)
        self._owner = account().pw_name
        self._host = host_name()

    def whole(self, rows: Iterable[sqlite3.Row]) -> Iterator[dict[str, Any]]:
        """Yield one entry for each submission."""
        for _, jobs in groupby(rows, key=lambda row: int(row["number"])):
            entries = [self.entry(row) for row in jobs]
            yield _as_array(entries) if entries[0].get("array") else entries[0]

    def entry(self, row: sqlite3.Row) -> dict[str, Any]:
        """Return one job as the fields of `JobInfo`; what is empty is left out."""
        state = self._state(row)
        entry = {
            "id": id_of(row),
            "state": state,
            "name": row["name"],
            "owner": self._owner,
            "queue": QUEUE_NAME,
            "nodes": [self._host] if row["started"] is not None else [],
            "reason": row["reason"] if state == "finished" else self._why(row, state),
            "exit_status": row["exit_status"],
            "cause": row["cause"] if state == "finished" else self._live_cause(row, state),
            "cancelled_by": row["wished_by"] if row["cause"] == "cancelled" or state == "ending" else "",
            "cores": row["cores"],
            "memory_bytes": row["memory"],
            "node_count": 1,
            "walltime_s": row["walltime"],
            "submitted": row["submitted"],
            "started": row["started"],
            "ended": row["ended"],
            "expected_start": self._expected(row),
            "runs": row["runs"] - is_about_to_start(row),
            "array": f"{row['number']}[]" if row["is_array"] else "",
            "used": _used(row),
        }
        return {name: value for name, value in entry.items() if value is not None and value != "" and value != []}

    def _state(self, row: sqlite3.Row) -> str:
        if row["state"] == "queued" and not is_ready(row, self.now):
            return "waiting"
        return "queued" if is_about_to_start(row) else str(row["state"])

    def _live_cause(self, row: sqlite3.Row, state: str) -> str | None:
        if state in _ACTIVE:
            return None
        if not self.total.holds(room_of(row)):
            return "never-runs"
        return "requeued" if row["runs"] > is_about_to_start(row) else None

    def _expected(self, row: sqlite3.Row) -> float | None:
        seconds = self.expected.get(row["key"])
        return None if seconds is None else self.now + seconds

    def _why(self, row: sqlite3.Row, state: str) -> str:
        """Return the queue's own words for why a job waits, in PBS's manner."""
        room = room_of(row)
        if state in _ACTIVE or is_about_to_start(row):
            return ""
        if not self.total.holds(room):
            return f"Can never run: asks for {_words(room)}; this machine has {_words(self.total)}"
        if state == "held":
            return row["reason"] or "Held by its owner"
        if row["waits_for"] != "[]":
            after, ids = json.loads(row["waits_for"])[0]
            return f"Dependency: waits for job {', '.join(ids)} {_WAITS_FOR[after]}"
        if state == "waiting":
            moment = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(row["start_after"]))
            return f"Waiting for its start time, {moment}"
        if room.cores > self.free.cores:
            return f"Not enough free cores: asks for {room.cores}, {self.free.cores} of {self.total.cores} are free"
        if room.memory_bytes > self.free.memory_bytes:
            free = format_memory(max(0, self.free.memory_bytes))
            return f"Insufficient amount of memory: asks for {format_memory(room.memory_bytes)}, {free} is free"
        if row["at_once"] and sum(job.number == row["number"] for job in self.running) >= row["at_once"]:
            return f"Array limit reached: {row['at_once']} at once"
        first = self.waiting[0] if self.waiting else None
        return f"Would conflict with top job {first.number}" if first and first.key != row["key"] else ""


def is_ready(row: sqlite3.Row, now: float) -> bool:
    """Whether nothing but room keeps the job from starting."""
    return row["state"] == "queued" and row["waits_for"] == "[]" and (row["start_after"] or 0) <= now


def is_about_to_start(row: sqlite3.Row) -> bool:
    """Whether the job has its room, and no shepherd yet: it does not run, and may still be given up."""
    return row["state"] == "running" and row["shepherd"] is None


def room_of(row: sqlite3.Row) -> Room:
    """Return what a job asks for."""
    return Room(row["cores"], row["memory"])


def waiting_of(row: sqlite3.Row) -> Waiting:
    """Return a waiting job as the schedule sees it."""
    return Waiting(row["key"], row["number"], room_of(row), row["walltime"], row["at_once"])


def running_of(row: sqlite3.Row, now: float) -> Running:
    """Return a running job as the schedule sees it."""
    ran_s = max(0.0, now - (row["started"] or now))
    return Running(row["number"], room_of(row), max(0.0, row["walltime"] - ran_s))


def machine(view: View, settings: Settings) -> dict[str, Any]:
    """Return this machine's one node and one queue."""
    free_cores, free_memory = max(0, view.free.cores), max(0, view.free.memory_bytes)
    node = {
        "name": host_name(),
        "usable": True,
        "state": "free" if free_cores and free_memory else "job-busy",
        "cores": settings.cores,
        "free_cores": free_cores,
        "memory_bytes": settings.memory_bytes,
        "free_memory_bytes": free_memory,
    }
    queue = {
        "name": QUEUE_NAME,
        "default": True,
        "walltime_s": settings.walltime_s,
        "cores": settings.cores,
        "nodes": 1,
        "memory_bytes": settings.memory_bytes,
        "cores_per_node": settings.cores,
        "waiting": len(view.waiting),
        "running": len(view.running),
    }
    return {"nodes": [node], "queues": [queue]}


def named(
    view: View, jobs_of: Callable[[Collection[int]], Sequence[sqlite3.Row]], ids: Iterable[str]
) -> list[dict[str, Any]]:
    """Return the named jobs that are known; with an array, each of its jobs."""
    asked = [(job_id, *parse_id(job_id)) for job_id in ids]
    rows = jobs_of({number for _, number, _, _ in asked})
    entries = {entry["id"]: entry for entry in (*map(view.entry, rows), *view.whole(rows))}
    known = {}
    for job_id, _, position, is_array in asked:
        if job_id in entries:
            known[job_id] = entries[job_id]
        if is_array and position is None:
            known |= {key: entry for key, entry in entries.items() if entry.get("array") == job_id}
    return list(known.values())


def table(entries: Sequence[dict[str, Any]]) -> str:
    """Return the jobs as qstat would show them."""
    if not entries:
        return ""
    lines = [
        f"{'Job id':<14} {'Name':<20} {'User':<12} {'Cores':>5} {'Memory':>7} {'Walltime':>9} {'Used':>9} S  Comment"
    ]
    for job in entries:
        started, ended = job.get("started"), job.get("ended", time.time())
        used = format_walltime(max(0, int(ended - started))) if started else "0"
        columns = f"{job['id']:<14} {job['name'][:20]:<20} {job['owner'][:12]:<12} {job['cores']:>5}"
        sizes = f"{format_memory(job['memory_bytes']):>7} {format_walltime(job['walltime_s']):>9} {used:>9}"
        lines.append(f"{columns} {sizes} {_STATE_LETTERS[job['state']]}  {job.get('reason', '')}".rstrip())
    return "\n".join(lines) + "\n"


def _as_array(entries: Collection[dict[str, Any]]) -> dict[str, Any]:
    """Return an array's one entry: the state of the liveliest job, the end of the first that went wrong."""
    state = min((entry["state"] for entry in entries), key=_ARRAY_STATES.index)
    over = state == "finished"
    bad = (entry for entry in entries if (entry.get("cause"), entry.get("exit_status", 0)) != _GOOD)
    told = next((entry for entry in entries if entry["state"] == state), {})
    told = next(bad, told) if over else told
    array = {name: value for name, value in told.items() if name not in ("array", "used", "ended", "started", "runs")}
    if not over:
        array = {name: value for name, value in array.items() if name != "exit_status"}
    times = {
        "started": min((entry["started"] for entry in entries if "started" in entry), default=None),
        "ended": max((entry["ended"] for entry in entries if "ended" in entry), default=None) if over else None,
    }
    return array | {"id": told["array"]} | {name: value for name, value in times.items() if value is not None}


def _used(row: sqlite3.Row) -> dict[str, float] | None:
    used = {"cpu_s": row["cpu_s"], "memory_bytes": row["peak"], "walltime_s": row["used_s"]}
    return {name: value for name, value in used.items() if value is not None} or None


def _words(room: Room) -> str:
    return f"{room.cores} cores and {format_memory(room.memory_bytes)}"
