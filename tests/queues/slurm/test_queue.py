"""The Slurm dialect, on a real cluster."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from springtide.errors import QueueUnreachable, SubmitRefused
from springtide.lab.models import BatchSite
from springtide.queues.accounts import UserQueue, account_of
from springtide.queues.base import Queue
from springtide.queues.commands import Answer
from springtide.queues.detect import dialect_of, find_scheduler, open_queue
from springtide.queues.model import After, Cause, Dependency, JobArray, JobInfo, JobRequest, JobState, new_job_token
from springtide.queues.monitor import Monitor
from springtide.queues.slurm.queue import SlurmQueue
from tests.support.accounts import Account, TwoUsers
from tests.support.slurm import CPUS_PER_NODE, NODES, Slurm
from tests.support.waiting import wait_until

SMALL = JobRequest("sleep 100", "small", memory_bytes=2**26, walltime_s=600)
HARD_NAME = """a "b" \\ 'c' #d $x `y` %j é,1|;"""


@pytest.fixture(scope="module")
def real(slurm: Slurm) -> Iterator[Queue]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in slurm.environment.items():
            patch.setenv(name, value)
        found = asyncio.run(find_scheduler(BatchSite(kind="slurm", commands=Path("/usr/bin"))))
        assert found.answers
        yield open_queue(found)


@pytest.fixture(scope="module")
def overdue(slurm: Slurm, real: Queue, two_users: TwoUsers) -> str:
    """Return a job whose walltime is over: within 30 seconds the controller ends it, while other tests run."""
    job_id = submitted(slurm, real, two_users.alice, replace(SMALL, directives=(f"--nodelist={NODES[0]}",)))
    slurm.wait_for(job_id, "RUNNING")
    slurm.expire(job_id)
    return job_id


@pytest.fixture
def queue(real: Queue, slurm: Slurm, overdue: str) -> Iterator[Queue]:
    yield real
    slurm.cancel_all(but=[overdue])


@pytest.fixture
def alice(queue: Queue, two_users: TwoUsers) -> UserQueue:
    return UserQueue(queue, account_of(two_users.alice.name, "user"))


@pytest.fixture
def submit(queue: Queue, slurm: Slurm, two_users: TwoUsers) -> Callable[[JobRequest], str]:
    return lambda request: submitted(slurm, queue, two_users.alice, request)


def submitted(slurm: Slurm, queue: Queue, account: Account, request: JobRequest) -> str:
    """Submit as `account` by hand, and return the id."""
    return slurm.run(["sbatch", "--parsable"], account, stdin=queue.script(request)).stdout.strip()


async def detail(queue: Queue, job_id: str) -> JobInfo:
    return (await queue.details([job_id]))[job_id]


# What the jobs of `ends` are made to do, and what is to be known of them.
ENDS = {
    "done": (Cause.EXIT, 0),
    "exit 3": (Cause.EXIT, 3),
    "killed by a signal": (Cause.SIGNAL, 137),
    "cancelled": (Cause.CANCELLED, 143),
    "cancelled before it ran": (Cause.CANCELLED, None),
    "follows a failure": (Cause.DEPENDENCY, None),
    "its node failed": (Cause.LOST, 143),
}


