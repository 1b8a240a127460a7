"""The PBS Pro dialect on a real OpenPBS, where one is set up by hand: what it says of jobs that really ran."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from springtide.queues.commands import run_command
from springtide.queues.model import After, Cause, Dependency, JobArray, JobInfo, JobRequest, JobState
from springtide.queues.pbs.pro import PbsProQueue
from tests.support.accounts import Account, TwoUsers
from tests.support.need import require
from tests.support.openpbs import OpenPBS
from tests.support.waiting import wait_until

SOON_S = 60.0


@dataclass
class Cluster:
    """The scheduler as one user, and what she submitted."""

    openpbs: OpenPBS
    queue: PbsProQueue
    user: Account
    ids: list[str] = field(default_factory=list)

    def script(self, body: str, **wishes: Any) -> str:
        usual = {"name": "springtide-test", "memory_bytes": 64 * 2**20, "walltime_s": 300}
        return self.queue.script(JobRequest(body, **{**usual, **wishes}))

    def submit(self, body: str, **wishes: Any) -> str:
        """Return the id of a job that runs `body`."""
        return self.take(self.script(body, **wishes))

    def take(self, script: str, *options: str) -> str:
        """Return the id of a job that runs `script`, submitted with options that the dialect would not write."""
        self.ids.append(self.openpbs.run(["qsub", "-f", *options], self.user, stdin=script).stdout.strip())
        return self.ids[-1]

    def cancel(self, job_id: str, account: Account | None = None) -> None:
        self.openpbs.run(["qdel", job_id], account)

    async def live(self, job_id: str) -> JobInfo | None:
        return (await self.queue.snapshot()).get(job_id)

    async def job(self, job_id: str) -> JobInfo:
        return (await self.queue.details([job_id]))[job_id]

    async def placed(self, job_id: str) -> JobInfo:
        return await self.once(job_id, lambda job: job.state is JobState.RUNNING)

    async def ended(self, job_id: str) -> JobInfo:
        return await self.once(job_id, lambda job: not job.state.alive)

    async def once(self, job_id: str, check: Callable[[JobInfo], bool]) -> JobInfo:
        """Return what is known of the job when `check` is true of it."""
        deadline = time.monotonic() + SOON_S
        while not check(job := await self.job(job_id)):
            assert time.monotonic() < deadline, job
            time.sleep(0.5)
        return job


@pytest.fixture
async def cluster(openpbs: OpenPBS, two_users: TwoUsers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    for name, value in openpbs.environment.items():
        monkeypatch.setenv(name, value)
    yield (one := Cluster(openpbs, PbsProQueue(openpbs.commands, run_command), two_users.alice))
    openpbs.run(["qdel", *one.ids], check=False)
    wait_until(lambda: not openpbs.run(["qselect", "-u", one.user.name]).stdout, SOON_S, "no job is left", 1)


async def test_a_job_tells_its_exit_status_its_times_and_what_it_used(cluster: Cluster) -> None:
    before = time.time()
    job_id = cluster.submit("sleep 2; exit 3", cores=2, walltime_s=90)
    job = await cluster.ended(job_id)
    assert (job.exit_status, job.cause, job.runs, job.owner) == (3, Cause.EXIT, 1, cluster.user.name)
    assert (job.cores, job.memory_bytes, job.node_count, job.walltime_s) == (2, 64 * 2**20, 1, 90)
    assert job.submitted
    assert job.started
    assert job.ended
    assert before - 1 <= job.submitted <= job.started <= job.ended - 1 <= time.time()
    assert job.used
    assert (job.used.walltime_s or 0) >= 1
    assert await cluster.live(job_id) is None


async def test_times_are_right_whatever_the_time_zone_of_the_caller(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        wish = time.time() + 4
        script = cluster.script("true", start_after=wish)
        # The launcher gives qsub none of the caller's variables.
        monkeypatch.delenv("TZ")
        job_id = cluster.take(script)
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        job = await cluster.ended(job_id)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert job.started
    assert wish - 1 <= job.started <= wish + 30


async def test_two_nodes_are_two_nodes(cluster: Cluster) -> None:
    job = await cluster.ended(cluster.submit("[ $(sort -u $PBS_NODEFILE | wc -l) = 2 ]", nodes=2, ranks=1))
    assert (job.exit_status, len(job.nodes), job.node_count) == (0, 2, 2)


async def test_a_log_grows_while_the_job_runs_where_it_was_wanted(cluster: Cluster) -> None:
    log, errors = cluster.user.home / "a log.txt", cluster.user.home / "errors.txt"
    job_id = cluster.submit("echo one; echo two >&2; sleep 30", output=str(log), errors=str(errors))
    wait_until(lambda: log.exists() and log.read_text() == "one\n", SOON_S, "the log's first line")
    assert errors.read_text() == "two\n"
    assert (await cluster.job(job_id)).state is JobState.RUNNING


async def test_an_array_is_one_entry_and_its_own_jobs_tell_how_they_ended(cluster: Cluster) -> None:
    log = cluster.user.home / "sweep.log"
    wishes = {"array": JobArray(1, 5, 2, at_once=2), "output": str(log)}
    array = cluster.submit("echo $PBS_ARRAY_INDEX; sleep 2; exit $((PBS_ARRAY_INDEX - 1))", **wishes)
    number = array.partition("[")[0]
    assert [job_id for job_id in await cluster.queue.snapshot() if job_id.startswith(f"{number}[")] == [array]
    await cluster.ended(array)
    jobs = await cluster.queue.details([array])
    own = {job.id: job.exit_status for job in jobs.values() if job.array == array}
    assert own == {array.replace("[]", f"[{index}]"): index - 1 for index in (1, 3, 5)}
    assert jobs[array].exit_status == 4
    assert (cluster.user.home / "sweep.log.3").read_text() == "3\n"


async def test_an_array_of_one_is_an_array(cluster: Cluster) -> None:
    array = cluster.submit("true", array=JobArray(7, 7))
    await cluster.ended(array)
    assert set(await cluster.queue.details([array])) == {array, array.replace("[]", "[7]")}


async def test_a_job_waits_for_the_other_and_never_runs_when_that_fails(cluster: Cluster) -> None:
    first = cluster.submit("sleep 4; exit 1")
    second = cluster.submit("true", dependencies=(Dependency(After.OK, (first,)),))
    third = cluster.submit("true", dependencies=(Dependency(After.FAILURE, (first,)),))
    waiting = await cluster.job(second)
    assert waiting.state is JobState.WAITING
    assert first in waiting.reason
    assert (await cluster.ended(second)).cause is Cause.DEPENDENCY
    assert (await cluster.ended(third)).exit_status == 0


async def test_who_cancelled_a_running_job_is_known(cluster: Cluster) -> None:
    by_owner, by_root = cluster.submit("sleep 300"), cluster.submit("sleep 300")
    await cluster.placed(by_owner)
    await cluster.placed(by_root)
    cluster.cancel(by_owner, cluster.user)
    cluster.cancel(by_root)
    ends = [await cluster.ended(job_id) for job_id in (by_owner, by_root)]
    assert [(end.cause, end.cancelled_by) for end in ends] == [
        (Cause.CANCELLED, cluster.user.name),
        (Cause.CANCELLED, "root"),
    ]
    assert ends[0].exit_status == 143


async def test_a_job_cancelled_before_it_ran_is_cancelled(cluster: Cluster) -> None:
    job_id = cluster.submit("true", held=True)
    held = await cluster.job(job_id)
    assert (held.state, held.reason) == (JobState.HELD, "held: Hold_Types = u")
    cluster.cancel(job_id)
    job = await cluster.ended(job_id)
    assert (job.cause, job.exit_status, job.started) == (Cause.CANCELLED, None, None)
    assert job.ended


async def test_a_job_past_its_walltime_says_so(cluster: Cluster) -> None:
    job = await cluster.ended(cluster.submit("sleep 300", walltime_s=2))
    assert (job.cause, job.exit_status) == (Cause.WALLTIME, None)
    assert "exceeded resource walltime" in job.reason


async def test_a_signal_of_nobody_known_is_a_signal(cluster: Cluster) -> None:
    job = await cluster.ended(cluster.submit("kill -9 $$; sleep 30"))
    assert (job.cause, job.exit_status) in [(Cause.SIGNAL, 137), (Cause.EXIT, 137)]


async def test_a_request_beyond_every_node_can_never_run(cluster: Cluster) -> None:
    job_id = cluster.submit("true", cores=400)
    job = await cluster.once(job_id, lambda job: bool(job.reason))
    assert (job.state, job.cause) == (JobState.QUEUED, Cause.NEVER_RUNS)
    assert (await cluster.queue.forecast([job_id])) == {}


async def test_a_job_whose_logs_cannot_be_opened_never_runs(cluster: Cluster) -> None:
    job_id = cluster.submit("true", output="/nowhere/a.log")
    job = await cluster.once(job_id, lambda job: job.state is JobState.HELD)
    assert (job.cause, job.exit_status) == (Cause.NEVER_RUNS, None)
    assert "too many failed attempts" in job.reason


async def test_a_job_that_is_put_back_into_the_queue_says_so(cluster: Cluster) -> None:
    job_id = cluster.submit("sleep 300", rerunnable=True)
    await cluster.placed(job_id)
    cluster.openpbs.run(["qhold", job_id])
    cluster.openpbs.run(["qrerun", job_id])
    job = await cluster.once(job_id, lambda job: job.state.waits)
    assert (job.cause, job.runs, job.nodes, job.started) == (Cause.REQUEUED, 1, (), None)


async def test_a_job_is_found_by_its_name_before_and_after_its_end(cluster: Cluster) -> None:
    name = f"Analyse d’été {time.time_ns()}"
    job_id = cluster.submit("sleep 3", name=name)
    alive = await cluster.queue.find(name, cluster.user.name)
    assert alive
    assert alive.id == job_id
    await cluster.ended(job_id)
    ended = await cluster.queue.find(name, cluster.user.name)
    assert ended
    assert (ended.id, ended.state) == (job_id, JobState.FINISHED)
    assert await cluster.queue.find(name, "root") is None


async def test_nobody_is_written_to_without_a_wish(cluster: Cluster) -> None:
    job_id = cluster.submit("true", held=True)
    assert "Mail_Points = n" in cluster.openpbs.run(["qstat", "-f", job_id]).stdout


async def test_a_job_cannot_forge_itself_or_another(cluster: Cluster) -> None:
    other = cluster.submit("true", held=True)
    lies = f"a\x1c|Job_Owner=root@x|job_state=F\nJob Id: {other}|job_state=F|Job_Owner=root@x\n\u2028\x0b\x0c\\"
    job_id = cluster.take("#!/bin/sh\ntrue\n", "-h", "-A", lies)
    jobs = await cluster.queue.snapshot()
    assert {jobs[one].owner for one in (other, job_id)} == {cluster.user.name}
    assert {jobs[one].state for one in (other, job_id)} == {JobState.HELD}


@pytest.fixture
def short_queue(openpbs: OpenPBS) -> Iterator[str]:
    """Yield the name of a queue for jobs of ten minutes at most."""
    name = "springtide_short"
    settings = ("queue_type = execution", "resources_max.walltime = 00:10:00", "enabled = True", "started = True")

    def manage(command: str) -> bool:
        return openpbs.run(["qmgr", "-c", f"{command} queue {name}"], check=False).returncode == 0

    manage("delete")
    require("a manager's rights at OpenPBS", manage("create"), "qmgr: set server managers", always_optional=True)
    for setting in settings:
        openpbs.run(["qmgr", "-c", f"set queue {name} {setting}"])
    yield name
    manage("delete")


async def test_nodes_and_queues_tell_what_there_is(cluster: Cluster, short_queue: str) -> None:
    nodes, queues = await cluster.queue.nodes(), {queue.name: queue for queue in await cluster.queue.queues()}
    assert all(node.usable and 0 <= node.free_cores <= node.cores for node in nodes)
    assert sum(queue.default for queue in queues.values()) == 1
    assert queues[short_queue].walltime_s == 600
    assert await cluster.queue.node_address(nodes[0].name) == nodes[0].name


async def test_what_is_unknown_is_left_out_and_hides_nothing_else(cluster: Cluster) -> None:
    job_id = cluster.submit("true", held=True)
    ids = [f"{number}.{job_id.partition('.')[2]}" for number in range(9_999_900, 9_999_930)]
    assert set(await cluster.queue.details([*ids, job_id, "-f", "nonsense"])) == {job_id}


def test_what_qsub_is_asked_is_what_it_takes(short_queue: str, cluster: Cluster) -> None:
    cluster.submit(
        "true",
        held=True,
        nodes=2,
        cores=2,
        ranks=2,
        start_after=time.time() + 3600,
        queue=short_queue,
        account="lisa.project",
        directives=("-l place=scatter:excl", "-W umask=077"),
        output="/dev/null",
        errors="/tmp/errors of a job",
        shell="/bin/bash -el",
        memory_bytes=0,
        walltime_s=0,
    )
    shown = cluster.openpbs.run(["qstat", "-f", "-F", "json", cluster.ids[-1]]).stdout
    assert '"place":\t"scatter:excl"' in shown
    assert '"Keep_Files":\t"doe"' in shown
    assert '"Account_Name":\t"lisa.project"' in shown
