"""Torque (with Maui, Moab or pbs_sched).

Written after Torque's manual pages: no package of it exists to test against. Its ``qstat -x`` prints XML, a finished
job stays in it (state C, with ``exit_status``) for the server's ``keep_completed`` seconds only.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePath

from springtide.errors import QueueUnreachable
from springtide.queues.base import Queue
from springtide.queues.commands import Answer
from springtide.queues.model import After, JobArray, JobInfo, JobRequest, Node, QueueLimits
from springtide.queues.pbs import header as pbs_header
from springtide.queues.pbs.torque_answers import parse_jobs, parse_nodes, parse_queues
from springtide.queues.pbs.words import IN_UTC, check_complete, in_chunks, only_ids, with_ends_of_their_jobs
from springtide.units import format_walltime

# qstat's exit status where some ids are unknown: the others are answered all the same.
_PARTIAL_ANSWERS = (0, 153)
_NO_NODES = "Server has no node list"
_NAME_LENGTH = 15
_JOB_ID = re.compile(r"[0-9]+(?:-[0-9]+|\[[0-9]*\])?(?:\.[A-Za-z0-9][A-Za-z0-9.-]*)?")
_AFTER = {After.OK: "afterok", After.FAILURE: "afternotok", After.ANY: "afterany", After.START: "after"}
_AFTER_ARRAY = {
    After.OK: "afterokarray",
    After.FAILURE: "afternotokarray",
    After.ANY: "afteranyarray",
    After.START: "afterstartarray",
}
_SHELLS = {"sh", "bash", "dash", "ksh", "zsh"}


class TorqueQueue(Queue):
    """Torque, through qsub, qstat, qdel and pbsnodes."""

    dialect = "torque"
    directive = "#PBS"
    outage_pattern = re.compile(
        r"cannot connect|Connection refused|Connection timed out|errno=15\d{3}|pbs_iff|No route to host"
        r"|Communication failure|trqauthd|did not answer within",
        re.IGNORECASE,
    )

    def header(self, request: JobRequest) -> list[str]:
        """Ask for processors of nodes; memory is that of all nodes together.

        Raises
        ------
        ScriptError
            If something in the request would not stay in its place.
        """
        pbs_header.check(request)
        return [
            *pbs_header.who_and_where(request, _name(request.name)),
            *_resources(request),
            *_array(request.array),
            "-r y" if request.rerunnable else "-r n",
            *pbs_header.start(request),
            *pbs_header.dependencies(request, _AFTER, _AFTER_ARRAY),
            *pbs_header.mail(request.mail),
            *_logs(request),
            "-S /bin/bash",
        ]

    def script(self, request: JobRequest) -> str:
        """Return the batch script; it opens its logs itself, as Torque shows them only once the job has ended."""
        opening = _opening_of_logs(request)
        body = f"{opening}\n{request.body}" if opening else request.body
        return super().script(replace(request, body=body))

    async def snapshot(self) -> dict[str, JobInfo]:
        """Ask once for all jobs the server still shows."""
        return {job.id: job for job in parse_jobs(await self.ask("qstat", "-x"))}

    async def details(self, ids: Collection[str]) -> dict[str, JobInfo]:
        """Ask for each, 20 at a time; Torque keeps no history beyond ``keep_completed``."""
        known: dict[str, JobInfo] = {}
        for chunk in in_chunks(only_ids(ids, _JOB_ID)):
            expand = ("-t",) if any("[]" in job_id for job_id in chunk) else ()
            answer = await self.run("qstat", "-x", *expand, *chunk)
            if answer.exit_status not in _PARTIAL_ANSWERS:
                raise QueueUnreachable(f"qstat: {answer.complaint}")
            found = {job.id: job for job in parse_jobs(answer.output)}
            check_complete(chunk, found, answer.errors)
            known.update(found)
        return with_ends_of_their_jobs(known)

    async def find(self, name: str, owner: str) -> JobInfo | None:
        """Return the job of `owner` that was submitted as `name`."""
        return await super().find(_name(name), owner)

    async def nodes(self) -> tuple[Node, ...]:
        """Ask for all nodes."""
        answer = await self.run("pbsnodes", "-x")
        if _NO_NODES in answer.errors:
            return ()
        if answer.exit_status != 0:
            raise QueueUnreachable(f"pbsnodes: {answer.complaint}")
        return parse_nodes(answer.output)

    async def queues(self) -> tuple[QueueLimits, ...]:
        """Ask for all queues, and for the server's default queue and limits."""
        server = await self.ask("qstat", "-B", "-f")
        return parse_queues(await self.ask("qstat", "-Q", "-f"), server)

    async def node_address(self, node: str) -> str:
        """Return `node`: Torque's node names are host names."""
        return node

    async def run(self, program: str, *arguments: str) -> Answer:
        """Return the answer of a reading command, its times in UTC."""
        return await self._runner([*IN_UTC, str(self.folder / program), *arguments])


def _name(name: str) -> str:
    """Return `name` as Torque takes it: at most 15 characters, the first a letter."""
    safe = pbs_header.safe_name(name)[:_NAME_LENGTH]
    return safe if safe[0].isalpha() else f"j{safe[1:]}"


def _resources(request: JobRequest) -> list[str]:
    place = f"nodes={request.nodes}:ppn={request.cores}" + (f":gpus={request.gpus}" if request.gpus else "")
    lines = [] if pbs_header.own_parts(request) else [f"-l {place}"]
    lines += pbs_header.job_memory(request)
    return lines + ([f"-l walltime={format_walltime(request.walltime_s)}"] if request.walltime_s else [])


def _array(array: JobArray | None) -> list[str]:
    if array is None:
        return []
    indices = range(array.first, array.last + 1, array.step)
    # Torque's manual knows ranges and lists, no steps.
    wanted = ",".join(map(str, indices)) if array.step > 1 else f"{indices[0]}-{indices[-1]}"
    wanted = str(indices[0]) if len(indices) == 1 else wanted
    return [f"-t {wanted}" + (f"%{array.at_once}" if array.at_once else "")]


def _logs(request: JobRequest) -> list[str]:
    for path in filter(None, (request.output, request.errors)):
        pbs_header.checked_path(path)
    if _opening_of_logs(request):
        return [f"-o {pbs_header.NOWHERE}", "-j oe"]
    errors = f'-e "{request.errors}"' if request.errors else "-j oe"
    return [f'-o "{request.output}"', errors]


def _opening_of_logs(request: JobRequest) -> str:
    """Return the shell line that opens the logs; empty where there are none, or no shell runs the body."""
    program = PurePath(request.shell.split()[0]).name if request.shell.strip() else ""
    nowhere = request.output == pbs_header.NOWHERE and request.errors in ("", pbs_header.NOWHERE)
    if nowhere or program not in _SHELLS:
        return ""
    index = '".$PBS_ARRAYID"' if request.array is not None else ""
    output, errors = (
        path if path in ("", pbs_header.NOWHERE) else f"'{path}'{index}" for path in (request.output, request.errors)
    )
    return f"exec >{output} 2>{errors or '&1'}"
