"""What the queue layer costs: commands asked of the scheduler, large answers read, many jobs submitted."""

from __future__ import annotations

import asyncio
import os
import pwd
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import batchspawner

from springtide.ledger.store import Ledger
from springtide.queues.accounts import Account, UserQueue
from springtide.queues.base import Queue
from springtide.queues.commands import Answer, run_command
from springtide.queues.dispatch import Dispatcher
from springtide.queues.model import JobArray, JobRequest
from springtide.queues.monitor import Monitor
from springtide.queues.pbs.pro import PbsProQueue
from springtide.queues.pbs.torque import TorqueQueue
from springtide.queues.slurm.queue import SlurmQueue
from tests.benches.commands import CountedCommands, counted_commands
from tests.benches.hubs import in_turns
from tests.benches.report import QUICK, Report, Table, ratio, repetitions, spread
from tests.support import large_answers
from tests.support.leaks import LeakCheck
from tests.support.slurm import Slurm

_SESSIONS = 20 if QUICK else 200
_KNOWN = 100 if QUICK else 2000
_WATCHED_S = 10 if QUICK else 60
_SUBMITTED = 20 if QUICK else 500
_ANSWERED = 10_000
_MIB = 2**20
_ASKS_NOTE = """\
Counted by wrappers around Slurm's commands over {seconds} s each, one side after the other, in one process without a
hub. Springtide: one monitor, whose {sessions} watchers look every second as waiting sessions do. batchspawner 1.3.0:
its own `query_job_status`, called for each of {sessions} waiting sessions at its own `startup_poll_interval` of half a
second; the machine cannot keep up with that, so the figure is what two cores let through, not what it would ask of a
larger machine. dask-jobqueue 0.9.0 is not in the table: it asks for no state at all, so that a job deleted or waiting
for ever stays “running” for it."""
_ANSWERS_NOTE = """\
A bulk answer of {jobs} jobs, made after real ones, as the dialect's `snapshot` reads it from its command's output: the
command itself is not counted. Peak is what tracemalloc saw beyond the text itself, in a run of its own."""
_SUBMIT_NOTE = """\
{jobs} held jobs of one script, n = {n}, in turns. Bare is a shell loop of `sbatch --parsable`. Springtide's time holds
everything: the rows in the ledger (SQLite, written before the submission), one launcher, {jobs} times `sbatch`, and the
ids in the ledger. An array of {jobs} is one command."""


async def bench_queues(nothing_left: LeakCheck, slurm: Slurm, tmp_path: Path, monkeypatch: Any) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    report = Report("queues")
    with counted_commands(slurm.commands) as commands:
        jobs = _known_jobs(slurm)
        report.add(await _asks_table(commands, jobs))
    report.add(_ASKS_NOTE.format(seconds=_WATCHED_S, sessions=_SESSIONS))
    slurm.cancel_all()
    report.add(await _answers_table())
    report.add(_ANSWERS_NOTE.format(jobs=_ANSWERED))
    count = repetitions(3)
    report.add(await _submissions_table(slurm, tmp_path, count))
    report.add(_SUBMIT_NOTE.format(jobs=_SUBMITTED, n=count))
    report.publish()


# --- how often the scheduler is asked -------------------------------------------------------------------------------


def _known_jobs(slurm: Slurm) -> list[str]:
    """Submit the jobs that the scheduler is to know; return their ids."""
    return _bare_loop(slurm, _KNOWN)


def _bare_loop(slurm: Slurm, count: int) -> list[str]:
    script = f"for i in $(seq {count}); do {slurm.commands}/sbatch --parsable --hold --mem=1M --wrap 'sleep 60'; done"
    answer = slurm.run(["bash", "-c", script])
    return answer.stdout.split()


async def _asks_table(commands: CountedCommands, jobs: Sequence[str]) -> Table:
    sessions = jobs[:_SESSIONS]
    ours = await _counted(commands, lambda: _watch_with_monitor(SlurmQueue(commands.folder, run_command), sessions))
    plain = await _counted(commands, lambda: _watch_with_batchspawner(commands.folder, sessions))
    return Table(
        ("sessions waiting, jobs known", "Springtide, commands a minute", "batchspawner, commands a minute", "ratio"),
        [(f"{_SESSIONS}, {len(jobs)}", f"{ours:.1f}", f"{plain:.0f}", f"{ours / plain:.4f}")],
    )


async def _counted(commands: CountedCommands, watch: Callable[[], Any]) -> float:
    """Return the commands a minute while `watch` runs."""
    began = time.time()
    await watch()
    seconds = time.time() - began
    return commands.since(began, began + seconds).total() * 60 / seconds


