"""The local queue: a batch queue of processes on this machine, for a lab that has no scheduler.

It is a real queue: first come, first served with backfill into the machine's cores and memory; arrays, dependencies,
holds, walltimes. Its state outlives whoever uses it. ``program`` is its command, ``keeper`` starts the
jobs, ``shepherd`` runs one of them, ``store`` remembers all, ``machine`` says where it lies and what its owner may set.
Each account of the machine has a queue of its own, in its home folder: no root is needed, no account
can touch another's, and none sees another's either.

A service manager that ends all processes of a service (systemd's ``KillMode=control-group``) ends those of a queue
that was first used by that service, too: a hub's unit needs ``KillMode=process`` for jobs to outlive it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from springtide.errors import QueueUnreachable
from springtide.queues.base import Queue
from springtide.queues.bookkeeping import whole_of
from springtide.queues.local.directives import DIRECTIVE, JOB_ID
from springtide.queues.local.script import directives
from springtide.queues.model import Cause, JobInfo, JobRequest, JobState, Node, QueueLimits, Used

PROGRAM = "springtide-local-queue"
_IDS_A_COMMAND = 500
_JOB_FIELDS = {field.name for field in fields(JobInfo)}


class LocalQueue(Queue):
    """This machine's own queue, through ``springtide-local-queue``."""

    dialect = "local"
    directive = DIRECTIVE
    outage_pattern = re.compile(r"database is locked|did not answer within|springtide-local-queue\W{0,4}No such file")

    def header(self, request: JobRequest) -> list[str]:
        """Ask for cores, memory and time; the queue sends no mail and charges no account."""
        return directives(request)

    async def snapshot(self) -> dict[str, JobInfo]:
        """Ask once for all jobs that are not over."""
        return _jobs(await self._listed())

    async def details(self, ids: Collection[str]) -> dict[str, JobInfo]:
        """Ask for the named jobs; the queue remembers ended ones for a month."""
        asked = [job_id for job_id in ids if JOB_ID.fullmatch(job_id)]
        known: dict[str, JobInfo] = {}
        for first in range(0, len(asked), _IDS_A_COMMAND):
            known |= _jobs(await self._listed(*asked[first : first + _IDS_A_COMMAND]))
        return known

    async def find(self, name: str, owner: str) -> JobInfo | None:
        """Ask for the newest job of that name, ended ones included: a short job may be over before it is recorded."""
        known = _jobs(await self._listed("--name", name))
        whole = whole_of(next((job.array or job.id for job in known.values()), ""), known)
        return whole if whole and whole.owner == owner else None

    async def nodes(self) -> tuple[Node, ...]:
        """Return this machine."""
        return tuple(_built(Node, entry) for entry in (await self._machine())["nodes"])

    async def queues(self) -> tuple[QueueLimits, ...]:
        """Return the one queue."""
        return tuple(_built(QueueLimits, entry) for entry in (await self._machine())["queues"])

    async def forecast(self, ids: Collection[str]) -> dict[str, float]:
        """Return the latest moments at which jobs start, if all before them use their whole walltime."""
        jobs = await self.snapshot()
        known = ((job_id, jobs[job_id].expected_start) for job_id in ids if job_id in jobs)
        return {job_id: start for job_id, start in known if start is not None}

    async def try_start(self, request: JobRequest) -> float | None:
        """Return the latest moment at which such a job would start now."""
        if request.nodes > 1 or request.gpus:
            return None
        asked = ["--cores", str(request.cores)]
        asked += ["--memory", str(request.memory_bytes)] if request.memory_bytes else []
        asked += ["--walltime", str(request.walltime_s)] if request.walltime_s else []
        answer = await self.run(PROGRAM, "forecast", *asked)
        try:
            return float(answer.output) if answer.exit_status == 0 else None
        except ValueError:
            return None

    async def node_address(self, node: str) -> str:
        """Return the address at which this machine reaches itself: its name may stand in no table."""
        return "127.0.0.1"

    async def _listed(self, *ids: str) -> Any:
        return _parsed(await self.ask(PROGRAM, "list", "--json", *ids))

    async def _machine(self) -> Any:
        answer = _parsed(await self.ask(PROGRAM, "nodes", "--json"))
        if not isinstance(answer, dict) or not all(isinstance(answer.get(name), list) for name in ("nodes", "queues")):
            raise QueueUnreachable("the local queue's answer is not one")
        return answer


def commands_folder() -> Path:
    """Return where the queue's command lies: beside the Python that runs this."""
    return Path(sys.executable).parent


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise QueueUnreachable(f"the local queue's answer is not JSON: {error}") from error


def _jobs(entries: Any) -> dict[str, JobInfo]:
    if not isinstance(entries, list):
        raise QueueUnreachable("the local queue's answer is not a list of jobs")
    try:
        return {job.id: job for job in map(_job, entries)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise QueueUnreachable(f"the local queue's answer holds what is no job: {error}") from error


def _job(entry: Mapping[str, Any]) -> JobInfo:
    values = {name: value for name, value in entry.items() if name in _JOB_FIELDS}
    values["state"] = JobState(values["state"])
    if "nodes" in values:
        values["nodes"] = tuple(values["nodes"])
    if "cause" in values:
        values["cause"] = Cause(values["cause"])
    if "used" in values:
        values["used"] = Used(**values["used"])
    return JobInfo(**values)


def _built(kind: type[Any], entry: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in entry.items() if name in known})
