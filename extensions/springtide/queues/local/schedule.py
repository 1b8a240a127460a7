"""Which waiting job of the local queue starts now, and when the others would: pure functions.

First come, first served, with backfill: a later job may start before the first that waits where it does not delay it.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_EXAMINED = 500
"""So many waiting jobs are looked at for backfill; the order of the others cannot matter now."""


@dataclass(frozen=True)
class Room:
    """Cores and memory: what is asked for, taken or free."""

    cores: int
    memory_bytes: int

    def holds(self, other: Room) -> bool:
        """Whether `other` fits in."""
        return other.cores <= self.cores and other.memory_bytes <= self.memory_bytes

    def __add__(self, other: Room) -> Room:
        return Room(self.cores + other.cores, self.memory_bytes + other.memory_bytes)

    def __sub__(self, other: Room) -> Room:
        return Room(self.cores - other.cores, self.memory_bytes - other.memory_bytes)


@dataclass(frozen=True)
class Waiting:
    """A job that may start, as far as its owner's wishes go."""

    key: int
    number: int
    """Of its submission; jobs of one array share it."""
    room: Room
    walltime_s: float
    at_once: int = 0
    """The most jobs of its array that may run at a time; 0: no limit."""


@dataclass(frozen=True)
class Running:
    """A job that runs and ends at the latest in `left_s`."""

    number: int
    room: Room
    left_s: float


def free_room(total: Room, running: Iterable[Running]) -> Room:
    """Return what is free of `total`."""
    return sum((Room(-job.room.cores, -job.room.memory_bytes) for job in running), start=total)


def choose(waiting: Iterable[Waiting], running: Sequence[Running], total: Room) -> list[Waiting]:
    """Return which of `waiting`, in the order they came, are to start now."""
    chosen: list[Waiting] = []
    now_running = list(running)
    free = free_room(total, running)
    at_work = _count_by_number(running)
    spare: Room | None = None
    shadow_s = 0.0
    examined = 0
    for job in waiting:
        if free.cores <= 0 or examined >= _EXAMINED:
            break
        if (job.at_once and at_work.get(job.number, 0) >= job.at_once) or not total.holds(job.room):
            continue
        examined += 1
        if not free.holds(job.room):
            if spare is None:
                shadow_s, spare = _first_chance(job.room, now_running, free)
            continue
        if spare is not None:
            in_time = job.walltime_s <= shadow_s
            if not in_time and not spare.holds(job.room):
                continue
            spare = spare if in_time else spare - job.room
        chosen.append(job)
        free -= job.room
        now_running.append(Running(job.number, job.room, job.walltime_s))
        at_work[job.number] = at_work.get(job.number, 0) + 1
    return chosen


def expected_starts(waiting: Iterable[Waiting], running: Iterable[Running], total: Room) -> dict[int, float]:
    """Return in how many seconds, at the latest, each of `waiting` starts, by its key.

    Every job is taken to need its whole walltime and none to overtake another, so that the truth is sooner. Jobs that
    never fit are left out.
    """
    clock = _Clock(running, total)
    starts = {}
    for job in waiting:
        if not total.holds(job.room):
            continue
        while not clock.takes(job):
            clock.advance()
        starts[job.key] = clock.now_s
        clock.start(job)
    return starts


class _Clock:
    """The queue's future, one end of a job after the other."""

    def __init__(self, running: Iterable[Running], total: Room) -> None:
        listed = list(running)
        self.now_s = 0.0
        self._free = free_room(total, listed)
        self._at_work = _count_by_number(listed)
        self._serial = itertools.count()
        self._ends = [(max(0.0, job.left_s), next(self._serial), job.number, job.room) for job in listed]
        heapq.heapify(self._ends)

    def takes(self, job: Waiting) -> bool:
        within = not job.at_once or self._at_work.get(job.number, 0) < job.at_once
        return within and self._free.holds(job.room)

    def start(self, job: Waiting) -> None:
        self._free -= job.room
        self._at_work[job.number] = self._at_work.get(job.number, 0) + 1
        heapq.heappush(self._ends, (self.now_s + job.walltime_s, next(self._serial), job.number, job.room))

    def advance(self) -> None:
        self.now_s, _, number, room = heapq.heappop(self._ends)
        self._free += room
        self._at_work[number] -= 1


def _first_chance(room: Room, running: Sequence[Running], free: Room) -> tuple[float, Room]:
    """Return when `room` fits at the latest, and what then stays free beside it."""
    for job in sorted(running, key=lambda job: job.left_s):
        free += job.room
        if free.holds(room):
            return max(0.0, job.left_s), free - room
    return float("inf"), Room(0, 0)


def _count_by_number(running: Iterable[Running]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for job in running:
        counts[job.number] = counts.get(job.number, 0) + 1
    return counts
