"""A queue as one user: the few things that need her account, done by the launcher as that account."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from springtide.errors import QueueUnreachable, SubmitRefused
from springtide.queues import launcher
from springtide.queues.base import Queue
from springtide.queues.commands import Answer, as_sentence, command_environment, run_command
from springtide.queues.identity import Account, account_of, installed_launcher, is_ordinary, privileged_group
from springtide.queues.model import JobInfo, JobState

__all__ = ["Account", "Submitted", "UserQueue", "account_of", "in_batches", "is_ordinary", "privileged_group"]

_LAUNCHER = Path(launcher.__file__)
_LAUNCHER_TIMEOUT_S = launcher.COMMAND_WITHIN_S + 10.0
_BATCH_BYTES = launcher.REQUEST_LIMIT_BYTES - 2**14
# Few enough that the launcher is through with them in the time it gives itself.
_BATCH_SCRIPTS = 500
_NO_SUCH_PROGRAM = 127
_INSTALL_AGAIN = "The launcher may be of another version: install it again, as hub_config/deployment/sudoers says."
ALL_SUBMITTED_WITHIN_S = launcher.SUBMITS_FOR_S + launcher.COMMAND_WITHIN_S + 30.0
"""How long after a submission began none of its batch can make a job any more, whatever happened to the hub."""


class _NotStarted(QueueUnreachable):
    """The launcher never ran, so nothing was submitted."""


@dataclass(frozen=True)
class Submitted:
    """What became of one script."""

    id: str
    """The scheduler's id; empty with an error."""
    error: SubmitRefused | QueueUnreachable | None = None
    """`SubmitRefused`: there is no job. `QueueUnreachable`: there may be one, if it was tried."""
    tried: bool = True
    sure: bool = True
    """Whether a refusal was one beyond doubt, rather than a failure in words that no scheduler uses."""


