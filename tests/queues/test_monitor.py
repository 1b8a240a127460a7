"""One poller for all: how often it asks, and what it never confuses."""

import asyncio
import time
from collections.abc import Collection
from contextlib import aclosing
from pathlib import Path

import pytest

from springtide.errors import QueueUnreachable
from springtide.queues.base import Queue
from springtide.queues.commands import run_command
from springtide.queues.model import JobInfo, JobRequest, JobState, Node, QueueLimits
from springtide.queues.monitor import Monitor, Sight


class Script(Queue):
    """A queue whose answers are given beforehand; None stands for an outage."""

    def __init__(self, *snapshots: dict[str, JobInfo] | None, history: dict[str, JobInfo] | None = None) -> None:
        super().__init__(Path("/usr/bin"), run_command)
        self.snapshots = list(snapshots)
        self.history = history or {}
        self.asked = self.asked_for_nodes = 0
        self.looked_up: list[int] = []

    def header(self, request: JobRequest) -> list[str]:
        return []

    async def snapshot(self) -> dict[str, JobInfo]:
        self.asked += 1
        snapshot = self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0]
        if snapshot is None:
            raise QueueUnreachable("cannot connect")
        return snapshot

    async def details(self, ids: Collection[str]) -> dict[str, JobInfo]:
        self.looked_up.append(len(ids))
        return {job_id: self.history[job_id] for job_id in ids if job_id in self.history}

    async def nodes(self) -> tuple[Node, ...]:
        self.asked_for_nodes += 1
        return (Node("n1", True, "free", 4, 3),)

    async def queues(self) -> tuple[QueueLimits, ...]:
        return ()

    async def node_address(self, node: str) -> str:
        return node


def job(state: JobState = JobState.RUNNING, exit_status: int | None = None) -> dict[str, JobInfo]:
    return {"1": JobInfo("1", state, name="st-1", owner="alice", exit_status=exit_status)}


async def test_two_hundred_watchers_cost_one_command() -> None:
    queue = Script(job())
    monitor = Monitor(queue, interval_s=60)
    for _ in range(200):
        assert (await monitor.look("1")).job is not None
    assert queue.asked == 1


async def test_an_outage_is_unknown_not_gone() -> None:
    monitor = Monitor(Script(job(), None), interval_s=0)
    await monitor.look("1")
    for _ in range(5):
        sight = await monitor.look("1")
        assert not sight.ended
        assert sight.outage == "cannot connect"


async def test_a_job_is_gone_only_after_two_answers_without_it() -> None:
    monitor = Monitor(Script(job(), {}), interval_s=0)
    await monitor.look("1")
    assert not (await monitor.look("1")).ended
    assert (await monitor.look("1")).gone


async def test_outages_between_do_not_count_as_answers() -> None:
    monitor = Monitor(Script(job(), {}, None, None, job()), interval_s=0)
    for _ in range(4):
        assert not (await monitor.look("1")).ended
    sight = await monitor.look("1")
    assert sight.job is not None
    assert not sight.ended


async def test_the_history_gives_an_ended_job_its_exit_status() -> None:
    monitor = Monitor(Script(job(), {}, history=job(JobState.FINISHED, 3)), interval_s=0)
    await monitor.look("1")
    sight = await monitor.look("1")
    assert sight.ended
    assert sight.job is not None
    assert sight.job.exit_status == 3


async def test_an_end_that_was_seen_is_remembered_when_the_scheduler_forgets_it() -> None:
    monitor = Monitor(Script(job(JobState.FINISHED, 7), {}), interval_s=0)
    await monitor.look("1")
    sight = await monitor.look("1")
    assert sight.job is not None
    assert sight.job.exit_status == 7


async def test_a_job_is_found_by_its_name_and_owner() -> None:
    queue = Script(job())
    found = await queue.find("st-1", "alice")
    assert found is not None
    assert found.id == "1"
    assert await queue.find("st-2", "alice") is None
    assert await queue.find("st-1", "mallory") is None


async def test_an_answer_that_cannot_be_read_is_an_outage() -> None:
    class Garbled(Script):
        async def snapshot(self) -> dict[str, JobInfo]:
            raise ValueError("no number")

    sight = await Monitor(Garbled({}), interval_s=0).look("1")
    assert not sight.ended
    assert "cannot be read" in sight.outage


async def test_a_history_that_cannot_be_asked_leaves_the_others_known() -> None:
    class Forgetful(Script):
        async def details(self, ids: Collection[str]) -> dict[str, JobInfo]:
            raise QueueUnreachable("no history now")

    monitor = Monitor(Forgetful(job()), interval_s=0)
    for _ in range(3):
        away = await monitor.look("2")
        assert (away.unknown, away.outage) == (True, "no history now")
    assert (await monitor.look("1")).job is not None


