"""One poller for all: how often it asks, and what it never confuses."""

from collections.abc import Collection
from pathlib import Path

from springtide.errors import QueueUnreachable
from springtide.queues.base import Capacity, JobInfo, JobRequest, JobState, Queue
from springtide.queues.commands import run_command
from springtide.queues.monitor import Monitor


class Script(Queue):
    """A queue whose answers are given beforehand; None stands for an outage."""

    def __init__(self, *snapshots: dict[str, JobInfo] | None, history: dict[str, JobInfo] | None = None) -> None:
        super().__init__(Path("/usr/bin"), run_command)
        self.snapshots = list(snapshots)
        self.history = history or {}
        self.asked = 0

    def header(self, request: JobRequest) -> list[str]:
        return []

    async def live_jobs(self) -> dict[str, JobInfo]:
        self.asked += 1
        snapshot = self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0]
        if snapshot is None:
            raise QueueUnreachable("cannot connect")
        return snapshot

    async def ended_jobs(self, ids: Collection[str]) -> dict[str, JobInfo]:
        return {job_id: self.history[job_id] for job_id in ids if job_id in self.history}

    async def capacity(self) -> Capacity:
        return Capacity(0, 0, 0, 0, 0)

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
        async def live_jobs(self) -> dict[str, JobInfo]:
            raise ValueError("no number")

    sight = await Monitor(Garbled({}), interval_s=0).look("1")
    assert not sight.ended
    assert "cannot be read" in sight.outage