def in_batches(scripts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield `scripts` in as many pieces as the launcher takes one at a time."""
    batch: list[str] = []
    room = _BATCH_BYTES
    for script in scripts:
        room -= len(json.dumps(script)) + len(", ")
        if batch and (room < 0 or len(batch) == _BATCH_SCRIPTS):
            yield batch
            batch, room = [], _BATCH_BYTES - len(json.dumps(script))
        batch.append(script)
    if batch:
        yield batch


@dataclass(frozen=True)
class UserQueue:
    """A queue as one user: the few things that need her account."""

    queue: Queue
    account: Account
    launcher_command: tuple[str, ...] = field(default=(sys.executable, "-I", str(_LAUNCHER)))

    async def submit(self, script: str) -> str:
        """Return the id of the job that now runs `script`.

        Raises
        ------
        SubmitRefused
            If the scheduler said no.
        QueueUnreachable
            If it could not be asked; the job may exist all the same, and its name finds it.
        """
        (job,) = await self.submit_all([script])
        if job.error:
            raise job.error
        return job.id

    async def submit_all(self, scripts: Sequence[str], *, folder: str = "") -> list[Submitted]:
        """Submit scripts in their order, with one launcher process for many; return what became of each.

        At an outage it stops: the others are not tried.

        Parameters
        ----------
        folder : str, optional
            Where they are submitted from; the home folder by default.
        """
        done: list[Submitted] = []
        for batch in in_batches(scripts):
            outage = next((one.error for one in done if isinstance(one.error, QueueUnreachable)), None)
            if outage:
                done += [Submitted("", QueueUnreachable(outage.message, outage.hint), tried=False)] * len(batch)
            else:
                done += await self._submit_batch(batch, folder)
        return done

    async def _submit_batch(self, scripts: Sequence[str], folder: str) -> list[Submitted]:
        request = {"verb": "submit", "dialect": self.queue.dialect, "scripts": list(scripts), "folder": folder}
        # The least that lets the launcher itself say what took too long.
        last_begins_s = launcher.SUBMITS_FOR_S if len(scripts) > 1 else 0
        try:
            answer = await self._ask(request, timeout_s=last_begins_s + _LAUNCHER_TIMEOUT_S)
        except _NotStarted as failure:
            return [Submitted("", QueueUnreachable(failure.message, failure.hint), tried=False)] * len(scripts)
        except (SubmitRefused, QueueUnreachable) as error:
            return [Submitted("", error)] * len(scripts)
        return [self._submitted(job) for job in answer["jobs"]]

    def _submitted(self, job: Mapping[str, Any]) -> Submitted:
        if job["ok"]:
            return Submitted(str(job["id"]))
        words = str(job["error"])
        if job["kind"] in ("refused", "unclear") and not self.queue.is_outage(words):
            return Submitted("", SubmitRefused(f"The scheduler refused: {words}"), sure=job["kind"] == "refused")
        return Submitted("", self._outage(words), tried=job["kind"] != "not tried")

    async def find(self, name: str) -> JobInfo | None:
        """Return this account's job called `name`, None where the scheduler has none.

        Raises
        ------
        QueueUnreachable
            If it could not be asked.
        """
        return await self.queue.find(name, self.account.name)

    async def cancel(self, job_id: str) -> None:
        """End the job; one that is ending or has ended is not an error.

        Raises
        ------
        QueueUnreachable
            If the scheduler could not be asked, or refused: then the job is still there, and it is to be tried again.
        """
        await self.cancel_all([job_id])

    async def cancel_all(self, ids: Collection[str]) -> frozenset[str]:
        """End many jobs; return those that were over already or that the scheduler does not know.

        Raises
        ------
        QueueUnreachable
            If the scheduler could not be asked, or refused some: then they are still there, to be tried again.
        """
        over: set[str] = set()
        ordered = list(dict.fromkeys(ids))
        for start in range(0, len(ordered), launcher.MOST_AT_ONCE):
            over |= await self._cancel_batch(ordered[start : start + launcher.MOST_AT_ONCE])
        return frozenset(over)

    async def _cancel_batch(self, ids: Sequence[str]) -> set[str]:
        request = {"verb": "cancel", "dialect": self.queue.dialect, "ids": list(ids)}
        commands = -(-len(ids) // launcher.IDS_PER_COMMAND)
        answer = await self._ask(request, timeout_s=_LAUNCHER_TIMEOUT_S * commands)
        failed: dict[str, str] = answer["failed"]
        for words in failed.values():
            if self.queue.is_outage(words):
                raise self._outage(words)
        jobs = await self.queue.snapshot() if failed else {}
        for job_id, words in failed.items():
            job = jobs.get(job_id)
            if job is not None and job.state.alive and job.state is not JobState.ENDING:
                raise QueueUnreachable(f"The job {job_id} could not be cancelled: {words}")
        return {*answer["gone"], *failed}

    async def log_tail(self, token: str) -> list[str]:
        """Return the last lines the session wrote."""
        answer = await self._ask({"verb": "tail", "log": f"{token}.log"})
        return [str(line) for line in answer["lines"]]

    async def remove_log(self, token: str) -> None:
        """Remove the session's log."""
        await self._ask({"verb": "remove", "log": f"{token}.log"})

    async def check(self) -> dict[str, Any]:
        """Return whom the launcher really runs as; for the doctor."""
        return await self._ask({"verb": "check"})

    async def _ask(self, request: Mapping[str, Any], *, timeout_s: float = _LAUNCHER_TIMEOUT_S) -> dict[str, Any]:
        argv, popen = self._command_line()
        environment = {**command_environment(), "SPRINGTIDE_COMMANDS": str(self.queue.folder)}
        answer = await run_command(
            argv,
            stdin=json.dumps(request).encode(),
            environment=environment,
            account=popen,
            timeout_s=timeout_s,
        )
        try:
            parsed = json.loads(answer.output)
        except ValueError:
            raise self._failure(answer) from None
        if parsed.get("ok"):
            return dict(parsed)
        words = str(parsed.get("error", ""))
        if self.queue.is_outage(words):
            raise self._outage(words)
        hint = _INSTALL_AGAIN if parsed.get("kind") == "bad request" and self.account.way == "sudo" else ""
        raise SubmitRefused(f"The scheduler refused: {words}", hint)

    def _failure(self, answer: Answer) -> QueueUnreachable:
        """Return the error for a launcher that printed no answer; sudo says in its own name that it did not start."""
        never_started = answer.exit_status == _NO_SUCH_PROGRAM or answer.errors.startswith("sudo: ")
        return (_NotStarted if never_started else QueueUnreachable)(
            f"The launcher did not answer as {self.account.name}: {answer.complaint}",
            "The administrator finds the needed sudoers lines in hub_config/deployment/sudoers.",
        )

    def _outage(self, words: str) -> QueueUnreachable:
        return QueueUnreachable(f"The scheduler does not answer: {as_sentence(words)}", "It is tried again by itself.")

    def _command_line(self) -> tuple[list[str], dict[str, object]]:
        """Return how the launcher is started as the account, and the keywords for Popen that make it so."""
        if self.account.way == "same":
            return list(self.launcher_command), {}
        if self.account.way == "setuid":
            groups = os.getgrouplist(self.account.name, self.account.gid)
            who = {"user": self.account.uid, "group": self.account.gid, "extra_groups": groups}
            # The hub's own Python may lie where the user cannot read it; the launcher needs only the standard library.
            return ["/usr/bin/python3", "-I", "-c", _LAUNCHER.read_text(encoding="utf-8")], who
        program = installed_launcher() or "/usr/local/bin/springtide-launch"
        return ["sudo", "-n", "-u", self.account.name, "--", program], {}
