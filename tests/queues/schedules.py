"""Random schedules of submissions, cancels, crashes and faults on a real scheduler, and what must hold all along.

The truth is what the scheduler's own commands say, asked without any of our code.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from springtide.errors import LedgerError, QueueUnreachable
from springtide.ledger.records import LOST, REFUSED, SUBMITTING, JobRecord
from springtide.ledger.store import Ledger
from springtide.queues.accounts import Account, Submitted, UserQueue
from springtide.queues.base import Queue
from springtide.queues.commands import run_command
from springtide.queues.dispatch import Dispatcher
from springtide.queues.model import JobArray, JobRequest
from springtide.queues.monitor import Monitor
from springtide.queues.pbs.pro import PbsProQueue
from springtide.queues.slurm.queue import SlurmQueue
from tests.queues.dispatching import SITE, SLURM_PROGRAMS, USER, Commands, myself, request
from tests.support.openpbs import OpenPBS
from tests.support.slurm import Slurm

_SETTLES_WITHIN_S = 90.0
_CRASHES = ("before rows", "before submission", "half a submission", "after submission", "launcher lives on")


@dataclass(frozen=True)
class TrueJob:
    """A job as the scheduler's own commands show it; ended ones are shown for a while."""

    id: str
    name: str
    alive: bool
    running: bool


class Scheduler(ABC):
    """What a schedule does to a scheduler behind our back."""

    programs: tuple[str, ...]
    real: Path
    outage: str
    """Shell lines of a command that cannot reach its server."""
    faults: tuple[str, ...]
    """What may go wrong for a while with the machine's services."""
    account: Account
    """Who submits."""

    @abstractmethod
    def queue(self, commands: Path) -> Queue: ...

    @abstractmethod
    def jobs(self) -> list[TrueJob]: ...

    @abstractmethod
    def delete(self, job_id: str) -> None: ...

    @abstractmethod
    def requeue(self, job_id: str) -> None: ...

    @abstractmethod
    def begin(self, fault: str) -> None: ...

    @abstractmethod
    def end(self, fault: str) -> None: ...


class SlurmScheduler(Scheduler):
    programs = SLURM_PROGRAMS
    outage = "echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1"
    faults = ("controller", "munge")

    def __init__(self, slurm: Slurm) -> None:
        self._slurm = slurm
        self.real = slurm.commands
        self.account = myself()

    def queue(self, commands: Path) -> Queue:
        return SlurmQueue(commands, run_command)

    def jobs(self) -> list[TrueJob]:
        # Not those that are completing: after an outage of munge that lasts minutes.
        alive = ("PENDING", "RUNNING", "CONFIGURING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD")
        jobs = self._slurm.jobs(finished=True)
        # An array is one job here.
        ids = (job.id.partition("_")[0] for job in jobs)
        return [
            TrueJob(job_id, job.name, job.state in alive, job.state == "RUNNING")
            for job_id, job in zip(ids, jobs, strict=True)
        ]

    def delete(self, job_id: str) -> None:
        self._slurm.run(["scancel", job_id], check=False)

    def requeue(self, job_id: str) -> None:
        self._slurm.run(["scontrol", "requeue", job_id], check=False)

    def begin(self, fault: str) -> None:
        {"controller": self._slurm.stop_controller, "munge": self._slurm.stop_munge}[fault]()

    def end(self, fault: str) -> None:
        {"controller": self._slurm.start_controller, "munge": self._slurm.start_munge}[fault]()


class PbsScheduler(Scheduler):
    """OpenPBS, which takes no job of root's; `stop` and `start` are commands that stop and start its server."""

    programs = ("qsub", "qstat", "qdel", "qselect", "pbsnodes")
    outage = "echo 'qstat: cannot connect to server head (errno=111)' >&2; exit 111"

    def __init__(
        self, openpbs: OpenPBS, account: Account, stop: Callable[[], None] | None, start: Callable[[], None] | None
    ) -> None:
        self._openpbs, self.account, self._stop, self._start = openpbs, account, stop, start
        self.faults = ("server",) if stop and start else ()
        self.real = openpbs.commands

    def queue(self, commands: Path) -> Queue:
        return PbsProQueue(commands, run_command)

    def jobs(self) -> list[TrueJob]:
        jobs = json.loads(self._openpbs.run(["qstat", "-fx", "-F", "json"]).stdout).get("Jobs", {})
        states = {job_id: (job["Job_Name"], job["job_state"]) for job_id, job in jobs.items()}
        return [TrueJob(job_id, name, state not in "FX", state in "RB") for job_id, (name, state) in states.items()]

    def delete(self, job_id: str) -> None:
        self._openpbs.run(["qdel", job_id], check=False)

    def requeue(self, job_id: str) -> None:
        self._openpbs.run(["qrerun", job_id], check=False)

    def begin(self, fault: str) -> None:
        assert self._stop
        self._stop()

    def end(self, fault: str) -> None:
        assert self._start
        self._start()


class Crash(BaseException):
    """Our process dies here."""