async def test_thousands_that_vanish_are_looked_up_a_hundred_at_a_time() -> None:
    queue = Script({})
    monitor = Monitor(queue, interval_s=60)
    for number in range(1000):
        await monitor.look(str(number), within_s=60)
    for _ in range(3):
        await monitor.look("1", within_s=0)
    assert queue.looked_up[1:] == [100, 100, 100]


async def test_the_scheduler_is_asked_less_often_where_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = await asked_within(monkeypatch, Script(job()), seconds=600)
    assert 3 * 9 <= asked <= 4 * 10


async def test_in_an_outage_the_scheduler_is_asked_twice_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2 * 8 <= await asked_within(monkeypatch, Script(None), seconds=600) <= 2 * 10 + 4


async def asked_within(monkeypatch: pytest.MonkeyPatch, queue: Script, seconds: int) -> int:
    """Return how often `queue` is asked while somebody looks every second."""
    monitor, now = Monitor(queue), time.monotonic()
    for second in range(seconds):
        monkeypatch.setattr(time, "monotonic", lambda at=now + second: at)
        await monitor.look("1")
    return queue.asked


async def test_the_time_of_day_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Script(job())
    monitor = Monitor(queue, interval_s=60)
    for at in (0.0, 4e9, -4e9):
        monkeypatch.setattr(time, "time", lambda at=at: at)
        assert (await monitor.look("1")).age_s < 5
    assert queue.asked == 1


async def test_subscribers_get_each_change_once_and_share_one_poller() -> None:
    queue = Script(job(JobState.QUEUED), job(), job(), {}, history=job(JobState.FINISHED, 0))
    monitor = Monitor(queue, interval_s=0.01)

    async def states_of_one() -> list[str]:
        seen = []
        async with aclosing(monitor.changes(["1"])) as changes:
            async for job_id, sight in changes:
                assert (job_id, sight.job is not None) == ("1", True)
                seen.append(state_of(sight))
                if sight.ended:
                    break
        return seen

    one, two = await asyncio.wait_for(asyncio.gather(states_of_one(), states_of_one()), 10)
    assert one[-1] == two[-1] == "finished"
    assert one == list(dict.fromkeys(one)), "no change is told twice"
    asked = queue.asked
    await asyncio.sleep(0.1)
    assert queue.asked == asked, "the poller stops with the last subscriber"


async def test_a_slow_subscriber_gets_the_last_state_and_holds_up_nobody() -> None:
    queue = Script(job(JobState.QUEUED), job(JobState.HELD), job(JobState.QUEUED), job())
    monitor = Monitor(queue, interval_s=0.01)
    async with aclosing(monitor.changes(["1"])) as changes:
        assert state_of((await anext(changes))[1]) == "queued"
        await asyncio.sleep(0.3)
        assert state_of((await anext(changes))[1]) == "running"


async def test_subscribers_are_told_of_an_outage_and_of_its_end() -> None:
    queue = Script(job(), None, job())
    monitor = Monitor(queue, interval_s=0.05)
    async with aclosing(monitor.changes(["1"])) as changes:
        told = [(await asyncio.wait_for(anext(changes), 5))[1].outage for _ in range(3)]
    assert told == ["", "cannot connect", ""]


def state_of(sight: Sight) -> str:
    assert sight.job is not None
    return sight.job.state.value


async def test_nodes_are_asked_for_once_a_minute() -> None:
    queue = Script(job())
    monitor = Monitor(queue)
    assert (await monitor.nodes())[0].free_cores == (await monitor.capacity()).free_cores == 3
    assert queue.asked_for_nodes == 1


async def test_nodes_are_hardly_asked_for_while_no_job_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, now = Script(job()), time.monotonic()
    monitor = Monitor(queue)
    for second in range(1200):
        monkeypatch.setattr(time, "monotonic", lambda at=now + second: at)
        await monitor.capacity()
        await monitor.site()
    # On PBS nodes and queues are three commands; with the jobs' they make at most four a minute.
    assert queue.asked + 3 * queue.asked_for_nodes <= 4 * 20 + 10
    before, queue.snapshots = queue.asked_for_nodes, [{}]
    for second in range(1200, 1230):
        monkeypatch.setattr(time, "monotonic", lambda at=now + second: at)
        await monitor.capacity()
    assert queue.asked_for_nodes > before
