"""PBS Pro and OpenPBS.

Never JSON with several ids (only the first is answered), never more than 20 ids in a command: each may be a connection
of its own, from a small pool of reserved ports that the whole machine shares. Never the plain ``-f`` form either: it
prints line breaks that a user put into an attribute as they are, so that any user can forge any job; see
`pbspro_answers` for the form that is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from springtide.errors import QueueUnreachable
from springtide.queues.base import Queue
from springtide.queues.commands import Answer
from springtide.queues.model import After, JobArray, JobInfo, JobRequest, Node, QueueLimits
from springtide.queues.pbs import header as pbs_header
from springtide.queues.pbs.pro_answers import new_delimiter, parse_mom, parse_nodes, parse_queues
from springtide.queues.pbs.pro_jobs import parse_jobs
from springtide.queues.pbs.words import IN_UTC, check_complete, in_chunks, only_ids, unanswered, with_ends_of_their_jobs
from springtide.units import format_walltime

# qstat's exit status where some ids are unknown (153) or finished (35): the others are answered all the same.
_PARTIAL_ANSWERS = (0, 35, 153)
_NO_SUCH_OPTION = 2
_NO_HISTORY = "not configured to maintain job history"
_NO_NODES = "Server has no node list"
_NAME_LENGTH = 230
_AFTER = {After.OK: "afterok", After.FAILURE: "afternotok", After.ANY: "afterany", After.START: "after"}


class PbsProQueue(Queue):
    """PBS Pro and OpenPBS, through qsub, qstat, qselect, qdel and pbsnodes."""

    dialect = "pbspro"
    directive = "#PBS"
    outage_pattern = re.compile(
        r"cannot connect|Connection refused|Connection timed out|errno=15\d{3}|pbs_iff|No route to host"
        r"|did not answer within|server is (?:down|initializing)|PBS is not running|Unknown Host|Batch protocol error"
        r"|End of File|Invalid credential",
        re.IGNORECASE,
    )

    def header(self, request: JobRequest) -> list[str]:
        """Ask for `nodes` equal chunks, each on a node of its own, with logs that are written while the job runs.

        Raises
        ------
        ScriptError
            If something in the request would not stay in its place.
        """
        pbs_header.check(request)
        return [
            *pbs_header.who_and_where(request, pbs_header.safe_name(request.name)[:_NAME_LENGTH]),
            *_resources(request),
            *_array(request.array),
            # PBS restarts a job from the beginning by itself when its node fails; of arrays it does not let go of that.
            "-r y" if request.rerunnable or request.array is not None else "-r n",
            *pbs_header.start(request),
            *pbs_header.dependencies(request, _AFTER, _AFTER),
            *pbs_header.mail(request.mail),
            *_logs(request),
            # It runs the script as a program, so that its first line counts.
            "-S /bin/bash",
        ]

    async def snapshot(self) -> dict[str, JobInfo]:
        """Ask once for all jobs that have not ended."""
        delimiter = new_delimiter()
        text = await self.ask("qstat", *_delimited(delimiter), "-f")
        return {job.id: job for job in parse_jobs(text, delimiter)}

    async def details(self, ids: Collection[str]) -> dict[str, JobInfo]:
        """Ask the history, 20 ids at a time."""
        known: dict[str, JobInfo] = {}
        for chunk in in_chunks(only_ids(ids, pbs_header.JOB_ID)):
            # All in one connection (-E), which is silent about unknown ids; these are asked for again, one by one.
            known.update((await self._said_of(chunk, "-fxtE"))[0])
            if rest := unanswered(chunk, known):
                found, complaints = await self._said_of(rest, "-fxt")
                check_complete(rest, found, complaints)
                known.update(found)
        return with_ends_of_their_jobs(known)

    async def _said_of(self, ids: Sequence[str], options: str) -> tuple[dict[str, JobInfo], str]:
        """Return the jobs that an answer tells of, and its complaints about the others."""
        delimiter = new_delimiter()
        answer = await self.run("qstat", *_delimited(delimiter), options, *ids)
        if _NO_HISTORY in answer.errors and "x" in options:
            return await self._said_of(ids, options.replace("x", ""))
        if answer.exit_status == _NO_SUCH_OPTION and "E" in options:
            return {}, ""
        if answer.exit_status not in _PARTIAL_ANSWERS:
            raise QueueUnreachable(f"qstat: {answer.complaint}")
        return {job.id: job for job in parse_jobs(answer.output, delimiter)}, answer.errors

    async def find(self, name: str, owner: str) -> JobInfo | None:
        """Ask for the newest job of that name, ended ones included: a short job may be over before it is recorded."""
        selection = ("-N", pbs_header.safe_name(name)[:_NAME_LENGTH], "-u", owner)
        answer = await self.run("qselect", "-x", *selection)
        text = await self.ask("qselect", *selection) if _NO_HISTORY in answer.errors else _output(answer, "qselect")
        ids = only_ids(text.split(), pbs_header.JOB_ID)
        newest = max(ids, key=lambda job_id: int(re.match(r"\d+", job_id)[0]), default="")  # type: ignore[index]
        return (await self.details([newest])).get(newest) if newest else None

    async def nodes(self) -> tuple[Node, ...]:
        """Ask for all nodes."""
        answer = await self.run("pbsnodes", "-a", "-F", "json")
        return () if _NO_NODES in answer.errors else parse_nodes(_output(answer, "pbsnodes"))

    async def queues(self) -> tuple[QueueLimits, ...]:
        """Ask for all queues, and for the server's default queue and limits."""
        delimiter = new_delimiter()
        server = await self.ask("qstat", *_delimited(delimiter), "-Bf")
        return parse_queues(await self.ask("qstat", *_delimited(delimiter), "-Qf"), server, delimiter)

    async def forecast(self, ids: Collection[str]) -> dict[str, float]:
        """Ask once for all jobs: a scheduler that plans ahead writes its forecast for the next ones in line."""
        jobs = await self.snapshot()
        forecasts = {job_id: jobs[job_id].expected_start for job_id in ids if job_id in jobs}
        return {job_id: start for job_id, start in forecasts.items() if start is not None}

    async def node_address(self, node: str) -> str:
        """Ask for the host name of the node's execution daemon."""
        answer = await self.run("pbsnodes", "-F", "json", "-v", node)
        return parse_mom(answer.output, node) or node

    async def run(self, program: str, *arguments: str) -> Answer:
        """Return the answer of a reading command, its times in UTC."""
        return await self._runner([*IN_UTC, str(self.folder / program), *arguments])


