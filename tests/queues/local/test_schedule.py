"""The local queue's order: first come, first served, with backfill that delays nobody."""

from __future__ import annotations

import random

import pytest

from springtide.queues.local.schedule import Room, Running, Waiting, choose, expected_starts

TOTAL = Room(4, 100)


def waiting(
    key: int, cores: int, walltime_s: float = 60, memory: int = 1, number: int = 0, at_once: int = 0
) -> Waiting:
    return Waiting(key, number or key, Room(cores, memory), walltime_s, at_once)


def running(cores: int, left_s: float, memory: int = 1, number: int = -1) -> Running:
    return Running(number, Room(cores, memory), left_s)


def keys(jobs: list[Waiting]) -> list[int]:
    return [job.key for job in jobs]


@pytest.mark.parametrize(
    ("queue", "at_work", "chosen"),
    [
        ([waiting(1, 2), waiting(2, 2), waiting(3, 1)], [], [1, 2]),
        ([waiting(1, 4), waiting(2, 1, 50)], [running(2, 60)], [2]),
        ([waiting(1, 4), waiting(2, 1, 70)], [running(2, 60)], []),
        ([waiting(1, 3), waiting(2, 1, 9000), waiting(3, 1, 9000)], [running(2, 60)], [2]),
        ([waiting(1, 1, memory=90)], [running(1, 60, memory=20)], []),
        ([waiting(1, 9), waiting(2, 1)], [], [2]),
        ([waiting(1, 1, number=7, at_once=1), waiting(2, 1, number=7, at_once=1), waiting(3, 1)], [], [1, 3]),
        ([waiting(1, 1, number=7, at_once=1)], [running(1, 60, number=7)], []),
        ([], [running(4, 1)], []),
    ],
    ids=[
        "in order",
        "a short one passes",
        "a long one does not",
        "a long one passes where cores stay free",
        "memory counts",
        "what never fits blocks nobody",
        "an array's limit",
        "an array's limit counts what runs",
        "nothing waits",
    ],
)
def test_what_starts_now(queue: list[Waiting], at_work: list[Running], chosen: list[int]) -> None:
    assert keys(choose(queue, at_work, TOTAL)) == chosen


def test_expected_starts_follow_whole_walltimes() -> None:
    queue = [waiting(1, 4, 100), waiting(2, 1, 10), waiting(3, 9), waiting(4, 4)]
    assert expected_starts(queue, [running(2, 60)], TOTAL) == {1: 60, 2: 160, 4: 170}


def test_an_array_s_limit_counts_in_the_forecast() -> None:
    queue = [waiting(key, 1, 10, number=7, at_once=1) for key in (1, 2, 3)]
    assert expected_starts(queue, [], TOTAL) == {1: 0, 2: 10, 3: 20}


@pytest.mark.parametrize("seed", range(30))
def test_backfill_never_takes_more_than_there_is_nor_delays_the_first(seed: int) -> None:
    dice = random.Random(seed)
    at_work = [running(1, dice.randint(1, 99), dice.randint(1, 20)) for _ in range(dice.randint(0, 4))]
    queue = [waiting(key, dice.randint(1, 4), dice.randint(1, 99), dice.randint(1, 60)) for key in range(12)]
    chosen = choose(queue, at_work, TOTAL)
    taken = sum((job.room for job in chosen), start=sum((job.room for job in at_work), start=Room(0, 0)))
    assert TOTAL.holds(taken)
    first = next(job for job in queue if job not in chosen)
    before = expected_starts([*(job for job in queue if job.key < first.key), first], at_work, TOTAL)[first.key]
    after_choice = [*at_work, *(Running(job.number, job.room, job.walltime_s) for job in chosen)]
    assert expected_starts([first], after_choice, TOTAL)[first.key] <= before
