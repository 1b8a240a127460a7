"""Random mishaps, with fixed seeds: at the end no job of the local queue is forgotten, none ran twice, none is left."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from springtide.queues.model import Cause, JobState
from tests.support.local_queue import LocalSite, eventually, local_site
from tests.support.processes import all_processes

_STEPS = 20


class Chaos:
    """One random history of one queue."""

    def __init__(self, site: LocalSite, seed: int) -> None:
        self.site = site
        self.dice = random.Random(seed)
        self.log = site.folder / "starts"
        self.log.touch()
        self.rerunnable: dict[str, bool] = {}
        self.cancelled: set[str] = set()

    def step(self) -> None:
        mishaps = (self.kill_keeper, self.kill_shepherd, self.cancel, self.requeue)
        self.dice.choice((self.submit, self.submit, self.submit, *mishaps))()

    def submit(self) -> None:
        rerunnable = self.dice.random() < 0.5
        body = f"echo $PBS_JOBID >> {self.log}; (setsid sleep 60 &); sleep {self.dice.uniform(0, 0.4):.2f}; exit 5"
        cores = self.dice.choice((1, 1, 2))
        self.rerunnable[self.site.submit(body, rerunnable=rerunnable, cores=cores)] = rerunnable

    def kill_keeper(self) -> None:
        self._kill(self.site.keepers)

    def kill_shepherd(self) -> None:
        shepherds = self.site.shepherds
        self._kill(self.dice.sample(shepherds, min(1, len(shepherds))))

    def cancel(self) -> None:
        if self.rerunnable:
            job_id = self.dice.choice(list(self.rerunnable))
            self.cancelled |= {job_id} if self.site.run("cancel", job_id).returncode == 0 else set()

    def requeue(self) -> None:
        if self.rerunnable:
            self.site.run("requeue", self.dice.choice(list(self.rerunnable)))

    def _kill(self, pids: list[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("seed", range(int(os.environ.get("LOCAL_CHAOS_SEEDS", "1"))))
async def test_whatever_is_killed_every_job_comes_to_its_end_once(tmp_path: Path, seed: int) -> None:
    with local_site(tmp_path) as site:
        chaos = Chaos(site, seed)
        for _ in range(_STEPS):
            chaos.step()
        for job_id in chaos.rerunnable:
            await site.ended(job_id)
        jobs = await site.queue.details(chaos.rerunnable)
        starts = Counter(chaos.log.read_text().split())
        for job_id, job in jobs.items():
            allowed = {Cause.CANCELLED} if job_id in chaos.cancelled else {Cause.EXIT}
            allowed |= set() if chaos.rerunnable[job_id] else {Cause.LOST}
            allowed |= {Cause.EXIT} if job_id in chaos.cancelled else set()
            # What looked like a shepherd to the killer may have been the job, the moment before it began.
            allowed |= set() if starts[job_id] else {Cause.SIGNAL}
            assert job.cause in allowed, job
            assert chaos.rerunnable[job_id] or starts[job_id] <= 1
            assert starts[job_id] <= (job.runs or 0)
            assert job.cause is not Cause.EXIT or job.exit_status == 5
        assert set(jobs) == set(chaos.rerunnable)
        assert all(job.state is JobState.FINISHED for job in jobs.values())
        await eventually(lambda: not [process for process in all_processes() if process.mentions(str(site.folder))])
        assert not [folder for (folder,) in site.rows("SELECT scratch FROM jobs") if folder and Path(folder).exists()]
        assert list((site.spool.folder / "scripts").iterdir()) == []
