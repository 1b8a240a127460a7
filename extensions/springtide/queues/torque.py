"""Torque (with Maui, Moab or pbs_sched).

Written after Torque's manual pages: no package of it exists to test against. Its ``qstat -x`` prints XML, a finished
job stays in it (state C, with ``exit_status``) for the server's ``keep_completed`` seconds only.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterator

from springtide.errors import QueueUnreachable
from springtide.queues.base import Capacity, JobInfo, JobRequest, JobState, Queue, first_waiting_reason
from springtide.units import format_walltime

_KIB = 2**10
_STATES = {
    "Q": JobState.QUEUED,
    "H": JobState.HELD,
    "W": JobState.WAITING,
    "T": JobState.WAITING,
    "R": JobState.RUNNING,
    "S": JobState.SUSPENDED,
    "E": JobState.ENDING,
    "C": JobState.FINISHED,
}
_UNUSABLE_NODE_STATES = {"down", "offline", "unknown"}


class TorqueQueue(Queue):
    """Torque, through qsub, qstat -x, qdel and pbsnodes -x."""

    dialect = "torque"
    directive = "#PBS"
    outage_pattern = re.compile(
        r"cannot connect|Connection refused|Connection timed out|errno=15\d{3}|pbs_iff|No route to host"
        r"|Communication failure|trqauthd|did not answer within",
        re.IGNORECASE,
    )

    def header(self, request: JobRequest) -> list[str]:
        """Ask for processors of one node."""
        lines = [
            f"-N {request.name}",
            f"-l nodes=1:ppn={request.cores}",
            f"-l mem={request.memory_bytes // _KIB}kb",
            f"-l walltime={format_walltime(request.walltime_s)}",
        ]
        lines += [f"-q {request.queue}"] if request.queue else []
        lines += [f"-A {request.account}"] if request.account else []
        return [*lines, "-r n", "-j oe", "-o /dev/null", "-S /bin/bash"]

    async def live_jobs(self) -> dict[str, JobInfo]:
        """Ask once for all jobs the server still shows."""
        return {job.id: job for job in parse_jobs(await self.ask("qstat", "-x"))}

    async def ended_jobs(self, ids: Collection[str]) -> dict[str, JobInfo]:
        """Know nothing more: Torque keeps no history."""
        return {}

    async def capacity(self) -> Capacity:
        """Ask for all nodes and for the waiting jobs."""
        nodes = list(_parse(await self.ask("pbsnodes", "-x")).iter("Node"))
        usable = [node for node in nodes if not _UNUSABLE_NODE_STATES & set(_text(node, "state").split(","))]
        cores = [int(_text(node, "np") or 0) for node in usable]
        taken = [_cores_taken(_text(node, "jobs")) for node in usable]
        jobs = await self.live_jobs()
        return Capacity(
            total_cores=sum(cores),
            free_cores=sum(max(0, have - used) for have, used in zip(cores, taken, strict=True)),
            largest_node_cores=max(cores, default=0),
            largest_node_memory_bytes=max((_physical_memory(_text(node, "status")) for node in usable), default=0),
            waiting_jobs=sum(job.state is JobState.QUEUED for job in jobs.values()),
            waiting_reason=first_waiting_reason(jobs),
            node=_text(nodes[0], "name") if nodes else "",
        )

    async def node_address(self, node: str) -> str:
        """Return `node`: Torque's node names are host names."""
        return node


def parse_jobs(text: str) -> Iterator[JobInfo]:
    """Yield the jobs of a ``qstat -x`` answer; no job at all is an empty answer.

    Raises
    ------
    QueueUnreachable
        If it is not XML: then nothing is known.
    """
    if not text.strip():
        return
    for job in _parse(text).iter("Job"):
        status = _text(job, "exit_status")
        yield JobInfo(
            id=_text(job, "Job_Id"),
            name=_text(job, "Job_Name"),
            state=_STATES.get(_text(job, "job_state"), JobState.QUEUED),
            owner=_text(job, "Job_Owner").partition("@")[0],
            queue=_text(job, "queue"),
            nodes=tuple(dict.fromkeys(part.partition("/")[0] for part in _text(job, "exec_host").split("+") if part)),
            reason=_text(job, "comment"),
            exit_status=int(status) if status else None,
        )


def _parse(text: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise QueueUnreachable(f"the answer is not XML: {error}") from error


def _text(element: ElementTree.Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _cores_taken(jobs: str) -> int:
    """Count the processors in a node's ``jobs``: "0/12.server, 1-3/13.server"."""
    taken = 0
    for part in filter(None, (part.strip() for part in jobs.split(","))):
        first, _, last = part.partition("/")[0].partition("-")
        taken += int(last) - int(first) + 1 if last.isdigit() and first.isdigit() else 1
    return taken


def _physical_memory(status: str) -> int:
    match = re.search(r"physmem=(\d+)kb", status)
    return int(match[1]) * _KIB if match else 0
