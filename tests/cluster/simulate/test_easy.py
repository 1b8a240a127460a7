"""The queue: first come first served, and who may pass whom."""

from __future__ import annotations

import random

from springtide.cluster.simulate.easy import EasyQueue


def test_what_fits_starts_at_once() -> None:
    assert EasyQueue(4).submit(1, 4, 60, 0) == [1]


def test_what_does_not_fit_waits_for_its_turn() -> None:
    queue = EasyQueue(4)
    queue.submit(1, 3, 60, 0)
    assert queue.submit(2, 2, 60, 0) == []
    assert queue.finish(1, 50) == [2]


def test_a_short_job_passes_the_first_that_waits() -> None:
    queue = EasyQueue(4)
    queue.submit(1, 3, 60, 0)
    queue.submit(2, 4, 60, 0)
    assert queue.submit(3, 1, 60, 0) == [3]


def test_a_job_that_would_delay_the_first_does_not_pass_it() -> None:
    queue = EasyQueue(4)
    queue.submit(1, 3, 60, 0)
    queue.submit(2, 4, 60, 0)
    assert queue.submit(3, 1, 61, 0) == []


def test_a_long_job_passes_on_cores_that_the_first_does_not_need() -> None:
    queue = EasyQueue(4)
    queue.submit(1, 3, 60, 0)
    queue.submit(2, 3, 60, 0)
    assert queue.submit(3, 1, 9999, 0) == [3]


def test_withdrawing_the_first_lets_the_next_start() -> None:
    queue = EasyQueue(4)
    queue.submit(1, 3, 60, 0)
    queue.submit(2, 4, 60, 0)
    queue.submit(3, 1, 99, 0)
    assert queue.withdraw(2, 10) == [3]


def test_the_start_of_a_job_is_foreseen_as_it_comes_where_walltimes_are_right() -> None:
    queue = EasyQueue(4)
    queue.submit(1, 3, 60, 0)
    queue.submit(2, 4, 60, 0)
    queue.submit(3, 2, 60, 0)
    supposed = EasyQueue.supposed(4, [(1, 3, 50.0)], [(2, 4, 60.0), (3, 2, 60.0)], 10.0)
    assert supposed.start_of(3, 10.0) == 120.0


def test_cores_are_never_given_twice_and_no_job_is_forgotten() -> None:
    chance = random.Random(3)
    sizes = [(chance.randint(1, 16), chance.uniform(1, 100)) for _ in range(500)]
    queue, now, ended = EasyQueue(16), 0.0, 0
    ends: dict[int, float] = {}
    for number, (cores, walltime_s) in enumerate(sizes):
        now += chance.expovariate(1 / 20)
        while ends and min(ends.values()) <= now:
            first = min(ends, key=lambda job: ends[job])
            end = ends.pop(first)
            ended += 1
            ends.update({job: end + sizes[job][1] for job in queue.finish(first, end)})
        ends.update(dict.fromkeys(queue.submit(number, cores, walltime_s, now), now + walltime_s))
        assert sum(sizes[job][0] for job in ends) == 16 - queue.free
        assert queue.free >= 0
    assert ended + len(ends) + len(queue.waiting) == 500
