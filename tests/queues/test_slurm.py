"""The Slurm dialect, on a real cluster and on lines it prints."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.errors import QueueUnreachable, SubmitRefused
from springtide.lab.models import BatchSite
from springtide.queues import slurm as slurm_dialect
from springtide.queues.accounts import UserQueue, account_of
from springtide.queues.base import JobRequest, JobState, Queue, new_job_token
from springtide.queues.detect import dialect_of, find_scheduler, open_queue
from springtide.queues.monitor import Monitor
from springtide.queues.slurm import parse_jobs
from tests.support.accounts import TwoUsers
from tests.support.slurm import Slurm


def test_a_waiting_job_has_its_reason_and_no_node() -> None:
    (job,) = parse_jobs("12|PENDING|marie|batch|4|n/a|Resources\n")
    assert (job.owner, job.state, job.reason, job.nodes) == ("marie", JobState.QUEUED, "Resources", ())


def test_a_held_job_is_held_and_an_unknown_state_is_an_end() -> None:
    held, ended = parse_jobs("1|PENDING|m|b|1|n/a|JobHeldUser\n2|OUT_OF_MEMORY|m|b|1|n1|OutOfMemory\n")
    assert held.state is JobState.HELD
    assert (ended.state, ended.reason) == (JobState.FINISHED, "OUT_OF_MEMORY (OutOfMemory)")


def test_the_bulk_question_leaves_out_what_a_user_may_fill_with_line_breaks() -> None:
    assert "%j" not in slurm_dialect._JOB_FORMAT


@pytest.fixture
def queue(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    found = asyncio.run(find_scheduler(BatchSite(kind="slurm", commands=Path("/usr/bin"))))
    assert found.answers
    yield open_queue(found)
    slurm.cancel_all()


@pytest.fixture
def alice(queue: Queue, two_users: TwoUsers) -> UserQueue:
    return UserQueue(queue, account_of(two_users.alice.name, "user"))


async def test_the_pbs_commands_of_slurm_are_recognised_as_slurm(slurm: Slurm) -> None:
    assert await dialect_of(Path("/usr/bin")) == "slurm"


async def test_a_job_runs_as_the_user_and_its_exit_status_is_known(alice: UserQueue) -> None:
    token = new_job_token()
    body = f'mkdir -p "$HOME/.springtide"; exec >"$HOME/.springtide/{token}.log" 2>&1; id -un; exit 3'
    job_id = await alice.submit(alice.queue.script(JobRequest(body, token, memory_bytes=2**26)))
    monitor = Monitor(alice.queue, interval_s=0.2)
    async with asyncio.timeout(30):
        while not (await monitor.look(job_id)).ended:
            await asyncio.sleep(0.2)
    assert await alice.queue.exit_status(job_id) == 3
    assert await alice.log_tail(token) == [alice.account.name]
    await alice.remove_log(token)
    assert await alice.log_tail(token) == []


async def test_a_job_is_found_by_its_name_for_its_owner_only(
    alice: UserQueue, queue: Queue, two_users: TwoUsers
) -> None:
    token = new_job_token()
    job_id = await alice.submit(queue.script(JobRequest("sleep 100", token, memory_bytes=2**26)))
    found = await alice.find(token)
    assert found is not None
    assert found.id == job_id
    assert await UserQueue(queue, account_of(two_users.bob.name, "user")).find(token) is None
    await alice.cancel(job_id)


async def test_a_cancelled_job_ends_and_cancelling_again_is_no_error(alice: UserQueue) -> None:
    job_id = await alice.submit(alice.queue.script(JobRequest("sleep 100", new_job_token(), memory_bytes=2**26)))
    await alice.cancel(job_id)
    await alice.cancel(job_id)
    monitor = Monitor(alice.queue, interval_s=0.2)
    async with asyncio.timeout(30):
        while not (await monitor.look(job_id)).ended:
            await asyncio.sleep(0.2)


async def test_a_refusal_carries_the_schedulers_words(alice: UserQueue) -> None:
    with pytest.raises(SubmitRefused, match="nowhere"):
        await alice.submit(alice.queue.script(JobRequest("true", new_job_token(), queue="nowhere")))


async def test_a_stopped_controller_is_an_outage(slurm: Slurm, alice: UserQueue) -> None:
    slurm.stop_controller()
    try:
        with pytest.raises(QueueUnreachable):
            await alice.queue.live_jobs()
        with pytest.raises(QueueUnreachable):
            await alice.submit(alice.queue.script(JobRequest("true", new_job_token())))
    finally:
        slurm.start_controller()


async def test_capacity_is_that_of_the_nodes(queue: Queue) -> None:
    capacity = await queue.capacity()
    assert (capacity.total_cores, capacity.largest_node_cores) == (8, 4)
    assert capacity.free_cores == 8
