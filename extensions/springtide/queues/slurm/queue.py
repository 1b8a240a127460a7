"""Slurm, through its own commands.

Jobs are asked of squeue alone (`slurm_jobs` says how, and why not of scontrol or in JSON), ended ones until they leave
the controller's memory (``MinJobAge``, five minutes by default), and of sacct, where the site keeps accounts: only the
accounts know forgotten jobs, who cancelled a job, and the processor time and memory it used. Without them nobody can
say how a forgotten job ended, and `details` leaves it out.

All times are asked for as seconds since 1970: no time zone, of this machine or of the controller's, plays a part.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from dataclasses import replace

from springtide.errors import QueueUnreachable
from springtide.queues.base import Queue
from springtide.queues.commands import Answer
from springtide.queues.model import JobInfo, JobRequest, Node, QueueLimits
from springtide.queues.slurm import history as slurm_history
from springtide.queues.slurm.jobs import FORMAT, as_one, name_format, one_each, parse_jobs, parse_names
from springtide.queues.slurm.request import command_line, directive_lines, without_directives
from springtide.queues.slurm.site import NODE_FORMAT, parse_nodes, parse_partitions

# What a program's own runner does not let through: squeue, sbatch and sacct print times by this.
TIMES_IN_SECONDS = ("/usr/bin/env", "TZ=UTC", "SLURM_TIME_FORMAT=%s")
_IDS_PER_COMMAND = 1000
_JOB_ID = re.compile(r"(\d{1,12})(?:_\d{1,8})?", re.ASCII)
_UNKNOWN_ID = "Invalid job id"
_MISSING_PROGRAM = 127
_TRIED = re.compile(r"^sbatch: Job \d+ to start at (\d+) ", re.MULTILINE)


class SlurmQueue(Queue):
    """Slurm, through sbatch, squeue, scontrol, sinfo, sacct and scancel."""

    dialect = "slurm"
    directive = "#SBATCH"
    outage_pattern = re.compile(
        r"Unable to contact slurm controller|Socket timed out|Zero Bytes were transmitted|[Mm]unge|Connection refused"
        r"|Connection timed out|Transport endpoint is not connected|Communication connection failure"
        r"|Protocol authentication error|slurm_load_\w+ error|did not answer within|[Cc]ould not establish a config",
    )
    _keeps_accounts = True
    """Until sacct says otherwise."""

    def header(self, request: JobRequest) -> list[str]:
        """Ask for nodes, tasks on each, and what each node must have; see `slurm_request`."""
        return directive_lines(request)

    def script(self, request: JobRequest) -> str:
        """Return the batch script; directives in the body stay without effect."""
        return super().script(replace(request, body=without_directives(request.body)))

    async def run(self, program: str, *arguments: str) -> Answer:
        """Return the answer of a reading command, times in seconds since 1970."""
        return await self._runner([*TIMES_IN_SECONDS, str(self.folder / program), *arguments])

    async def snapshot(self) -> dict[str, JobInfo]:
        """Ask once for all jobs, those that just ended included."""
        return one_each(await self._jobs())

    async def find(self, name: str, owner: str) -> JobInfo | None:
        """Ask for the owner's jobs and their names: what she wrote into a name can only confuse her own jobs."""
        theirs = (f"--user={owner}",)
        names = await self._names(*theirs)
        jobs = one_each(await self._jobs(*theirs))
        found = [job for job_id, job in jobs.items() if names.get(job_id) == name]
        best = next((job for job in found if job.state.alive), found[0] if found else None)
        return best and replace(best, name=name)

    async def details(self, ids: Collection[str]) -> dict[str, JobInfo]:
        """Ask the controller, and the accounts for what it has forgotten."""
        wanted = sorted(job_id for job_id in ids if _JOB_ID.fullmatch(job_id))
        known: dict[str, JobInfo] = {}
        for start in range(0, len(wanted), _IDS_PER_COMMAND):
            some = wanted[start : start + _IDS_PER_COMMAND]
            selection = ("--array", f"--jobs={','.join(some)}")
            parts = await self._jobs(*selection)
            names = await self._names(*selection) if parts else {}
            found = {job.id: replace(job, name=names.get(job.id, "")) for job in parts}
            known |= _with_arrays(await self._with_history(found, some), some)
        return known

    async def nodes(self) -> tuple[Node, ...]:
        """Ask for all nodes: allocated/idle/other/total cores, memory, GPUs, state, partitions."""
        return parse_nodes(await self.ask("sinfo", "--Node", "--all", "--noconvert", f"--Format={NODE_FORMAT}"))

    async def queues(self) -> tuple[QueueLimits, ...]:
        """Ask for all partitions, and count the jobs in them."""
        text = await self.ask("scontrol", "--oneliner", "show", "partition")
        return tuple(parse_partitions(text, (await self.snapshot()).values()))

    async def forecast(self, ids: Collection[str]) -> dict[str, float]:
        """Ask for the start times that the backfill scheduler has planned."""
        jobs = await self.details(ids)
        return {job_id: job.expected_start for job_id, job in jobs.items() if job.expected_start is not None}

    async def try_start(self, request: JobRequest) -> float | None:
        """Ask sbatch when it would start, as the hub's account."""
        options = command_line(replace(request, held=False))
        answer = await self.run("sbatch", "--test-only", *options, "--wrap=true")
        if answer.exit_status != 0 and self.is_outage(answer.complaint):
            raise QueueUnreachable(f"sbatch: {answer.complaint}")
        match = _TRIED.search(answer.errors)
        return float(match[1]) if match else None

    async def node_address(self, node: str) -> str:
        """Ask for the address the controller itself uses for the node."""
        answer = await self.run("scontrol", "--oneliner", "show", "node", node)
        match = re.search(r" NodeAddr=(\S+)", answer.output)
        return match[1] if match else node

    async def _jobs(self, *selection: str) -> list[JobInfo]:
        text = await self._squeue(FORMAT, *selection)
        return [] if text is None else parse_jobs(text)

    async def _names(self, *selection: str) -> dict[str, str]:
        row_end = f"|{secrets.token_hex(8)}"
        text = await self._squeue(name_format(row_end), *selection)
        return {} if text is None else parse_names(text, row_end)

    async def _squeue(self, wanted: str, *selection: str) -> str | None:
        """Return the answer, None where the one id asked for is unknown, which squeue calls an error."""
        answer = await self.run("squeue", "--states=all", "--all", "--noconvert", *selection, f"--Format={wanted}")
        if answer.exit_status == 0:
            return answer.output
        one_id = not any("," in word for word in selection)
        if one_id and _UNKNOWN_ID in answer.errors:
            return None
        raise QueueUnreachable(f"squeue: {answer.complaint}")

    async def _with_history(self, found: dict[str, JobInfo], wanted: Collection[str]) -> dict[str, JobInfo]:
        """Return `found` with what the accounts know besides: who cancelled it, what it used, and forgotten jobs."""
        there = {job_id for job in found.values() for job_id in (job.id, job.array)}
        forgotten = {job_id for job_id in wanted if job_id not in there}
        ended = {job.id for job in found.values() if not job.state.alive}
        try:
            accounts = await self._history(forgotten | ended)
        except QueueUnreachable:
            if forgotten:
                raise
            return found
        return accounts | {job_id: _completed(job, accounts.get(job_id)) for job_id, job in found.items()}

    async def _history(self, ids: Collection[str]) -> dict[str, JobInfo]:
        if not ids or not self._keeps_accounts:
            return {}
        answer = await self.run("sacct", *slurm_history.ARGUMENTS, f"--jobs={','.join(sorted(ids))}")
        if slurm_history.NO_ACCOUNTS in answer.errors or answer.exit_status == _MISSING_PROGRAM:
            self._keeps_accounts = False
            return {}
        if answer.exit_status != 0:
            raise QueueUnreachable(f"sacct: {answer.complaint}")
        return slurm_history.parse_history(answer.output)


def _completed(job: JobInfo, account: JobInfo | None) -> JobInfo:
    """Return an ended job with what only the accounts know; the controller is right about all else."""
    if job.state.alive or account is None:
        return job
    return replace(job, cancelled_by=account.cancelled_by, used=account.used or job.used)


def _with_arrays(jobs: dict[str, JobInfo], wanted: Collection[str]) -> dict[str, JobInfo]:
    """Return the jobs, and of each array that is wanted also the whole, from its parts."""
    arrays: dict[str, list[JobInfo]] = {}
    for job in jobs.values():
        arrays.setdefault(job.array, []).append(job)
    return jobs | {array: as_one(arrays[array]) for array in wanted if array in arrays}
