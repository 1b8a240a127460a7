"""What may go wrong around the local queue, done to real processes: nothing is lost, nothing runs twice."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.errors import QueueUnreachable
from springtide.queues.commands import run_command
from springtide.queues.local import program as local_program
from springtide.queues.local import store as local_store
from springtide.queues.local.bell import ring
from springtide.queues.local.machine import SPOOL_VARIABLE
from springtide.queues.local.processes import me, send, start_of
from springtide.queues.local.queue import PROGRAM, LocalQueue
from springtide.queues.model import Cause, JobArray, JobState
from tests.support.local_queue import LocalSite, eventually, local_site
from tests.support.need import require
from tests.support.processes import process


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LocalSite]:
    """Yield a queue with two cores and 1 GiB, nobody else's."""
    with local_site(tmp_path) as site:
        yield site


def kill(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


async def test_a_keeper_killed_again_and_again_loses_no_job_and_starts_none_twice(site: LocalSite) -> None:
    log = site.folder / "log"
    ids = []
    for number in range(12):
        ids.append(site.submit(f"echo $PBS_JOBID >> {log}; sleep 0.15"))
        if number % 3 == 2:
            kill(site.keepers)
    array = site.submit(f"echo $PBS_JOBID >> {log}", array=JobArray(1, 4))
    kill(site.keepers)
    for job_id in (*ids, array):
        job = await site.ended(job_id)
        assert (job.cause, job.exit_status) == (Cause.EXIT, 0)
    parts = [array.replace("[]", f"[{index}]") for index in range(1, 5)]
    assert Counter(log.read_text().split()) == Counter([*ids, *parts])


async def test_a_running_job_outlives_its_keeper_and_is_adopted(site: LocalSite) -> None:
    go = site.folder / "go"
    first = site.submit(f"until test -e {go}; do sleep 0.05; done; exit 7", cores=2)
    await site.running(first)
    second = site.submit("exit 0")
    (keeper,), (shepherd,) = site.keepers, site.shepherds
    kill([keeper])
    await eventually(lambda: not process(keeper))
    assert (await site.queue.snapshot())[first].state is JobState.RUNNING
    assert site.shepherds == [shepherd]
    go.touch()
    assert (await site.ended(first)).exit_status == 7
    assert (await site.ended(second)).exit_status == 0


async def test_the_last_shepherd_starts_a_keeper_where_there_is_none(site: LocalSite) -> None:
    log = site.folder / "log"
    site.submit("sleep 0.5", cores=2)
    await eventually(lambda: bool(site.shepherds))
    site.submit(f"echo ran >> {log}")
    kill(site.keepers)
    await eventually(log.exists)


@pytest.mark.parametrize("rerunnable", [False, True])
async def test_a_job_whose_shepherd_is_killed_is_ended_and_told(site: LocalSite, rerunnable: bool) -> None:
    first, pids = site.folder / "first", site.folder / "pids"
    body = f"test -e {first} && exit 0; touch {first}; setsid sleep 300 & echo $$ $! > {pids}; wait"
    job_id = site.submit(body, rerunnable=rerunnable)
    await eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    scratch = Path(site.rows("SELECT scratch FROM jobs")[0][0])
    assert (scratch / "nodes").exists()
    kill(site.shepherds)
    job = await site.ended(job_id)
    assert not [pid for pid in map(int, pids.read_text().split()) if process(pid)]
    expected = (Cause.EXIT, 0, 2) if rerunnable else (Cause.LOST, None, 1)
    assert (job.cause, job.exit_status, job.runs) == expected
    assert not scratch.exists()


async def test_shepherd_and_keeper_killed_together(site: LocalSite) -> None:
    pids = site.folder / "pids"
    job_id = site.submit(f"setsid sleep 300 & echo $$ $! > {pids}; wait")
    await eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    kill([*site.keepers, *site.shepherds])
    assert (await site.ended(job_id)).cause is Cause.LOST
    assert not [pid for pid in map(int, pids.read_text().split()) if process(pid)]


@pytest.mark.parametrize("rerunnable", [False, True])
async def test_after_the_machine_was_started_anew(site: LocalSite, rerunnable: bool) -> None:
    first = site.folder / "first"
    job_id = site.submit(f"test -e {first} && exit 0; touch {first}; sleep 300", rerunnable=rerunnable)
    await eventually(first.exists)
    kill([*site.keepers, *site.shepherds])
    site.rows("UPDATE jobs SET boot = 'the one before'")
    job = await site.ended(job_id)
    assert job.cause is (Cause.EXIT if rerunnable else Cause.LOST)
    assert rerunnable or job.reason == "The machine was restarted"


async def test_a_shutdown_asks_the_job_to_end(site: LocalSite) -> None:
    asked = site.folder / "asked"
    job_id = site.submit(f"trap 'touch {asked}; exit 1' TERM; touch {asked}.soon; sleep 300 & wait")
    await eventually(lambda: Path(f"{asked}.soon").exists())
    os.kill(site.shepherds[0], signal.SIGTERM)
    job = await site.ended(job_id)
    assert (job.cause, asked.exists()) == (Cause.LOST, True)


async def test_a_clock_set_forward_or_back_neither_ends_nor_prolongs_a_job(site: LocalSite) -> None:
    jobs = [site.submit("sleep 300", walltime_s=1), site.submit("sleep 0.6")]
    for job_id in jobs:
        await site.running(job_id)
    # To whoever looks at the clock, these jobs began long ago, or are yet to begin.
    site.rows(f"UPDATE jobs SET started = started + (CASE number WHEN {jobs[0]} THEN 1e6 ELSE -1e6 END)")
    long, short = [await site.ended(job_id) for job_id in jobs]
    assert (long.cause, short.cause) == (Cause.WALLTIME, Cause.EXIT)
    for job in (long, short):
        assert job.started
        assert job.ended
        assert job.used
        assert job.used.walltime_s
        assert job.ended - job.started == pytest.approx(job.used.walltime_s, abs=0.01)
        assert job.used.walltime_s < 5


async def test_eight_submit_at_once(site: LocalSite) -> None:
    script = site.script(f"echo $PBS_JOBID >> {site.folder}/log")

    async def submit() -> str:
        program = str(site.bin / PROGRAM)
        process = await asyncio.create_subprocess_exec(
            program, "submit", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        return (await process.communicate(script.encode()))[0].decode().strip()

    ids = await asyncio.gather(*(submit() for _ in range(8)))
    assert sorted(ids) == [str(number) for number in range(1, 9)]
    for job_id in ids:
        assert (await site.ended(job_id)).exit_status == 0
    assert sorted((site.folder / "log").read_text().split()) == sorted(ids)
    assert len(site.keepers) <= 1


async def test_an_idle_keeper_ends_and_nothing_is_left(site: LocalSite) -> None:
    job_id = site.submit("exit 0")
    await site.ended(job_id)
    await eventually(lambda: not site.processes())
    assert list((site.spool.folder / "scripts").iterdir()) == []
    assert site.log == ""
    assert (await site.ended(site.submit("exit 4"))).exit_status == 4


async def test_a_queue_whose_folder_is_removed_leaves_no_process(site: LocalSite) -> None:
    pid = site.folder / "pid"
    site.submit(f"echo $$ > {pid}; sleep 300")
    await eventually(lambda: pid.exists() and pid.read_text() != "")
    shutil.rmtree(site.spool.folder)
    await eventually(lambda: not site.processes() and not process(int(pid.read_text())))


async def test_a_job_submitted_by_a_job_does_not_end_with_it(site: LocalSite) -> None:
    script = site.folder / "script"
    script.write_text(site.script(f"sleep 0.4; touch {site.folder}/ran"))
    # The keeper is gone by then: the new one descends from the first job.
    first = site.submit(f"until test -e {site.folder}/go; do sleep 0.02; done; {site.bin}/{PROGRAM} submit < {script}")
    await site.running(first)
    await end_keeper(site)
    (site.folder / "go").touch()
    assert (await site.ended(first)).exit_status == 0
    assert (await site.ended("2")).exit_status == 0
    assert (site.folder / "ran").exists()


def test_a_stranger_with_the_same_number_is_not_signalled() -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        start = start_of(stranger.pid)
        assert start
        assert not send(me()._replace(pid=stranger.pid, start=start - 1), signal.SIGKILL)
        assert stranger.poll() is None
        stranger.kill()


async def test_a_locked_database_is_told_and_nothing_is_submitted(
    site: LocalSite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site.submit("exit 0", held=True)
    monkeypatch.setenv(SPOOL_VARIABLE, str(site.spool.folder))
    monkeypatch.setattr(local_store, "BUSY_TIMEOUT_S", 0.1)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(site.script("exit 0").encode())))
    with sqlite3.connect(site.spool.database) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert local_program.main(["submit"]) == 75
    connection.close()
    words = capsys.readouterr().err
    assert "The database is locked" in words
    assert site.queue.is_outage(words)
    assert set(await site.queue.snapshot()) == {"1"}


@pytest.mark.parametrize(
    ("options", "words"), [("size=1m", "The disk is full"), ("ro,remount", "read-only")], ids=["full", "read-only"]
)
async def test_a_full_or_read_only_disk_is_told_and_nothing_is_half_submitted(
    site: LocalSite, options: str, words: str
) -> None:
    require("root's rights, for a file system", os.geteuid() == 0, "run the tests as root")
    folder = site.spool.folder
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
    try:
        site.set()
        held = site.submit("exit 0", held=True)
        await eventually(lambda: len(site.keepers) == 1)
        if "remount" in options:
            await end_keeper(site)
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        else:
            fill(folder / "filler")
        answer = site.run("submit", stdin=site.script("exit 0"))
        assert answer.returncode == 1
        assert words in answer.stderr
        if "remount" in options:
            subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        (folder / "filler").unlink(missing_ok=True)
        assert set(await site.queue.snapshot()) == {held}
        assert [script.name for script in (folder / "scripts").iterdir()] == [f"{held}.sh"]
        assert (await site.ended(site.submit("exit 0"))).exit_status == 0
        site.close()
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


async def end_keeper(site: LocalSite) -> None:
    kill(site.keepers)
    await eventually(lambda: not site.keepers)


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as filler:
        try:
            while filler.write(b"\0" * 4096):
                pass
        except OSError:
            return


@pytest.mark.parametrize("answer", ["echo garbage", "echo '{}'", "echo '[{}]'", "exit 1", "kill -9 $$"])
async def test_an_answer_that_is_not_one_is_no_answer(tmp_path: Path, answer: str) -> None:
    program = tmp_path / PROGRAM
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(0o755)
    queue = LocalQueue(tmp_path, run_command)
    for ask in (queue.snapshot, queue.nodes):
        with pytest.raises(QueueUnreachable):
            await ask()


async def test_ten_thousand_jobs_are_listed_at_once(site: LocalSite) -> None:
    site.submit("exit 0", held=True)
    columns = "name, interpreter, cores, memory, walltime, ranks, is_array, at_once, rerunnable, start_after, output,"
    columns += " errors, folder, umask, submitted, waits_for"
    numbers = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
    for first_state, last in (("finished", 10_000), ("held", 20_000)):
        insert = f"INSERT INTO submissions (number, {columns}) {numbers.format(last=last)} SELECT i, {columns} FROM n,"
        site.rows(f"{insert} submissions WHERE number = 1 AND i NOT IN (SELECT number FROM submissions)")
        values = "SELECT number, -1, '{}', {} FROM submissions WHERE number NOT IN (SELECT number FROM jobs)"
        site.rows(f"INSERT INTO jobs (number, position, state, ended) {values.format(first_state, time.time())}")
    began = time.monotonic()
    jobs = await site.queue.snapshot()
    took_s = time.monotonic() - began
    assert len(jobs) == 10_001
    assert took_s < 2
    began = time.monotonic()
    assert len(await site.queue.nodes()) == 1
    assert set(await site.queue.details(["5000"])) == {"5000"}
    assert time.monotonic() - began < 2
    site.rows("DELETE FROM jobs WHERE state != 'finished'")
    ring(site.spool)


async def test_old_jobs_are_forgotten(site: LocalSite) -> None:
    ids = [site.submit("exit 0") for _ in range(4)]
    for job_id in ids:
        await site.ended(job_id)
    await eventually(lambda: not site.keepers)
    site.set(kept_jobs=2)
    site.submit("exit 0", held=True)
    await eventually(lambda: bool(site.keepers))
    await site.queue.snapshot()
    assert set(await site.queue.details(ids)) == {ids[2], ids[3]}
