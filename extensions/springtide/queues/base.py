"""What every batch queue does, whatever its dialect.

UNKNOWN and GONE are never mixed up: a scheduler that cannot be asked raises `QueueUnreachable`; a job that an
answering scheduler does not know is absent from the snapshot.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path

from springtide.errors import QueueUnreachable
from springtide.queues.commands import Answer, Runner
from springtide.queues.model import Capacity, JobInfo, JobRequest, Node, QueueLimits, capacity_of


class Queue(ABC):
    """A scheduler reached through its commands.

    Parameters
    ----------
    folder : Path
        Folder of the scheduler's commands: the environment cannot lead to another scheduler's.
    runner : Runner
        Runs the commands that only read, as the hub's own account.
    """

    dialect: str
    directive: str
    outage_pattern: re.Pattern[str]

    def __init__(self, folder: Path, runner: Runner) -> None:
        self.folder = folder
        self._runner = runner

    @abstractmethod
    def header(self, request: JobRequest) -> list[str]:
        """Return the directives, without their prefix, that ask for what `request` needs. Called by `script`."""

    @abstractmethod
    async def snapshot(self) -> dict[str, JobInfo]:
        """Return all jobs the scheduler shows in one cheap bulk command. Called by the monitor at each interval.

        An array is one entry; its own jobs appear in `details`.

        Raises
        ------
        QueueUnreachable
            If the scheduler did not answer.
        """

    @abstractmethod
    async def details(self, ids: Collection[str]) -> dict[str, JobInfo]:
        """Return all that is still known of these jobs, ended ones included; what is unknown is left out.

        Of an array's id, also each of its jobs. Called for jobs that left the snapshot, and for one that somebody
        looks at.

        Raises
        ------
        QueueUnreachable
            If the scheduler did not answer.
        """

    @abstractmethod
    async def nodes(self) -> tuple[Node, ...]:
        """Return the site's nodes. Called for the spawn page, before a submission, and by the doctor."""

    @abstractmethod
    async def queues(self) -> tuple[QueueLimits, ...]:
        """Return the site's queues with the limits of one job. Called before a submission and for the overview."""

    async def forecast(self, ids: Collection[str]) -> dict[str, float]:
        """Return the scheduler's own forecast of when these waiting jobs start; those without one are left out."""
        return {}

    async def try_start(self, request: JobRequest) -> float | None:
        """Return when the scheduler would start `request`, without submitting it; None where it cannot say."""
        return None

    async def capacity(self) -> Capacity:
        """Return what the site has and what of it is free."""
        return capacity_of(await self.nodes(), await self.snapshot())

    @abstractmethod
    async def node_address(self, node: str) -> str:
        """Return the address or host name of `node` as the scheduler knows it; `node` itself where it has none."""

    async def find(self, name: str, owner: str) -> JobInfo | None:
        """Return the job of `owner` called `name`, None where there is none: names are public, owners are not chosen.

        Raises
        ------
        QueueUnreachable
            If the scheduler did not answer.
        """
        jobs = await self.snapshot()
        return next((job for job in jobs.values() if (job.name, job.owner) == (name, owner)), None)

    def script(self, request: JobRequest) -> str:
        """Return the batch script for `request`: directives first, then its body."""
        site = [line.strip() for line in request.directives]
        directives = [f"{self.directive} {line}" for line in (*self.header(request), *site)]
        return "\n".join([f"#!{request.shell}", *directives, request.body, ""])

    async def ask(self, program: str, *arguments: str) -> str:
        """Return what a reading command printed.

        Raises
        ------
        QueueUnreachable
            If it failed in any way: a command that cannot be understood is no answer about any job.
        """
        answer = await self.run(program, *arguments)
        if answer.exit_status != 0:
            raise QueueUnreachable(f"{program}: {answer.complaint}")
        return answer.output

    async def run(self, program: str, *arguments: str) -> Answer:
        """Return the whole answer of a reading command, exit status included."""
        return await self._runner([str(self.folder / program), *arguments])

    def is_outage(self, complaint: str) -> bool:
        """Whether `complaint` says that the scheduler could not be asked, rather than that it refused."""
        return bool(self.outage_pattern.search(complaint))
