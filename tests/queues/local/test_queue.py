"""The local queue, its real command and real jobs: what a user of PBS expects of one."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.errors import SubmitRefused
from springtide.queues.accounts import Account, UserQueue
from springtide.queues.model import After, Cause, Dependency, JobArray, JobInfo, JobRequest, JobState
from tests.support.local_queue import LocalSite, eventually, local_site
from tests.support.processes import process

# A process that leaves its job's session and parent behind, and writes down who it is.
_DAEMON = "(setsid sleep 300 & echo $! > {file}) & wait"
_TAKES_200_MIB = "exec python3 -c 'import time; held = bytearray(200 * 2**20); time.sleep(30)'"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSite]:
    """Yield a queue with two cores and 1 GiB."""
    with local_site(tmp_path_factory.mktemp("local")) as site:
        yield site


def number_in(file: Path) -> int:
    return int(file.read_text())


@pytest.mark.parametrize(
    ("body", "cause", "status"),
    [
        ("exit 0", Cause.EXIT, 0),
        ("exit 3", Cause.EXIT, 3),
        ("kill -KILL $$", Cause.SIGNAL, 137),
        ("kill -SEGV $$", Cause.SIGNAL, 139),
    ],
)
async def test_a_job_s_end_has_a_cause_and_an_exit_status(
    site: LocalSite, body: str, cause: Cause, status: int
) -> None:
    job = await site.ended(site.submit(body))
    assert (job.cause, job.exit_status) == (cause, status)


async def test_an_ended_job_tells_its_times_and_use(site: LocalSite) -> None:
    job = await site.ended(site.submit("i=0; while ((i++ < 100000)); do :; done; sleep 0.2", name="burner"))
    assert job.used
    assert job.used.cpu_s
    assert job.used.walltime_s
    assert job.used.memory_bytes
    assert 0.05 < job.used.cpu_s < 10
    assert 0.2 < job.used.walltime_s < 10
    assert 2**20 < job.used.memory_bytes < 2**28
    assert job.submitted
    assert job.started
    assert job.ended
    assert job.submitted <= job.started < job.ended <= time.time() + 1
    assert (job.name, job.queue, job.runs, job.nodes) == ("burner", "local", 1, (os.uname().nodename,))


async def test_a_job_finds_what_pbs_would_set(site: LocalSite, tmp_path: Path) -> None:
    output = tmp_path / "out"
    body = "echo $PBS_JOBNAME $PBS_QUEUE $NCPUS $PBS_NP $(wc -l < $PBS_NODEFILE); pwd; test -w $TMPDIR; cat; umask"
    job_id = site.submit(body, name="named", cores=2, ranks=4, output=str(output))
    assert (await site.ended(job_id)).exit_status == 0
    assert output.read_text().splitlines() == ["named local 2 4 4", str(site.folder), "0022"]


async def test_what_the_submitter_s_environment_holds_stays_there(site: LocalSite, tmp_path: Path) -> None:
    script = site.script("env", output=str(tmp_path / "out"))
    answer = site.run("submit", stdin=script, env={**os.environ, "SECRET_OF_THE_SHELL": "42"})
    await site.ended(answer.stdout.strip())
    assert "SECRET_OF_THE_SHELL" not in (tmp_path / "out").read_text()


async def test_output_is_written_while_the_job_runs_and_errors_apart(site: LocalSite, tmp_path: Path) -> None:
    output, errors = tmp_path / "out", tmp_path / "err"
    job_id = site.submit("echo first; echo bad >&2; sleep 30", output=str(output), errors=str(errors))
    await eventually(lambda: output.exists() and output.read_text() == "first\n" and errors.read_text() == "bad\n")
    site.run("cancel", job_id)
    await site.ended(job_id)


async def test_the_walltime_ends_a_job_that_does_not_listen(site: LocalSite, tmp_path: Path) -> None:
    job = await site.ended(site.submit(f"trap 'echo asked > {tmp_path}/asked' TERM; while :; do :; done", walltime_s=1))
    assert (job.cause, job.exit_status) == (Cause.WALLTIME, 137)
    assert (tmp_path / "asked").exists()
    assert job.used
    assert job.used.walltime_s
    assert 1 < job.used.walltime_s < 5


async def test_a_job_that_takes_more_memory_than_it_asked_for_is_ended(site: LocalSite) -> None:
    job = await site.ended(site.submit(_TAKES_200_MIB, memory_bytes=100 * 2**20))
    assert job.cause is Cause.MEMORY
    assert job.used
    assert job.used.memory_bytes
    assert job.used.memory_bytes > 100 * 2**20
    assert "it had asked for 100M" in job.reason


async def test_memory_that_processes_share_counts_once(site: LocalSite) -> None:
    shares = "import os, time; held = bytearray(60 * 2**20); [os.fork() for _ in range(2)]; time.sleep(0.6)"
    job = await site.ended(site.submit(f"exec python3 -c '{shares}'", memory_bytes=150 * 2**20))
    assert (job.cause, job.exit_status) == (Cause.EXIT, 0)


async def test_cancel_ends_also_what_left_the_job_s_session(site: LocalSite, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    job_id = site.submit(_DAEMON.format(file=file) + "; sleep 300")
    await eventually(lambda: file.exists() and file.read_text() != "")
    daemon = number_in(file)
    assert process(daemon)
    assert site.run("cancel", job_id).returncode == 0
    job = await site.ended(job_id)
    assert (job.cause, job.cancelled_by) == (Cause.CANCELLED, "root" if os.geteuid() == 0 else os.environ["USER"])
    assert not process(daemon)


async def test_a_program_has_its_grace_though_the_job_s_shell_ends_at_once(site: LocalSite, tmp_path: Path) -> None:
    site.set(grace_s=60)
    ready, saved = tmp_path / "ready", tmp_path / "saved"
    program = f"trap 'sleep 0.3; echo saved > {saved}; exit' TERM; echo > {ready}; while :; do sleep 0.05; done"
    job_id = site.submit(f'bash -c "{program}"\nexit 0')
    await eventually(ready.exists)
    site.run("cancel", job_id)
    assert (await site.ended(job_id)).cause is Cause.CANCELLED
    assert saved.read_text() == "saved\n"


async def test_what_a_job_leaves_behind_ends_with_it(site: LocalSite, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    body = f"echo $TMPDIR > {tmp_path}/tmp; setsid sleep 300 & echo $! > {file}"
    job_id = site.submit(body)
    assert (await site.ended(job_id)).exit_status == 0
    assert not process(number_in(file))
    assert not Path((tmp_path / "tmp").read_text().strip()).parent.exists()
    assert not site.spool.script(int(job_id)).exists()


async def test_a_waiting_job_is_cancelled_without_ever_running(site: LocalSite) -> None:
    job_id = site.submit("exit 0", held=True)
    assert (await site.queue.snapshot())[job_id].state is JobState.HELD
    site.run("cancel", job_id)
    job = (await site.queue.details([job_id]))[job_id]
    assert (job.cause, job.started, job.exit_status) == (Cause.CANCELLED, None, None)
    assert job_id not in await site.queue.snapshot()


async def test_a_held_job_starts_when_it_is_released(site: LocalSite) -> None:
    job_id = site.submit("exit 0")
    other = site.submit("exit 0", held=True)
    assert (await site.ended(job_id)).exit_status == 0
    assert (await site.queue.snapshot())[other].reason == "Held by its owner"
    assert site.run("release", other).returncode == 0
    assert (await site.ended(other)).exit_status == 0


async def test_a_job_waits_for_its_start_time(site: LocalSite) -> None:
    start = time.time() + 0.8
    job_id = site.submit("exit 0", start_after=start)
    waiting = (await site.queue.snapshot())[job_id]
    assert waiting.state is JobState.WAITING
    assert waiting.reason.startswith("Waiting for its start time")
    job = await site.ended(job_id)
    assert job.started
    assert start <= job.started < start + 2


async def test_twenty_jobs_never_take_more_than_the_machine_has(site: LocalSite, tmp_path: Path) -> None:
    log = tmp_path / "log"
    body = f"echo +$NCPUS >> {log}; sleep 0.05; echo -$NCPUS >> {log}"
    arrays = [site.submit(body, cores=cores, array=JobArray(1, 5)) for cores in (1, 2, 1, 2)]
    for job_id in arrays:
        assert (await site.ended(job_id)).exit_status == 0
    taken, most = 0, 0
    for line in log.read_text().split():
        taken += int(line)
        most = max(most, taken)
    assert (taken, most) == (0, 2)


async def test_memory_is_given_out_like_cores(site: LocalSite) -> None:
    first = site.submit("sleep 30", memory_bytes=700 * 2**20)
    await site.running(first)
    second = site.submit("exit 0", memory_bytes=700 * 2**20)
    job = (await site.queue.snapshot())[second]
    assert (job.state, job.reason[:29]) == (JobState.QUEUED, "Insufficient amount of memory")
    assert job.expected_start
    assert job.expected_start > time.time() + 30
    (node,) = await site.queue.nodes()
    assert (node.cores, node.free_cores, node.free_memory_bytes) == (2, 1, 324 * 2**20)
    site.run("cancel", first, second)


@pytest.mark.parametrize(
    ("after", "body", "cause"),
    [
        (After.OK, "exit 0", Cause.EXIT),
        (After.OK, "exit 1", Cause.DEPENDENCY),
        (After.FAILURE, "exit 1", Cause.EXIT),
        (After.ANY, "exit 1", Cause.EXIT),
        (After.START, "sleep 0.3", Cause.EXIT),
    ],
)
async def test_a_job_follows_another(site: LocalSite, after: After, body: str, cause: Cause) -> None:
    first = site.submit(body, held=True)
    second = site.submit("exit 0", dependencies=(Dependency(after, (first,)),))
    waiting = (await site.queue.snapshot())[second]
    assert (waiting.state, waiting.reason[:11]) == (JobState.WAITING, "Dependency:")
    site.run("release", first)
    job = await site.ended(second)
    assert job.cause is cause
    before = (await site.ended(first)).ended
    assert cause is Cause.DEPENDENCY or after is After.START or (before and job.started and job.started >= before)


async def test_an_array_is_one_job_from_afar_and_many_from_near(site: LocalSite, tmp_path: Path) -> None:
    body = "echo $PBS_JOBID $PBS_ARRAYID; exit $((PBS_ARRAY_INDEX == 5))"
    array = site.submit(body, array=JobArray(3, 7, 2), output=str(tmp_path / "out"), held=True)
    assert set(await site.queue.snapshot()) == {array}
    number = array.removesuffix("[]")
    site.run("release", array)
    whole = await site.ended(array)
    assert (whole.cause, whole.exit_status, whole.array) == (Cause.EXIT, 1, "")
    parts = await site.queue.details([array])
    assert {job_id: job.exit_status for job_id, job in parts.items() if job.array == array} == {
        f"{number}[3]": 0,
        f"{number}[5]": 1,
        f"{number}[7]": 0,
    }
    assert (tmp_path / "out.5").read_text() == f"{number}[5] 5\n"


async def test_an_array_runs_no_more_at_once_than_it_may(site: LocalSite, tmp_path: Path) -> None:
    log = tmp_path / "log"
    body = f"echo + >> {log}; sleep 0.05; echo - >> {log}"
    assert (await site.ended(site.submit(body, array=JobArray(1, 3, at_once=1)))).exit_status == 0
    assert log.read_text().split() == ["+", "-"] * 3


async def test_one_job_of_an_array_is_cancelled_alone(site: LocalSite) -> None:
    array = site.submit("exit 0", array=JobArray(1, 2), held=True)
    one = array.replace("[]", "[2]")
    site.run("cancel", one)
    site.run("release", array)
    await site.ended(array)
    jobs = await site.queue.details([array])
    assert jobs[one].cause is Cause.CANCELLED
    assert jobs[array.replace("[]", "[1]")].exit_status == 0


async def test_a_rerunnable_job_is_put_back_by_its_owner(site: LocalSite, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    job_id = site.submit(f"test -e {mark} && exit 0; touch {mark}; sleep 300", rerunnable=True)
    await eventually(mark.exists)
    assert site.run("requeue", job_id).returncode == 0
    job = await site.ended(job_id)
    assert (job.exit_status, job.runs) == (0, 2)


async def test_a_job_that_must_not_run_twice_is_not_put_back(site: LocalSite) -> None:
    job_id = site.submit("sleep 300")
    await site.running(job_id)
    answer = site.run("requeue", job_id)
    assert (answer.returncode, "must not run twice" in answer.stderr) == (1, True)
    site.run("cancel", job_id)


async def test_a_short_job_passes_one_that_waits_for_both_cores(site: LocalSite) -> None:
    go = site.folder / "go"
    running = site.submit(f"until test -e {go}; do sleep 0.02; done", walltime_s=60)
    await site.running(running)
    large = site.submit("exit 0", cores=2, walltime_s=60)
    small = site.submit("exit 0", cores=1, walltime_s=30)
    late = site.submit("exit 0", cores=1, walltime_s=90)
    await site.ended(small)
    go.touch()
    ends: list[JobInfo] = [await site.ended(job_id) for job_id in (small, large, late)]
    starts = [job.started or 0 for job in ends]
    assert starts == sorted(starts)


async def test_a_script_that_cannot_start_says_why(site: LocalSite, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    job_id = site.submit("exit 0", output=str(tmp_path / "gone" / "out"), held=True)
    (tmp_path / "gone").rmdir()
    site.run("release", job_id)
    job = await site.ended(job_id)
    assert (job.cause, job.reason) == (Cause.NEVER_RUNS, f"{tmp_path}/gone/out: No such file or directory")


async def test_the_forecast_counts_on_whole_walltimes(site: LocalSite) -> None:
    first = site.submit("sleep 30", cores=2, walltime_s=600)
    started = (await site.running(first)).started
    second = site.submit("exit 0", cores=1, walltime_s=60)
    request = JobRequest("exit 0", "later", cores=2, memory_bytes=0, walltime_s=60)
    forecast, later = await site.queue.forecast([first, second]), await site.queue.try_start(request)
    assert started
    assert forecast == {second: pytest.approx(started + 600, abs=1)}
    assert later == pytest.approx(started + 660, abs=1)
    assert await site.queue.try_start(JobRequest("exit 0", "large", cores=400)) is None
    site.run("cancel", first, second)


async def test_the_launcher_submits_and_cancels(site: LocalSite) -> None:
    me = pwd.getpwuid(os.geteuid())
    user = UserQueue(site.queue, Account(me.pw_name, me.pw_uid, me.pw_gid, Path(me.pw_dir), "same"))
    good, held = site.script("exit 0"), site.script("exit 0", held=True, name="found-by-its-name")
    submitted = await user.submit_all([good, held, site.script("exit 0", cores=400)], folder=str(site.folder))
    assert [bool(one.id) for one in submitted] == [True, True, False], submitted
    assert isinstance(submitted[2].error, SubmitRefused)
    assert "asks for 400 cores; this machine has 2" in submitted[2].error.message
    found = await user.find("found-by-its-name")
    assert found
    assert found.id == submitted[1].id
    await site.ended(submitted[0].id)
    await user.cancel_all([submitted[0].id, submitted[1].id, "999999"])
    found = await user.find("found-by-its-name")
    assert found
    assert found.cause == Cause.CANCELLED


async def test_people_see_a_table(site: LocalSite) -> None:
    job_id = site.submit("exit 0", name="mine", held=True)
    lines = site.run("list").stdout.splitlines()
    assert lines[-1].split()[:2] == [job_id, "mine"]
    assert lines[-1].endswith("H  Held by its owner")
    assert site.run("list", job_id, "7[]").stderr == "springtide-local-queue: Unknown job 7[].\n"
    assert "2 of 2 cores free" in site.run("nodes").stdout
    site.run("cancel", job_id)
    (queue,) = await site.queue.queues()
    assert (queue.name, queue.default, queue.cores, queue.walltime_s) == ("local", True, 2, None)
