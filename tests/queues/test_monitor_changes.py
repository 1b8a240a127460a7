"""Who is told of changes, what no failure can stop, and how long the scheduler is left in peace."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.errors import QueueUnreachable
from springtide.queues.model import JobInfo, JobState, Node, Used
from springtide.queues.monitor import Monitor, Sight
from springtide.queues.pauses import LONGEST_S, Pauses
from tests.queues.test_monitor import Script, job

Jobs = dict[str, JobInfo]


def jobs(**states: JobState) -> Jobs:
    return {job_id: JobInfo(job_id, state) for job_id, state in states.items()}


async def first(changes: AsyncIterator[tuple[str, Sight]], count: int) -> list[tuple[str, Sight]]:
    return [await asyncio.wait_for(anext(changes), 5) for _ in range(count)]


async def test_who_listens_to_all_is_told_of_new_jobs_and_of_those_that_left() -> None:
    queue = Script(jobs(a=JobState.RUNNING), jobs(a=JobState.RUNNING, b=JobState.QUEUED), jobs(b=JobState.QUEUED))
    async with aclosing(Monitor(queue, interval_s=0.01).changes()) as changes:
        told = await first(changes, 3)
    assert [(job_id, sight.gone) for job_id, sight in told] == [("a", False), ("b", False), ("a", True)]
    assert queue.looked_up == [], "of jobs that nobody watches, the history is not asked"


async def test_what_a_job_has_used_is_no_change() -> None:
    used = {"1": replace(job()["1"], used=Used(cpu_s=7.0), expected_start=9.0)}
    queue = Script(job(JobState.QUEUED), job(), used, job(JobState.ENDING))
    async with aclosing(Monitor(queue, interval_s=0.01).changes(["1"])) as changes:
        told = await first(changes, 3)
    assert [sight.job.state for _, sight in told if sight.job] == [JobState.QUEUED, JobState.RUNNING, JobState.ENDING]


async def test_a_watcher_that_is_cancelled_takes_no_answer_from_the_others() -> None:
    class Slow(Script):
        async def snapshot(self) -> Jobs:
            await asyncio.sleep(0.1)
            return await super().snapshot()

    queue = Slow(job())
    monitor = Monitor(queue, interval_s=60)
    watchers = [asyncio.create_task(monitor.look("1")) for _ in range(3)]
    await asyncio.sleep(0.02)
    watchers[0].cancel()
    results = await asyncio.gather(*watchers, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(isinstance(sight, Sight) and sight.job is not None for sight in results[1:])
    assert queue.asked == 1


async def test_who_wants_news_gets_no_answer_to_a_question_of_before() -> None:
    class Slow(Script):
        async def snapshot(self) -> Jobs:
            answer = await super().snapshot()
            await asyncio.sleep(0.05)
            return answer

    monitor = Monitor(Slow({}, jobs(new=JobState.QUEUED)), interval_s=60)
    early = asyncio.create_task(monitor.snapshot())
    await asyncio.sleep(0.01)
    late = await monitor.snapshot(within_s=0)
    assert (list((await early).jobs), list(late.jobs)) == ([], ["new"])


def test_a_scheduler_that_is_slow_to_answer_is_asked_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    pauses = Pauses()
    pauses.asked()
    monkeypatch.setattr(time, "monotonic", lambda: now + 25)
    pauses.answered(changed=True)
    assert 24 < pauses.left_s(10, None) < 26
    assert pauses.left_s(10, 1) < 0


@pytest.mark.parametrize("error", [ValueError("x"), RecursionError(), UnicodeError(), ZeroDivisionError(), OSError(5)])
async def test_no_failure_to_read_an_answer_ends_the_poller(error: Exception) -> None:
    class Stumbling(Script):
        async def snapshot(self) -> Jobs:
            answer = await super().snapshot()
            if self.asked == 2:
                raise error
            return answer

    async with aclosing(Monitor(Stumbling(job()), interval_s=0.01).changes(["1"])) as changes:
        told = await first(changes, 3)
    assert [sight.unknown for _, sight in told] == [False, True, False]
    assert not any(sight.ended for _, sight in told)


async def test_nothing_polls_once_nobody_listens() -> None:
    before = asyncio.all_tasks()
    queue = Script(job())
    monitor = Monitor(queue, interval_s=0.01)
    for _ in range(3):
        async with aclosing(monitor.changes(["1"])) as changes:
            await first(changes, 1)
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before


async def test_an_end_is_known_within_two_intervals_even_of_an_idle_queue() -> None:
    pauses = Pauses()
    for _ in range(100):
        pauses.asked()
        pauses.answered(changed=False)
        assert pauses.pause_s(10, None) < 20
    assert pauses.pause_s(10, None) >= 15, "at most four commands a minute where nothing changes"
    assert pauses.pause_s(10, 1) == 1, "somebody in front of a page may ask faster"
    pauses.answered(changed=True)
    assert pauses.pause_s(10, None) <= 11


@given(st.lists(st.sampled_from(["failed", "changed", "same"]), max_size=40), st.sampled_from([None, 1.0]))
def test_a_pause_is_never_shorter_than_wished_nor_longer_than_the_longest(
    course: list[str], within_s: float | None
) -> None:
    pauses = Pauses()
    for event in course:
        pauses.asked()
        if event == "failed":
            pauses.failed()
        else:
            pauses.answered(changed=event == "changed")
        assert (within_s or 10) <= pauses.pause_s(10, within_s) <= LONGEST_S * 1.1


async def test_the_last_snapshot_stays_usable_in_an_outage() -> None:
    monitor = Monitor(Script(job(), None), interval_s=0)
    assert (await monitor.snapshot()).outage == ""
    seen = await monitor.snapshot()
    assert (list(seen.jobs), seen.outage) == (["1"], "cannot connect")
    assert seen.age_s >= 0


async def test_without_any_answer_there_is_no_snapshot() -> None:
    with pytest.raises(QueueUnreachable, match="cannot connect"):
        await Monitor(Script(None)).snapshot()


async def test_old_nodes_are_better_than_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Moody(Script):
        away = False

        async def nodes(self) -> tuple[Node, ...]:
            if self.away:
                raise QueueUnreachable("cannot connect")
            return await super().nodes()

    queue = Moody(job())
    monitor = Monitor(queue)
    await monitor.nodes()
    queue.away = True
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 300)
    site = await monitor.site()
    assert (len(site.nodes), site.outage, round(site.age_s / 100)) == (1, "cannot connect", 3)
    with pytest.raises(QueueUnreachable):
        await monitor.capacity()


async def test_nodes_never_seen_are_not_none_at_all() -> None:
    class Away(Script):
        async def nodes(self) -> tuple[Node, ...]:
            raise KeyError("no nodes in the answer")

    with pytest.raises(QueueUnreachable, match="cannot be read"):
        await Monitor(Away(job())).nodes()


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(["there", "away", "outage", "history", "no history"]), min_size=1, max_size=25))
def test_a_job_is_gone_only_after_two_whole_answers_without_it(course: list[str]) -> None:
    class Course(Script):
        now = ""

        async def snapshot(self) -> Jobs:
            if self.now == "outage":
                raise QueueUnreachable("cannot connect")
            return job() if self.now == "there" else {}

        async def details(self, ids: Collection[str]) -> Jobs:
            if self.now == "no history":
                raise IndexError("half an answer")
            return job(JobState.FINISHED, 3) if self.now == "history" else {}

    async def follow() -> None:
        queue, absent = Course({}), 0
        monitor = Monitor(queue, interval_s=0)
        for queue.now in course:
            sight = await monitor.look("1")
            absent = {"away": absent + 1, "there": 0, "history": 0}.get(queue.now, absent)
            if queue.now == "history" or (sight.job is not None and not sight.job.state.alive):
                assert sight.job is not None
                assert sight.job.exit_status == 3
                return
            assert sight.gone is (absent >= 2 and queue.now != "outage"), (queue.now, absent)
            assert sight.unknown is (sight.job is None and not sight.gone)

    asyncio.run(follow())


async def test_a_reader_who_never_reads_keeps_one_sight_of_each_job() -> None:
    def flicker() -> Any:
        return [jobs(a=state, b=state) for state in (JobState.QUEUED, JobState.HELD) * 20]

    monitor = Monitor(Script(*flicker()), interval_s=0.002)
    async with aclosing(monitor.changes()) as slow, aclosing(monitor.changes()) as quick:
        await first(slow, 1)
        assert len(await first(quick, 20)) == 20
        (one,) = [each for each in monitor._subscribers._all if len(each.pending) > 1]
        assert set(one.pending) == {"a", "b"}
