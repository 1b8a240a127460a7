"""Slurm, through its own commands."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from springtide.queues.base import Capacity, JobInfo, JobRequest, JobState, Queue, first_waiting_reason
from springtide.units import format_walltime

_MIB = 2**20
# Without the job's name: whoever submits chooses it, line breaks and all, and could forge other people's jobs with it.
_JOB_FORMAT = "%i|%T|%u|%P|%C|%B|%r"
_STATES = {
    "PENDING": JobState.QUEUED,
    "REQUEUED": JobState.QUEUED,
    "REQUEUE_FED": JobState.QUEUED,
    "REQUEUE_HOLD": JobState.HELD,
    "SPECIAL_EXIT": JobState.HELD,
    "RESV_DEL_HOLD": JobState.HELD,
    "CONFIGURING": JobState.RUNNING,
    "RUNNING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "SUSPENDED": JobState.SUSPENDED,
    "STOPPED": JobState.SUSPENDED,
    "COMPLETING": JobState.ENDING,
    "STAGE_OUT": JobState.ENDING,
}
_UNUSABLE_NODE_STATES = ("down", "drain", "drng", "fail", "unk", "maint", "inval")


class SlurmQueue(Queue):
    """Slurm, through sbatch, squeue, scontrol, sinfo and scancel."""

    dialect = "slurm"
    directive = "#SBATCH"
    outage_pattern = re.compile(
        r"Unable to contact slurm controller|Socket timed out|Zero Bytes were transmitted|[Mm]unge|Connection refused"
        r"|Connection timed out|Transport endpoint is not connected|Communication connection failure"
        r"|Protocol authentication error|slurm_load_\w+ error|did not answer within|[Cc]ould not establish a config",
    )

    def header(self, request: JobRequest) -> list[str]:
        """Ask for one task on one node."""
        lines = [
            f"--job-name={request.name}",
            "--nodes=1",
            "--ntasks=1",
            f"--cpus-per-task={request.cores}",
            f"--mem={max(1, request.memory_bytes // _MIB)}M",
            f"--time={format_walltime(request.walltime_s)}",
        ]
        lines += [f"--partition={request.queue}"] if request.queue else []
        lines += [f"--account={request.account}"] if request.account else []
        return [*lines, "--no-requeue", "--output=/dev/null"]

    async def live_jobs(self) -> dict[str, JobInfo]:
        """Ask once for all jobs, those that just ended included."""
        return await self._jobs()

    async def find(self, name: str, owner: str) -> JobInfo | None:
        """Ask for the one job."""
        jobs = await self._jobs(f"--name={name}", f"--user={owner}")
        return next(iter(jobs.values()), None)

    async def _jobs(self, *selection: str) -> dict[str, JobInfo]:
        text = await self.ask("squeue", "--noheader", "--states=all", *selection, f"--format={_JOB_FORMAT}")
        return {job.id: job for job in parse_jobs(text)}

    async def ended_jobs(self, ids: Collection[str]) -> dict[str, JobInfo]:
        """Know nothing more: what squeue has forgotten, the controller has too."""
        return {}

    async def exit_status(self, job_id: str) -> int | None:
        """Return the exit status the controller remembers, None where it does not."""
        answer = await self.run("scontrol", "--oneliner", "show", "job", job_id)
        match = re.search(r" ExitCode=(\d+):(\d+)", answer.output)
        return (int(match[1]) or (128 + int(match[2]) if int(match[2]) else 0)) if match else None

    async def capacity(self) -> Capacity:
        """Ask for all nodes (allocated/idle/other/total cores, memory, state) and for the waiting jobs."""
        text = await self.ask("sinfo", "--noheader", "--Node", "--format=%N|%C|%m|%t")
        nodes = {line.partition("|")[0]: line.split("|") for line in text.splitlines() if line.count("|") == 3}
        usable = [node for node in nodes.values() if not node[3].startswith(_UNUSABLE_NODE_STATES)]
        cores = [[int(number) for number in node[1].split("/")] for node in usable]
        jobs = await self.live_jobs()
        return Capacity(
            total_cores=sum(total for _, _, _, total in cores),
            free_cores=sum(idle for _, idle, _, _ in cores),
            largest_node_cores=max((total for _, _, _, total in cores), default=0),
            largest_node_memory_bytes=max((int(node[2]) * _MIB for node in usable), default=0),
            waiting_jobs=sum(job.state is JobState.QUEUED for job in jobs.values()),
            waiting_reason=first_waiting_reason(jobs),
            node=next(iter(nodes), ""),
        )

    async def node_address(self, node: str) -> str:
        """Ask for the address the controller itself uses for the node."""
        answer = await self.run("scontrol", "--oneliner", "show", "node", node)
        match = re.search(r" NodeAddr=(\S+)", answer.output)
        return match[1] if match else node


def parse_jobs(text: str) -> Iterator[JobInfo]:
    """Yield the jobs of an ``squeue`` answer; a state outside the table means the job has ended."""
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != 7:
            continue
        job_id, state, owner, partition, cores, node, reason = fields
        found = _STATES.get(state, JobState.FINISHED)
        if found is JobState.QUEUED and reason.startswith("JobHeld"):
            found = JobState.HELD
        waits = found in (JobState.QUEUED, JobState.HELD)
        yield JobInfo(
            id=job_id,
            state=found,
            owner=owner,
            queue=partition,
            nodes=(node,) if node and node != "n/a" and found.placed else (),
            reason=reason if waits else ("" if found.placed else f"{state} ({reason})"),
            cores=int(cores) if cores.isdigit() else 0,
        )