@pytest.fixture(scope="module")
def ends(slurm: Slurm, real: Queue, two_users: TwoUsers, overdue: str) -> Iterator[dict[str, JobInfo]]:
    """Yield all the ways a job may end, provoked at once."""

    def submit(body: str, *directives: str, **values: object) -> str:
        request = replace(SMALL, body=body, directives=directives, **values)  # type: ignore[arg-type]
        return submitted(slurm, real, two_users.alice, request)

    failed = submit("exit 3")
    jobs = {
        "done": submit("true"),
        "exit 3": failed,
        "killed by a signal": submit("kill -9 $$"),
        "cancelled": submit("sleep 100", f"--nodelist={NODES[0]}"),
        "cancelled before it ran": submit("true", held=True),
        "follows a failure": submit("true", dependencies=(Dependency(After.OK, (failed,)),)),
        "its node failed": submit("sleep 100", f"--nodelist={NODES[1]}"),
        "requeued": submit("sleep 100", f"--nodelist={NODES[0]}", rerunnable=True),
        "array": submit("exit $((SLURM_ARRAY_TASK_ID % 2))", array=JobArray(1, 3)),
        "on two nodes": submit("sleep 100", nodes=2, memory_bytes=2**27),
    }
    for name in ("cancelled", "its node failed", "requeued", "on two nodes"):
        slurm.wait_for(jobs[name], "RUNNING")
    running = asyncio.run(detail(real, jobs["on two nodes"]))
    slurm.run(["scancel", jobs["cancelled"], jobs["cancelled before it ran"], jobs["on two nodes"]])
    slurm.wait_for(jobs["on two nodes"], "CANCELLED")
    slurm.requeue(jobs["requeued"])
    slurm.fail_node(NODES[1])
    slurm.restore_node(NODES[1])

    def all_ended() -> dict[str, JobInfo] | None:
        known = asyncio.run(real.details(jobs.values()))
        ended = all(not known[jobs[name]].state.alive for name in (*ENDS, "array"))
        waits = known[jobs["requeued"]].state.waits
        return known if ended and waits else None

    known = wait_until(all_ended, 30, "all jobs have ended", interval=0.2)
    yield {**known, **{name: known[job_id] for name, job_id in jobs.items()}, "two nodes": running}
    slurm.cancel_all(but=[overdue])


@pytest.mark.parametrize("name", ENDS)
def test_how_a_job_ended_is_known(ends: dict[str, JobInfo], name: str) -> None:
    job = ends[name]
    assert (job.state, job.cause, job.exit_status) == (JobState.FINISHED, *ENDS[name]), job.reason


def test_times_are_those_of_the_clock(ends: dict[str, JobInfo]) -> None:
    job = ends["exit 3"]
    assert job.submitted is not None
    assert job.started is not None
    assert job.ended is not None
    assert time.time() - 120 < job.submitted <= job.started <= job.ended <= time.time()
    assert ends["cancelled before it ran"].started is None


def test_a_requeued_job_waits_and_says_so(ends: dict[str, JobInfo]) -> None:
    job = ends["requeued"]
    assert (job.state, job.cause, job.runs) == (JobState.WAITING, Cause.REQUEUED, 1)


def test_an_array_ends_like_its_first_failure_and_each_of_its_jobs_like_itself(ends: dict[str, JobInfo]) -> None:
    array = ends["array"]
    assert (array.state, array.cause, array.exit_status) == (JobState.FINISHED, Cause.EXIT, 1)
    assert [ends[f"{array.id}_{index}"].exit_status for index in (1, 2, 3)] == [1, 0, 1]
    assert ends[f"{array.id}_2"].array == array.id


def test_what_a_job_has_is_counted_over_its_nodes(ends: dict[str, JobInfo]) -> None:
    job = ends["two nodes"]
    assert (job.state, job.nodes, job.name) == (JobState.RUNNING, NODES, "small")
    assert (job.cores, job.node_count, job.memory_bytes, job.walltime_s) == (2, 2, 2**28, 600)


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
    assert (await detail(alice.queue, job_id)).exit_status == 3
    assert await alice.log_tail(token) == [alice.account.name]
    await alice.remove_log(token)
    assert await alice.log_tail(token) == []


async def test_a_job_is_found_by_its_name_for_its_owner_only(
    alice: UserQueue, queue: Queue, two_users: TwoUsers
) -> None:
    token = new_job_token()
    job_id = await alice.submit(queue.script(replace(SMALL, name=token)))
    found = await alice.find(token)
    assert found is not None
    assert (found.id, found.name) == (job_id, token)
    assert await UserQueue(queue, account_of(two_users.bob.name, "user")).find(token) is None