async def _watch_with_monitor(queue: Queue, jobs: Sequence[str]) -> None:
    monitor, until = Monitor(queue), time.monotonic() + _WATCHED_S

    async def watcher(job_id: str) -> None:
        while time.monotonic() < until:
            assert not (await monitor.look(job_id)).ended
            await asyncio.sleep(1)

    await asyncio.gather(*map(watcher, jobs))


async def _watch_with_batchspawner(commands: Path, jobs: Sequence[str]) -> None:
    until = time.monotonic() + _WATCHED_S

    async def watcher(job_id: str) -> None:
        spawner = batchspawner.SlurmSpawner(
            exec_prefix="",
            req_username="root",
            req_homedir="/root",
            req_keepvars="PATH",
            batch_query_cmd=f"{commands}/squeue -h -j {{job_id}} -o '%T %B'",
        )
        spawner.job_id = job_id
        while time.monotonic() < until:
            assert await spawner.query_job_status() is batchspawner.JobStatus.PENDING
            await asyncio.sleep(spawner.startup_poll_interval)

    await asyncio.gather(*map(watcher, jobs))


# --- large answers --------------------------------------------------------------------------------------------------


async def _answers_table() -> Table:
    rows = []
    for queue_class, make in (
        (PbsProQueue, large_answers.pbspro),
        (TorqueQueue, large_answers.torque),
        (SlurmQueue, large_answers.slurm),
    ):
        answers = _Answers(make(_ANSWERED))
        queue = queue_class(Path("/usr/bin"), answers)
        seconds = [await _timed(queue, answers) for _ in range(repetitions(5))]
        size, peak = len(answers.text) / _MIB, await _peak_bytes(queue) / _MIB
        rows.append((queue_class.dialect, f"{size:.1f}", spread(seconds), f"{peak:.0f}"))
    return Table(("dialect", "answer, MiB", "read in, s", "peak, MiB"), rows)


@dataclass
class _Answers:
    """A command that answers at once, with the delimiter it is asked for."""

    text: str
    busy_s: float = 0.0

    async def __call__(self, argv: Sequence[str]) -> Answer:
        began = time.perf_counter()
        delimiter = argv[argv.index("-D") + 1] if "-D" in argv else "|"
        answer = Answer(0, self.text.replace("|", delimiter), "")
        self.busy_s = time.perf_counter() - began
        return answer


async def _timed(queue: Queue, answers: _Answers) -> float:
    began = time.perf_counter()
    assert len(await queue.snapshot()) == _ANSWERED
    return time.perf_counter() - began - answers.busy_s


async def _peak_bytes(queue: Queue) -> int:
    tracemalloc.start()
    try:
        await queue.snapshot()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- submitting -----------------------------------------------------------------------------------------------------


async def _submissions_table(slurm: Slurm, folder: Path, count: int) -> Table:
    ledger = Ledger.open(folder / "ledger.sqlite")
    queue = SlurmQueue(slurm.commands, run_command)
    me = pwd.getpwuid(os.geteuid())
    user_queue = UserQueue(queue, Account(me.pw_name, me.pw_uid, me.pw_gid, Path(me.pw_dir), "same"))
    dispatcher = Dispatcher("bench", user_queue, Monitor(queue), ledger, me.pw_name)
    times: dict[str, list[float]] = {"ours": [], "bare": [], "array": []}
    for number in range(count):
        for side in in_turns(number, ("ours", "bare", "array")):
            began = time.perf_counter()
            if side == "bare":
                assert len(_bare_loop(slurm, _SUBMITTED)) == _SUBMITTED
            else:
                await _submit(dispatcher, array=side == "array")
            times[side].append(time.perf_counter() - began)
            slurm.cancel_all()
    ledger.close()
    return Table(
        ("seconds, median (min–max)", "Springtide", "bare `sbatch` loop", "ratio"),
        [
            (f"{_SUBMITTED} jobs", spread(times["ours"]), spread(times["bare"]), ratio(times["ours"], times["bare"])),
            (f"an array of {_SUBMITTED}", spread(times["array"]), "–", f"{statistics.median(times['array']):.2f} s"),
        ],
    )


async def _submit(dispatcher: Dispatcher, *, array: bool) -> None:
    request = JobRequest("sleep 60", "bench", memory_bytes=_MIB, held=True)
    requests = [replace(request, array=JobArray(1, _SUBMITTED))] if array else [request] * _SUBMITTED
    assert all(record.job_id for record in await dispatcher.submit(requests))