def _delimited(delimiter: str) -> tuple[str, ...]:
    return ("-F", "dsv", "-D", delimiter)


def _output(answer: Answer, program: str) -> str:
    if answer.exit_status != 0:
        raise QueueUnreachable(f"{program}: {answer.complaint}")
    return answer.output


def _resources(request: JobRequest) -> list[str]:
    walltime = [f"-l walltime={format_walltime(request.walltime_s)}"] if request.walltime_s else []
    return [*_parts(request), *walltime]


def _parts(request: JobRequest) -> list[str]:
    if own := pbs_header.own_parts(request):
        # Beside a select PBS refuses any memory but that of its parts.
        return pbs_header.job_memory(request) if own == "nodes" else []
    chunk = f"select={request.nodes}:ncpus={request.cores}"
    if request.memory_bytes:
        chunk += f":mem={max(1, request.memory_bytes // pbs_header.KIB)}kb"
    chunk += f":mpiprocs={request.ranks or request.cores}"
    chunk += f":ngpus={request.gpus}" if request.gpus else ""
    own_place = any("place=" in line for line in request.directives)
    return [f"-l {chunk}", "-l place=scatter"] if request.nodes > 1 and not own_place else [f"-l {chunk}"]


def _array(array: JobArray | None) -> list[str]:
    if array is None:
        return []
    # An array of one: a range must have two ends, and the step leaves only the first.
    first, last, step = (array.first, array.first + 1, 2) if len(array) == 1 else (array.first, array.last, array.step)
    steps = f":{step}" if step > 1 else ""
    return [f"-J {first}-{last}{steps}" + (f"%{array.at_once}" if array.at_once else "")]


def _logs(request: JobRequest) -> list[str]:
    """Write the logs where they are wanted from the start (-k doe), instead of moving them there at the end."""
    index = ".^array_index^" if request.array is not None else ""
    output, errors = (_place(path, index) for path in (request.output, request.errors))
    lines = [f"-o {output}", f"-e {errors}" if errors else "-j oe"]
    nowhere = request.output == pbs_header.NOWHERE and request.errors in ("", pbs_header.NOWHERE)
    return lines if nowhere else [*lines, "-k doe"]


def _place(path: str, index: str) -> str:
    if path in ("", pbs_header.NOWHERE):
        return path
    return f'"{pbs_header.checked_path(path)}{index}"'