async def test_any_printable_name_and_path_is_carried(
    submit: Callable[[JobRequest], str], queue: Queue, slurm: Slurm, two_users: TwoUsers
) -> None:
    folder = two_users.alice.home
    output = folder / 'out %j "x" #1'
    body = '#SBATCH --job-name=other\n#PBS -q nowhere\necho "$SLURM_JOB_NAME"'
    array = JobArray(7, 7)
    job_id = submit(replace(SMALL, body=body, name=HARD_NAME, output=str(output), array=array))
    slurm.wait_for(f"{job_id}_7", "COMPLETED")
    assert Path(f"{output}.7").read_text() == f"{HARD_NAME}\n"
    found = await queue.find(HARD_NAME, two_users.alice.name)
    assert found is not None
    assert (found.id, found.exit_status) == (job_id, 0)


async def test_a_forged_name_changes_no_other_job(
    submit: Callable[[JobRequest], str], queue: Queue, slurm: Slurm, two_users: TwoUsers
) -> None:
    job_id = submit(replace(SMALL, held=True))
    forged = f"x|;\n{job_id}|N/A|COMPLETED|0|0|1|1|1|root|batch|1|1|mem=1M|1:00|n1|n1|None|;\n"
    name = f"--job-name={forged}"
    evil = slurm.run(["sbatch", "--parsable", "--hold", name, "--wrap=true"], two_users.bob).stdout.strip()
    for jobs in (await queue.snapshot(), await queue.details([job_id, evil])):
        assert (jobs[job_id].state, jobs[job_id].owner) == (JobState.HELD, two_users.alice.name)
    assert jobs[evil].name == forged
    assert jobs[job_id].name == SMALL.name


async def test_held_waiting_and_impossible_jobs_say_so(
    submit: Callable[[JobRequest], str], queue: Queue, slurm: Slurm
) -> None:
    begin = int(time.time()) + 3600
    held, later = submit(replace(SMALL, held=True)), submit(replace(SMALL, start_after=begin))
    impossible = submit(replace(SMALL, queue="short", held=True, walltime_s=300))
    slurm.run(["scontrol", "update", "PartitionName=short", "MaxTime=1"])
    try:
        slurm.run(["scontrol", "release", impossible])
        wait_until(lambda: _reason(slurm, impossible) == "PartitionTimeLimit", 20, "its reason stands", interval=0.2)
        jobs = await queue.snapshot()
        limits = {limit.name: limit for limit in await queue.queues()}
    finally:
        slurm.run(["scontrol", "update", "PartitionName=short", "MaxTime=10"])
    assert (jobs[held].state, jobs[held].reason) == (JobState.HELD, "JobHeldUser")
    assert (jobs[later].state, jobs[later].expected_start) == (JobState.WAITING, begin)
    assert (jobs[impossible].state, jobs[impossible].cause) == (JobState.QUEUED, Cause.NEVER_RUNS)
    assert await queue.forecast([held, later]) == {later: begin}
    assert (limits["short"].walltime_s, limits["short"].waiting) == (60, 1)
    assert (limits["batch"].walltime_s, limits["batch"].default, limits["batch"].waiting) == (12 * 3600, True, 2)


def _reason(slurm: Slurm, job_id: str) -> str:
    job = slurm.job(job_id)
    return job.reason if job else ""


async def test_a_waiting_array_is_one_job(submit: Callable[[JobRequest], str], queue: Queue) -> None:
    array = submit(replace(SMALL, array=JobArray(1, 500, at_once=1), held=True))
    assert (await queue.snapshot())[array].state is JobState.HELD
    known = await queue.details([array, "999999999", "no id"])
    assert len(known) == 501
    assert known[f"{array}_500"].array == array
    assert {job.name for job in known.values()} == {SMALL.name}