class World:
    """One ledger, one scheduler, and our process, which may die at any moment and comes back."""

    def __init__(self, scheduler: Scheduler, folder: Path, seed: int) -> None:
        self.scheduler = scheduler
        self.random = random.Random(seed)
        self.story: list[str] = [f"seed {seed}"]
        self.cancelled: set[str] = set()
        self._place = folder / "ledger.sqlite"
        self._commands = Commands(folder / "bin", scheduler.real, scheduler.programs)
        self._tokens: list[str] = []
        self._lock: sqlite3.Connection | None = None
        self._fault = ""
        self._crash = ""
        self._launchers: list[asyncio.Future[Any]] = []
        # Others may use the scheduler, too; no part of it is touched that is not this world's.
        self._mark = "".join(self.random.choices("abcdefghijk", k=6)) + format(time.time_ns() % 10**6, "06d")
        self.clock_shift_s = 0.0
        self._come_up()

    # --- our process ------------------------------------------------------------------------------------------------

    def _come_up(self) -> None:
        world = self

        class MortalLedger(Ledger):
            def add_jobs(self, records: Sequence[JobRecord], **more: Any) -> None:
                world._die_at("before rows")
                super().add_jobs(records, **more)
                world._tokens += [record.token for record in records]

        class MortalUserQueue(UserQueue):
            async def submit_all(self, scripts: Sequence[str], *, folder: str = "") -> list[Submitted]:
                world._die_at("before submission")
                if world._crash == "half a submission":
                    await super().submit_all(scripts[: len(scripts) // 2], folder=folder)
                    world._die_at("half a submission")
                submission = asyncio.ensure_future(super().submit_all(scripts, folder=folder))
                world._launchers.append(submission)
                if world._crash == "launcher lives on":
                    await asyncio.sleep(0.05)
                    world._die_at("launcher lives on")
                done = await submission
                world._die_at("after submission")
                return done

        queue = self.scheduler.queue(self._commands.folder)
        self.ledger = MortalLedger.open(self._place, patience_s=0.1)
        user_queue = MortalUserQueue(queue, self.scheduler.account)
        self.dispatcher = Dispatcher(SITE, user_queue, Monitor(queue, 0.1), self.ledger, USER, ask_again_after_s=0.1)

    def _die_at(self, point: str) -> None:
        if self._crash == point:
            self._crash = ""
            raise Crash(point)

    async def _try(self, what: Callable[[], Awaitable[Any]]) -> bool:
        """Let our process do something; it may fail as it says it may, or die and come back."""
        try:
            await what()
        except (LedgerError, QueueUnreachable) as error:
            self.story.append(f"  {type(error).__name__}: {error.message[:90]}")
            return False
        except Crash as crash:
            self.story.append(f"  killed: {crash}")
            self.ledger.close()
            self._come_up()
            return False
        return True

    # --- what may happen --------------------------------------------------------------------------------------------

    async def step(self) -> None:
        """Do one thing at random, then look at the jobs, and check that no row tells an untruth."""
        actions = [self._submit] * 2 + [self._cancel] * 4 + [self._break_commands] * 4 + [self._plan_crash] * 4
        actions += [self._delete, self._requeue, self._shift_clock] + [self._heal] * 3
        actions += [self._unlock if self._lock else self._lock_ledger] * 2
        actions += [self._fail_service] * bool(self.scheduler.faults)
        action = self.random.choice(actions)
        self.story.append(action.__name__.strip("_"))
        await action()
        for look in self.random.sample(["settle", "refresh"], self.random.randint(0, 2)):
            self.story.append(f"  {look}")
            await self._try(getattr(self.dispatcher, look))
        await self.check()

    async def _submit(self) -> None:
        bodies = self.random.choices(["sleep 600", "exit 0", "exit 3", "sleep 1"], [4, 1, 1, 1], k=3)
        requests = [self._request(body) for body in bodies[: self.random.randint(1, 3)]]
        await self._try(lambda: self.dispatcher.submit(requests))

    def _request(self, body: str) -> JobRequest:
        array = JobArray(1, 2) if self.random.random() < 0.2 else None
        name = self._mark + self.random.choice(["", "Étude 1", "x" * 180])
        return request(body, name, rerunnable=True, array=array)

    async def _cancel(self) -> None:
        if not self._tokens:
            return
        token = self.random.choice(self._tokens)

        async def cancel() -> None:
            try:
                rows = await self.dispatcher.cancel([token], "alice")
            except QueueUnreachable:
                self.cancelled.add(token)
                raise
            self.cancelled |= {row.token for row in rows}

        await self._try(cancel)

    async def _plan_crash(self) -> None:
        self._crash = self.random.choice(_CRASHES)
        self.story.append(f"  {self._crash}")
        await self._submit()

    async def _break_commands(self) -> None:
        garbage = "head -c 2000 /dev/urandom; exit 0"
        swallowed = '"$real" "$@" >/dev/null 2>&1'
        faults = [f"{swallowed}; exit 1", f"{swallowed}; kill -9 $$", f"{swallowed}; echo oops >&2; exit 153"] * 2
        faults += [self.scheduler.outage, garbage, "exit 153", "kill -9 $$", "sleep 0.3"]
        fault = self.random.choice(faults)
        programs = self.random.choice([self.scheduler.programs, self.scheduler.programs[:1]])
        self.story.append(f"  {', '.join(programs)}: {fault}")
        self._commands.fail(fault, *programs)
        await self.random.choice([self._submit, self._submit, self._cancel])()
        if self.random.random() < 0.5:
            self._commands.heal()

    async def _heal(self) -> None:
        self._commands.heal()
        if self._fault:
            self.scheduler.end(self._fault)
            self._fault = ""

    async def _fail_service(self) -> None:
        if not self._fault:
            self._fault = self.random.choice(self.scheduler.faults)
            self.story.append(f"  {self._fault}")
            self.scheduler.begin(self._fault)

    async def _delete(self) -> None:
        alive = [] if self._fault else [job for job in self.true_jobs() if job.alive]
        if alive:
            self.scheduler.delete(self.random.choice(alive).id)

    async def _requeue(self) -> None:
        running = [] if self._fault else [job for job in self.true_jobs() if job.running]
        if running:
            self.scheduler.requeue(self.random.choice(running).id)

    async def _lock_ledger(self) -> None:
        self._lock = sqlite3.connect(self._place, isolation_level=None, check_same_thread=False)
        self._lock.execute("PRAGMA busy_timeout = 5000")
        self._lock.execute("BEGIN IMMEDIATE")
        await self._submit()

    async def _unlock(self) -> None:
        if self._lock:
            self._lock.close()
            self._lock = None

    async def _shift_clock(self) -> None:
        self.clock_shift_s = self.random.choice([-86400.0, 0.0, 0.0, 86400.0])
        self.story.append(f"  by {self.clock_shift_s:.0f} s")

    # --- what must hold ---------------------------------------------------------------------------------------------

    def true_jobs(self) -> list[TrueJob]:
        return [job for job in self.scheduler.jobs() if job.name.startswith(self._mark)]

    async def check(self) -> None:
        """No row says that a job is over, or never was, while the scheduler says that it lives."""
        if self._fault or self._lock:
            return
        rows = self.ledger.jobs()
        alive = [job for job in self.true_jobs() if job.alive]
        for row in rows:
            if row.over and not self._launcher_runs():
                living = [job for job in alive if job.id == row.job_id or job.name == row.scheduler_name]
                assert not living, self._tale(row, living)

    def _launcher_runs(self) -> bool:
        return any(not launcher.done() for launcher in self._launchers)

    async def finish(self) -> None:
        """Let all faults end; then every job must be known, every row be true, every cancelled job be over."""
        self.clock_shift_s = 0.0
        await self._heal()
        await self._unlock()
        self._crash = ""
        await asyncio.gather(*self._launchers, return_exceptions=True)
        self.ledger.close()
        self._come_up()
        self.dispatcher.grace_s = 0.0
        # A scheduler that takes no job at all would pass every other check.
        (taken,) = await self.dispatcher.submit([request("true", self._mark)])
        assert taken.job_id, self._tale(taken)
        await self._until(self._is_settled)
        for row in self.ledger.jobs():
            self._check_true(row)
        for token in [row.token for row in self.ledger.jobs(open_only=True)]:
            self.cancelled.add(token)
            await self.dispatcher.cancel([token], "the end")
        await self._until(lambda: self._is_settled() and not any(job.alive for job in self.true_jobs()))
        for row in self.ledger.jobs():
            self._check_true(row)
        self.ledger.close()

    async def _until(self, done: Callable[[], bool]) -> None:
        give_up_at = time.monotonic() + _SETTLES_WITHIN_S
        while True:
            await self.dispatcher.settle()
            await self.dispatcher.refresh()
            if done():
                return
            assert time.monotonic() < give_up_at, self._tale(self.ledger.jobs(), self.true_jobs())
            await asyncio.sleep(0.3)

    def _is_settled(self) -> bool:
        rows = self.ledger.jobs()
        over = all(row.over or row.state == "ending" for row in rows if row.token in self.cancelled)
        # A job may end, or be ending before it is queued again, between the question and the look at the truth.
        alive = {job.id for job in self.true_jobs() if job.alive}
        told = all(row.over or row.state == "ending" or row.job_id in alive for row in rows)
        return over and told and not any(row.state == SUBMITTING for row in rows)

    def _check_true(self, row: JobRecord) -> None:
        jobs = self.true_jobs()
        named = {job.id for job in jobs if job.name == row.scheduler_name}
        known = {one.job_id for one in self.ledger.jobs()}
        orphans = [job for job in jobs if job.id not in known]
        assert not orphans, self._tale(row, orphans)
        assert len(named) <= 1, self._tale(row, named)
        if row.state in (LOST, REFUSED):
            assert not named, self._tale(row, named)
        else:
            assert named == {row.job_id}, self._tale(row, named)
        alive = any(job.alive for job in jobs if job.id == row.job_id)
        assert not (alive and row.token in self.cancelled and row.over), self._tale(row, jobs)

    def _tale(self, *things: object) -> str:
        return "\n".join([*self.story, *map(repr, things)])
