"""Slurm where only its PBS commands are at hand: qsub, qstat, qdel and pbsnodes of slurm-wlm-torque.

They look like Torque's and know less (measured with 22.05.8):

- A script on standard input is refused, ``/dev/stdin`` as the script's path is taken. ``qsub`` hands it to sbatch,
  which reads ``#SBATCH`` lines as always; output and error it sends to files of its own in any case, so that the script
  itself turns to those asked for.
- Every end is ``C``, with no exit status and no cause, and stays for ``MinJobAge`` only. A held job is ``Q``, and no
  reason is given.
- Each job of an array has a number of its own that does not tell the array: arrays are refused.
- A name may hold line breaks: `slurm_pbs_words` says how nobody forges another's job with it.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePosixPath

from springtide.errors import QueueUnreachable, ScriptError
from springtide.queues.base import Queue
from springtide.queues.commands import Answer
from springtide.queues.model import JobInfo, JobRequest, Node, QueueLimits
from springtide.queues.slurm.pbs_words import NAME_BYTES, Row, parse_detail, parse_nodes, parse_queues, parse_rows
from springtide.queues.slurm.request import check_printable, directive_lines, without_directives

_NOTHING_FOUND = 153
_NO_TIME_ZONE = ("/usr/bin/env", "TZ=UTC")
_SHELLS = ("sh", "bash", "dash", "ksh", "zsh")


class SlurmPbsQueue(Queue):
    """Slurm through qsub, qstat, qdel and pbsnodes."""

    dialect = "slurm-pbs"
    directive = "#SBATCH"
    outage_pattern = re.compile(
        r"Problem loading|Unable to contact slurm controller|Socket timed out|Zero Bytes were transmitted|[Mm]unge"
        r"|Connection refused|Connection timed out|Communication connection failure|Protocol authentication error"
        r"|slurm_load_\w+ error|did not answer within|[Cc]ould not establish a config",
    )

    def header(self, request: JobRequest) -> list[str]:
        """Ask as for Slurm's own commands, arrays and output files aside."""
        if request.array is not None:
            raise ScriptError(
                "This site has only Slurm's PBS commands, which do not tell the jobs of an array.",
                "Submit them one by one, or ask the administrator for sbatch and squeue.",
            )
        return directive_lines(replace(request, output="", errors=""))

    def script(self, request: JobRequest) -> str:
        """Return the batch script, which itself turns to the output files asked for."""
        turn = _redirection(request)
        return super().script(replace(request, body=f"{turn}{without_directives(request.body)}"))

    async def run(self, program: str, *arguments: str) -> Answer:
        """Return the answer of a reading command, times in UTC."""
        return await self._runner([*_NO_TIME_ZONE, str(self.folder / program), *arguments])

    async def snapshot(self) -> dict[str, JobInfo]:
        """Ask once for all jobs, those that just ended included; owner and queue are cut at 8 characters."""
        return {row.job.id: row.job for row in await self._rows("-a", "-n", "-1")}

    async def find(self, name: str, owner: str) -> JobInfo | None:
        """Ask for the owner's jobs, by her whole name."""
        shown = name.encode()[:NAME_BYTES].decode(errors="replace").strip()
        rows = await self._rows("-u", owner, "-n", "-1")
        found = [replace(row.job, name=name, owner=owner) for row in rows if row.job.name == shown]
        return next((job for job in found if job.state.alive), found[0] if found else None)

    async def details(self, ids: Collection[str]) -> dict[str, JobInfo]:
        """Ask for each that is still known: its times, no cause, no exit status."""
        known = (await self.snapshot()).keys() & set(ids)
        jobs = [await self._detail(job_id) for job_id in sorted(known)]
        return {job.id: job for job in jobs if job is not None}

    async def nodes(self) -> tuple[Node, ...]:
        """Ask for all nodes, and what the jobs take of them; no word of free memory."""
        text = await self.ask("pbsnodes", "-a")
        taken: Counter[str] = Counter()
        for row in await self._rows("-a", "-n", "-1"):
            if row.job.state.placed:
                taken.update(row.cores)
        return tuple(parse_nodes(text, taken))

    async def queues(self) -> tuple[QueueLimits, ...]:
        """Ask for all partitions."""
        answer = await self.run("qstat", "-q")
        # Its exit status says that nothing was found even where all was.
        if answer.exit_status not in (0, _NOTHING_FOUND):
            raise QueueUnreachable(f"qstat: {answer.complaint}")
        return tuple(parse_queues(answer.output))

    async def forecast(self, ids: Collection[str]) -> dict[str, float]:
        """Ask for the start times that the backfill scheduler has planned."""
        jobs = await self.details(ids)
        return {job_id: job.expected_start for job_id, job in jobs.items() if job.expected_start is not None}

    async def node_address(self, node: str) -> str:
        """Return `node`: the PBS commands know no address."""
        return node

    async def _rows(self, *arguments: str) -> list[Row]:
        answer = await self.run("qstat", *arguments)
        if answer.exit_status == _NOTHING_FOUND and not (answer.output.strip() or answer.errors.strip()):
            # No jobs at all, it seems; the partitions tell whether Slurm was asked.
            await self.queues()
            return []
        if answer.exit_status != 0:
            raise QueueUnreachable(f"qstat: {answer.complaint}")
        return list(parse_rows(answer.output))

    async def _detail(self, job_id: str) -> JobInfo | None:
        answer = await self.run("qstat", "-f", job_id)
        if answer.exit_status == _NOTHING_FOUND:
            return None
        if answer.exit_status != 0:
            raise QueueUnreachable(f"qstat: {answer.complaint}")
        return parse_detail(job_id, answer.output)


def _redirection(request: JobRequest) -> str:
    """Return the line that sends output and error where they are asked for; qsub itself drops both."""
    paths = [check_printable("path", path) for path in (request.output, request.errors)]
    shell = PurePosixPath(request.shell.split()[0]).name
    if shell not in _SHELLS:
        raise ScriptError(
            f"The script runs in {shell}, and this site has only Slurm's PBS commands.",
            f"Only scripts for {', '.join(_SHELLS)} have output files there.",
        )
    output, errors = (shlex.quote(path) for path in paths)
    return f"exec >{output} 2>{errors if request.errors else '&1'}\n"
