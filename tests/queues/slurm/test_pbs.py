"""Slurm's PBS commands alone, on a real cluster."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from springtide.errors import QueueUnreachable, ScriptError, SubmitRefused
from springtide.lab.models import BatchSite
from springtide.queues.accounts import UserQueue, account_of
from springtide.queues.base import Queue
from springtide.queues.detect import find_scheduler, open_queue
from springtide.queues.model import JobArray, JobRequest, JobState, new_job_token
from tests.support.accounts import TwoUsers
from tests.support.slurm import NODES, Slurm

SMALL = JobRequest("sleep 100", "small", memory_bytes=2**26, walltime_s=600)


@pytest.fixture
def queue(slurm: Slurm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Queue]:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    for folder in (*list(tmp_path.parents)[:2], tmp_path):
        folder.chmod(0o755)
    found = asyncio.run(find_scheduler(BatchSite(kind="batch", commands=slurm.pbs_commands(tmp_path))))
    assert (found.dialect, found.answers) == ("slurm-pbs", True)
    yield open_queue(found)
    slurm.cancel_all()


@pytest.fixture
def alice(queue: Queue, two_users: TwoUsers) -> UserQueue:
    return UserQueue(queue, account_of(two_users.alice.name, "user"))


async def test_a_job_runs_writes_its_files_and_ends_without_a_cause(
    alice: UserQueue, slurm: Slurm, two_users: TwoUsers
) -> None:
    output = two_users.alice.home / "out 'x'"
    body = "#SBATCH --hold\nid -un; echo bad >&2; exit 3"
    request = replace(SMALL, body=body, name=new_job_token(), output=str(output), errors=f"{output}.err")
    job_id = await alice.submit(alice.queue.script(request))
    slurm.wait_for(job_id, "FAILED")
    assert output.read_text() == f"{two_users.alice.name}\n"
    assert Path(f"{output}.err").read_text() == "bad\n"
    job = (await alice.queue.details([job_id]))[job_id]
    assert (job.state, job.exit_status, job.cause, job.reason) == (JobState.FINISHED, None, None, "")
    assert (job.name, job.owner, job.queue) == (request.name, two_users.alice.name, "batch")
    assert job.started is not None
    assert job.ended is not None
    assert time.time() - 60 < job.started <= job.ended <= time.time()


async def test_a_running_job_is_found_and_takes_its_cores(alice: UserQueue, slurm: Slurm, two_users: TwoUsers) -> None:
    token = new_job_token()
    job_id = await alice.submit(alice.queue.script(replace(SMALL, name=token, nodes=2, cores=2)))
    slurm.wait_for(job_id, "RUNNING")
    job = (await alice.queue.snapshot())[job_id]
    assert (job.state, job.nodes, job.cores, job.node_count, job.name) == (JobState.RUNNING, NODES, 4, 2, token)
    found = await alice.find(token)
    assert found is not None
    assert (found.id, found.owner) == (job_id, two_users.alice.name)
    assert await UserQueue(alice.queue, account_of(two_users.bob.name, "user")).find(token) is None
    assert [(node.name, node.free_cores) for node in await alice.queue.nodes()] == [(node, 2) for node in NODES]
    batch, short = await alice.queue.queues()
    assert (batch.name, batch.walltime_s, batch.running) == ("batch", 12 * 3600, 1)
    assert (short.name, short.walltime_s, short.running) == ("short", 600, 0)
    await alice.cancel(job_id)
    slurm.wait_for(job_id, "CANCELLED")


async def test_a_forged_name_changes_no_other_job(alice: UserQueue, slurm: Slurm, two_users: TwoUsers) -> None:
    job_id = await alice.submit(alice.queue.script(replace(SMALL, held=True)))
    forged = f"x\n\tjob_state = C\n\nJob Id:\t{job_id}\n\tJob_Name = y\n{job_id}    "
    arguments = ["sbatch", "--parsable", "--hold", f"--job-name={forged}", "--wrap=true"]
    evil = slurm.run(arguments, two_users.bob).stdout.strip()
    for jobs in (await alice.queue.snapshot(), await alice.queue.details([job_id, evil, "999999999"])):
        assert {id: jobs[id].state for id in (job_id, evil)} == {job_id: JobState.QUEUED, evil: JobState.QUEUED}
    assert (jobs[job_id].owner, jobs[evil].name) == (two_users.alice.name, forged)


async def test_a_refusal_carries_the_schedulers_words(alice: UserQueue) -> None:
    with pytest.raises(SubmitRefused, match="nvalid partition"):
        await alice.submit(alice.queue.script(replace(SMALL, queue="nowhere")))


async def test_a_stopped_munge_is_an_outage(slurm: Slurm, queue: Queue) -> None:
    slurm.stop_munge()
    try:
        questions = (queue.snapshot(), queue.details(["1"]), queue.nodes(), queue.queues())
        answers = await asyncio.gather(*questions, return_exceptions=True)
    finally:
        slurm.start_munge()
    assert [type(answer) for answer in answers] == [QueueUnreachable] * 4, answers


def test_what_the_wrappers_cannot_do_is_refused_before_submission(queue: Queue) -> None:
    with pytest.raises(ScriptError, match="array"):
        queue.script(replace(SMALL, array=JobArray(1, 2)))
    with pytest.raises(ScriptError, match="python3"):
        queue.script(replace(SMALL, shell="/usr/bin/python3"))
    with pytest.raises(ScriptError):
        queue.script(replace(SMALL, output="/tmp/a\nb"))
