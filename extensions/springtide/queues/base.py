"""What every batch queue does, whatever its dialect.

UNKNOWN and GONE are never mixed up: a scheduler that cannot be asked raises `QueueUnreachable`; a job that an
answering scheduler does not know is absent from the snapshot.
"""

from __future__ import annotations

import enum
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from springtide.errors import QueueUnreachable
from springtide.queues.commands import Answer, Runner

_TOKEN_BYTES = 6


class JobState(enum.Enum):
    """Where a job is in its life, in words common to all schedulers."""

    QUEUED = "queued"
    HELD = "held"
    WAITING = "waiting"
    RUNNING = "running"
    SUSPENDED = "suspended"
    ENDING = "ending"
    FINISHED = "finished"

    @property
    def alive(self) -> bool:
        """Whether the job still is, or will be, in the scheduler's hands."""
        return self is not JobState.FINISHED

    @property
    def placed(self) -> bool:
        """Whether the job has nodes."""
        return self in (JobState.RUNNING, JobState.SUSPENDED, JobState.ENDING)


@dataclass(frozen=True)
class JobInfo:
    """What the scheduler said of one job."""

    id: str
    state: JobState
    name: str = ""
    """Empty where the bulk answer leaves it out."""
    owner: str = ""
    queue: str = ""
    nodes: tuple[str, ...] = ()
    reason: str = ""
    """The scheduler's own words for why the job waits or how it ended."""
    exit_status: int | None = None
    cores: int = 0


@dataclass(frozen=True)
class Capacity:
    """What a site has and what of it is free, as the scheduler counts it."""

    total_cores: int
    free_cores: int
    largest_node_cores: int
    largest_node_memory_bytes: int
    waiting_jobs: int
    waiting_reason: str = ""
    node: str = ""
    """The name of one of the nodes."""


@dataclass(frozen=True)
class JobRequest:
    """A shell script to run on one node with these resources."""

    body: str
    """Shell lines; secrets may stand here, as the script travels on standard input only."""
    name: str
    cores: int = 1
    memory_bytes: int = 2**30
    walltime_s: int = 3600
    queue: str = ""
    account: str = ""
    directives: tuple[str, ...] = ()


def new_job_token() -> str:
    """Return a fresh job name that finds its job again: 15 characters, the longest every scheduler accepts."""
    return f"st-{secrets.token_hex(_TOKEN_BYTES)}"


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
    async def live_jobs(self) -> dict[str, JobInfo]:
        """Return all jobs the scheduler shows in one cheap bulk command. Called by the monitor at each interval.

        Raises
        ------
        QueueUnreachable
            If the scheduler did not answer.
        """

    @abstractmethod
    async def ended_jobs(self, ids: Collection[str]) -> dict[str, JobInfo]:
        """Return what is still known of jobs that left the bulk answer. Called once for each such job.

        Raises
        ------
        QueueUnreachable
            If the scheduler did not answer.
        """

    @abstractmethod
    async def capacity(self) -> Capacity:
        """Return what the site's nodes have and what is free. Called for the spawn page and by the doctor."""

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
        jobs = await self.live_jobs()
        return next((job for job in jobs.values() if (job.name, job.owner) == (name, owner)), None)

    async def exit_status(self, job_id: str) -> int | None:
        """Return the exit status of an ended job where the bulk answer does not carry it, None where unknown."""
        return None

    def script(self, request: JobRequest) -> str:
        """Return the batch script for `request`: directives first, then its body."""
        site = [line.strip() for line in request.directives]
        directives = [f"{self.directive} {line}" for line in (*self.header(request), *site)]
        return "\n".join(["#!/bin/bash -l", *directives, request.body, ""])

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


def first_waiting_reason(jobs: Mapping[str, JobInfo]) -> str:
    """Return the scheduler's words for the job that has waited longest, "" when none waits."""
    waiting = (job for job in jobs.values() if job.state is JobState.QUEUED and job.reason)
    return next((job.reason for job in waiting), "")
