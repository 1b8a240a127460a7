"""A local queue in a folder of its own, reached through its real command."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from springtide.queues.commands import Answer
from springtide.queues.local import keeper, shepherd
from springtide.queues.local import program as local_program
from springtide.queues.local.machine import SPOOL_VARIABLE, Spool
from springtide.queues.local.private import private_queue
from springtide.queues.local.queue import PROGRAM, LocalQueue
from springtide.queues.model import JobInfo, JobRequest, JobState
from tests.support.processes import all_processes

_WITHIN_S = 60.0
_SETTINGS = {"cores": 2, "memory": "1G", "grace_s": 0.5, "idle_s": 0.4}


@dataclass
class LocalSite:
    """One local queue for a test."""

    folder: Path

    def __post_init__(self) -> None:
        self.spool = Spool(self.folder / "queue")
        self.queue = private_queue(self.folder, **_SETTINGS)
        self.bin = self.queue.folder
        self._near = LocalQueue(self.bin, self._run_here)

    def set(self, **settings: Any) -> None:
        (self.spool.folder / "settings.json").write_text(json.dumps(_SETTINGS | settings))

    def run(self, *arguments: str, stdin: str | bytes = b"", **options: Any) -> subprocess.CompletedProcess[str]:
        raw = stdin.encode() if isinstance(stdin, str) else stdin
        answer = subprocess.run(
            [str(self.bin / PROGRAM), *arguments], input=raw, capture_output=True, timeout=120, check=False, **options
        )
        return subprocess.CompletedProcess(
            answer.args, answer.returncode, answer.stdout.decode(), answer.stderr.decode()
        )

    async def _run_here(self, argv: Sequence[str]) -> Answer:
        """Run a reading command in this process: looking again and again costs less."""
        output = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
            patch.setenv(SPOOL_VARIABLE, str(self.spool.folder))
            return Answer(local_program.main(argv[1:]), output.getvalue(), "")

    def script(self, body: str, **asked: Any) -> str:
        usual: dict[str, Any] = {"name": "test", "memory_bytes": 64 * 2**20, "walltime_s": 60, "shell": "/bin/bash"}
        return self.queue.script(JobRequest(body, **(usual | asked)))

    def submit(self, body: str, **asked: Any) -> str:
        """Return the id of a job that runs the shell lines `body`."""
        answer = self.run("submit", stdin=self.script(body, **asked), cwd=self.folder)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    async def until(self, job_id: str, is_it: Callable[[JobInfo], bool]) -> JobInfo:
        """Return the job as soon as it is so."""
        job: JobInfo | None = None

        async def look() -> bool:
            nonlocal job
            job = (await self._near.details([job_id])).get(job_id)
            return job is not None and is_it(job)

        await eventually(look, lambda: f"job {job_id} stays {job}; keeper: {self.log}")
        assert job
        return job

    async def ended(self, job_id: str) -> JobInfo:
        return await self.until(job_id, lambda job: job.state is JobState.FINISHED)

    async def running(self, job_id: str) -> JobInfo:
        return await self.until(job_id, lambda job: job.state is JobState.RUNNING)

    def processes(self, *words: str) -> list[int]:
        """Return the queue's own processes: their command lines name its folder, and `words`."""
        found = (process for process in all_processes() if str(self.spool.folder) in process.command)
        return [process.pid for process in found if all(word in process.command for word in words)]

    def rows(self, query: str) -> list[Any]:
        """Read or change the queue's database behind its back."""
        with contextlib.closing(sqlite3.connect(self.spool.database, timeout=10)) as connection, connection:
            return connection.execute(query).fetchall()

    @property
    def keepers(self) -> list[int]:
        return self.processes(keeper.__name__)

    @property
    def shepherds(self) -> list[int]:
        return self.processes(shepherd.__name__)

    @property
    def log(self) -> str:
        return self.spool.log.read_text() if self.spool.log.exists() else ""

    def close(self) -> None:
        """End all that still runs, and wait until nothing of it is left."""
        live = json.loads(self.run("list", "--json").stdout or "[]")
        if live:
            self.run("cancel", *(job["id"] for job in live))
        deadline = time.monotonic() + _WITHIN_S
        while (left := self.processes()) and time.monotonic() < deadline:
            for pid in () if self.shepherds else self.keepers:
                # It would end by itself, a little later.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.03)
        assert not left, f"still there: {left}; keeper: {self.log}"


async def eventually(is_it: Callable[[], bool | Awaitable[bool]], words: Callable[[], str] = str) -> None:
    """Return as soon as it is so; fail after a while."""
    deadline = time.monotonic() + _WITHIN_S
    while True:
        answer = is_it()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < deadline, words()
        await asyncio.sleep(0.03)


@contextlib.contextmanager
def local_site(folder: Path) -> Iterator[LocalSite]:
    """Yield a queue; end what still runs in it."""
    site = LocalSite(folder)
    try:
        yield site
    finally:
        site.close()