async def test_an_unknown_id_is_left_out(queue: Queue) -> None:
    assert await queue.details(["999999999"]) == {}
    assert await queue.details([]) == {}


async def test_a_start_is_tried_without_a_job(queue: Queue) -> None:
    begins = await queue.try_start(replace(SMALL, name=HARD_NAME, cores=CPUS_PER_NODE))
    assert begins is not None
    assert abs(begins - time.time()) < 60
    assert await queue.try_start(replace(SMALL, cores=400)) is None
    assert SMALL.name not in {job.name for job in (await queue.snapshot()).values()}


async def test_a_refusal_carries_the_schedulers_words(alice: UserQueue) -> None:
    with pytest.raises(SubmitRefused, match="nowhere"):
        await alice.submit(alice.queue.script(JobRequest("true", new_job_token(), queue="nowhere")))


async def test_a_stopped_munge_is_an_outage(slurm: Slurm, alice: UserQueue) -> None:
    slurm.stop_munge()
    try:
        submit = alice.submit(alice.queue.script(replace(SMALL, name=new_job_token())))
        answers = await asyncio.gather(alice.queue.snapshot(), submit, return_exceptions=True)
    finally:
        slurm.start_munge()
    assert [type(answer) for answer in answers] == [QueueUnreachable, QueueUnreachable]


async def test_a_job_that_takes_too_long_ends_for_its_walltime(queue: Queue, slurm: Slurm, overdue: str) -> None:
    slurm.wait_for(overdue, "TIMEOUT", seconds=45)
    job = await detail(queue, overdue)
    assert (job.state, job.cause, job.exit_status) == (JobState.FINISHED, Cause.WALLTIME, 143)


async def test_nodes_have_cores_and_memory_and_partitions(
    submit: Callable[[JobRequest], str], queue: Queue, slurm: Slurm
) -> None:
    job_id = submit(replace(SMALL, cores=3, memory_bytes=2**30, directives=(f"--nodelist={NODES[0]}",)))
    slurm.wait_for(job_id, "RUNNING")
    nodes = {node.name: node for node in await queue.nodes()}
    assert set(nodes) == set(NODES)
    busy = nodes[NODES[0]]
    assert (busy.state, busy.usable, busy.cores, busy.free_cores) == ("mixed", True, CPUS_PER_NODE, 1)
    assert (busy.memory_bytes, busy.free_memory_bytes, busy.queues) == (2**32, 3 * 2**30, ("batch", "short"))
    assert await queue.node_address(NODES[0]) == NODES[0]


async def test_a_killed_slurmd_ends_no_job(submit: Callable[[JobRequest], str], queue: Queue, slurm: Slurm) -> None:
    job_id = submit(replace(SMALL, directives=(f"--nodelist={NODES[1]}",)))
    slurm.wait_for(job_id, "RUNNING")
    slurm.kill_node(NODES[1])
    try:
        assert (await queue.snapshot())[job_id].state is JobState.RUNNING
    finally:
        slurm.start_node(NODES[1])
    assert (await queue.snapshot())[job_id].state is JobState.RUNNING


@pytest.mark.parametrize(
    "answer", [Answer(0, "", ""), Answer(0, "garbage\n", ""), Answer(153, "", ""), Answer(1, "", "")]
)
async def test_garbage_is_an_outage(answer: Answer) -> None:
    async def says(_argv: object) -> Answer:
        return answer

    queue = SlurmQueue(Path("/usr/bin"), says)
    for question in (queue.snapshot(), queue.details(["1"]), queue.nodes(), queue.find("a", "b")):
        with pytest.raises(QueueUnreachable):
            await question


async def test_capacity_is_that_of_the_nodes(queue: Queue) -> None:
    capacity = await queue.capacity()
    assert (capacity.total_cores, capacity.largest_node_cores) == (8, 4)
    assert capacity.free_cores == 8
