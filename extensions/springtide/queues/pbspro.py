"""PBS Pro and OpenPBS.

Never JSON with several ids (only the first is answered), never more than 20 ids in a command: each id is a connection
of its own, from a small pool of reserved ports that the whole machine shares. Never the plain ``-f`` form either: it
prints line breaks that a user put into an attribute as they are, so that any user can forge any job; the delimited form
(``-F dsv``) escapes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator

from springtide.errors import QueueUnreachable
from springtide.queues.base import Capacity, JobInfo, JobRequest, JobState, Queue, first_waiting_reason
from springtide.units import format_walltime

_IDS_PER_COMMAND = 20
_KIB = 2**10
# qstat's exit status where some ids are unknown (153) or finished (35): the others are answered all the same.
_PARTIAL_ANSWERS = (0, 35, 153)
_STATES = {
    "Q": JobState.QUEUED,
    "H": JobState.HELD,
    "W": JobState.WAITING,
    "T": JobState.WAITING,
    "M": JobState.WAITING,
    "R": JobState.RUNNING,
    "B": JobState.RUNNING,
    "S": JobState.SUSPENDED,
    "U": JobState.SUSPENDED,
    "E": JobState.ENDING,
    "X": JobState.FINISHED,
    "F": JobState.FINISHED,
}
_DELIMITED = ("-F", "dsv", "-D", "|")
_HEAD = "Job Id: "
_FIELDS = re.compile(r"((?:[^|\\]|\\.)+)(?:\||$)")
_ESCAPED = re.compile(r"\\(.)")
_NODE = re.compile(r"(?:^|\+)([^/+]+)/")


class PbsProQueue(Queue):
    """PBS Pro and OpenPBS, through qsub, qstat, qdel and pbsnodes."""

    dialect = "pbspro"
    directive = "#PBS"
    outage_pattern = re.compile(
        r"cannot connect|Connection refused|Connection timed out|errno=15\d{3}|pbs_iff|No route to host"
        r"|did not answer within|server is (?:down|initializing)|PBS is not running",
        re.IGNORECASE,
    )

    def header(self, request: JobRequest) -> list[str]:
        """Ask for one chunk on one node; not rerunable, as a session must not silently start again."""
        chunk = f"select=1:ncpus={request.cores}:mem={request.memory_bytes // _KIB}kb"
        lines = [f"-N {request.name}", f"-l {chunk}", f"-l walltime={format_walltime(request.walltime_s)}"]
        lines += [f"-q {request.queue}"] if request.queue else []
        lines += [f"-A {request.account}"] if request.account else []
        return [*lines, "-r n", "-j oe", "-o /dev/null", "-S /bin/bash"]

    async def live_jobs(self) -> dict[str, JobInfo]:
        """Ask once for all jobs that have not ended."""
        return {job.id: job for job in parse_jobs(await self.ask("qstat", *_DELIMITED, "-f"))}

    async def ended_jobs(self, ids: Collection[str]) -> dict[str, JobInfo]:
        """Ask the history, 20 ids at a time."""
        known: dict[str, JobInfo] = {}
        ordered = sorted(ids)
        for start in range(0, len(ordered), _IDS_PER_COMMAND):
            answer = await self.run("qstat", *_DELIMITED, "-fx", *ordered[start : start + _IDS_PER_COMMAND])
            if answer.exit_status not in _PARTIAL_ANSWERS:
                raise QueueUnreachable(f"qstat: {answer.complaint}")
            known.update((job.id, job) for job in parse_jobs(answer.output))
        return known

    async def capacity(self) -> Capacity:
        """Ask for all nodes (JSON is sound without ids) and for the waiting jobs."""
        nodes = json.loads(await self.ask("pbsnodes", "-a", "-F", "json")).get("nodes", {})
        usable = [node for node in nodes.values() if not {"down", "offline", "unknown"} & set(node["state"].split(","))]
        cores = [int(node.get("resources_available", {}).get("ncpus", 0)) for node in usable]
        taken = [int(node.get("resources_assigned", {}).get("ncpus", 0)) for node in usable]
        memory = [_size_bytes(str(node.get("resources_available", {}).get("mem", "0kb"))) for node in usable]
        jobs = await self.live_jobs()
        return Capacity(
            total_cores=sum(cores),
            free_cores=sum(max(0, have - used) for have, used in zip(cores, taken, strict=True)),
            largest_node_cores=max(cores, default=0),
            largest_node_memory_bytes=max(memory, default=0),
            waiting_jobs=sum(job.state is JobState.QUEUED for job in jobs.values()),
            waiting_reason=first_waiting_reason(jobs),
            node=next(iter(nodes), ""),
        )

    async def node_address(self, node: str) -> str:
        """Ask for the host name of the node's execution daemon."""
        answer = await self.run("pbsnodes", "-v", node)
        match = re.search(r"^\s*Mom = (\S+)", answer.output, re.MULTILINE)
        return match[1] if match else node


def parse_jobs(text: str) -> Iterator[JobInfo]:
    """Yield the jobs of a ``qstat -f -F dsv`` answer: one a line, delimiter, backslash and line break escaped."""
    for line in text.splitlines():
        head, *attributes = _FIELDS.findall(line)
        if head.startswith(_HEAD):
            pairs = (_unescaped(field).partition("=") for field in attributes)
            yield _job(head.removeprefix(_HEAD).strip(), {name: value for name, _, value in pairs})


def _unescaped(field: str) -> str:
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], field)


def _job(job_id: str, attributes: dict[str, str]) -> JobInfo:
    status = attributes.get("Exit_status")
    return JobInfo(
        id=job_id,
        name=attributes.get("Job_Name", ""),
        state=_STATES.get(attributes.get("job_state", ""), JobState.QUEUED),
        owner=attributes.get("Job_Owner", "").partition("@")[0],
        queue=attributes.get("queue", ""),
        nodes=tuple(dict.fromkeys(_NODE.findall(attributes.get("exec_host", "")))),
        reason=attributes.get("comment", ""),
        exit_status=int(status) if status else None,
        cores=int(attributes.get("Resource_List.ncpus", 0)),
    )


def _size_bytes(size: str) -> int:
    match = re.fullmatch(r"(\d+)([kmgt]?)[bw]?", size.strip(), re.IGNORECASE)
    if not match:
        return 0
    return int(match[1]) * {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}[match[2].lower()]
