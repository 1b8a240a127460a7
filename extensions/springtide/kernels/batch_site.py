"""The batch job of one kernel: submitted, looked at, cancelled, through the queue layer and the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from springtide.errors import LedgerError, QueueError, QueueUnreachable, SubmitRefused
from springtide.lab.models import BatchSite
from springtide.ledger.records import REFUSED, SUBMITTING, JobRecord
from springtide.ledger.store import Ledger
from springtide.queues.accounts import Account, UserQueue
from springtide.queues.detect import find_scheduler, open_queue
from springtide.queues.dispatch import Dispatcher
from springtide.queues.feasible import problems_with
from springtide.queues.model import Cause, JobRequest
from springtide.queues.monitor import Monitor, Sight
from springtide.queues.reasons import explain, explain_end
from springtide.texts import translator

KIND = "kernel"
_JOIN_OUTPUT_AS = "log"
# Like a session's start: often while somebody has just asked for it, then as seldom as everybody.
_WATCH_EVERY_S, _WATCHED_FOR_S = 3.0, 120.0
_CANCEL_WITHIN_S = 60.0
_LAST_LOOK_AFTER_S, _LAST_LOOKS_S = 1.0, 30.0
_END_KNOWN_WITHIN_S, _LOOKS_FOR_END_EVERY_S = 20.0, 0.5


@dataclass(frozen=True)
class Wish:
    """What a batch kernel asks for."""

    kernel: str
    """What people call it."""
    site: str
    """The site's name in the lab file."""
    scheduler: Mapping[str, Any]
    """The site, as the lab file describes it."""
    ledger: str
    """Where the ledger is: a file or a database's URL."""
    cores: int
    memory_bytes: int
    walltime_s: int
    queue: str
    gpu: bool
    image: str
    """The digest of what it runs; the environment's name where there is no image."""
    language: str

    def as_json(self) -> dict[str, Any]:
        """Return it as `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Wish:
        """Return what `as_json` wrote."""
        return cls(**{one.name: value[one.name] for one in fields(cls)})


class KernelJob:
    """The job of one kernel.

    Parameters
    ----------
    wish : Wish
        What it asks for.
    shared : Path
        The folder that server and node share.
    """

    def __init__(self, wish: Wish, shared: Path) -> None:
        self._wish, self._shared = wish, shared
        self._text = translator(wish.language)
        self._row: JobRecord | None = None
        self._submitted_at = time.monotonic()
        self._said = ""

    async def submit(self) -> str:
        """Submit it and return its id.

        Raises
        ------
        QueueError
            If the site's commands are not here, the scheduler refuses, or the job could never run.
        LedgerError
            If the ledger cannot be written; nothing was submitted.
        """
        site = BatchSite.model_validate(self._wish.scheduler)
        self._queue = open_queue(await find_scheduler(site))
        self._monitor = Monitor(self._queue)
        self._ledger = await asyncio.to_thread(Ledger.open, self._wish.ledger)
        account = _caller()
        user_queue = UserQueue(self._queue, account)
        self._dispatcher = Dispatcher(self._wish.site, user_queue, self._monitor, self._ledger, account.name)
        request = self._request(site)
        await self._check(request)
        (self._row,) = await self._dispatcher.submit([request], folder=str(self._shared), kind=KIND)
        if self._row.state == REFUSED:
            raise SubmitRefused(self._row.reason or "The scheduler refused the job.")
        with contextlib.suppress(LedgerError):
            await asyncio.to_thread(self._ledger.update_job, self._row.token, environment=self._wish.image)
        if self._row.state == SUBMITTING:
            await self._settled()
        self._submitted_at = time.monotonic()
        return self._row.job_id

    def _request(self, site: BatchSite) -> JobRequest:
        wish = self._wish
        python = site.python or sys.executable
        run = shlex.join([python, "-I", "-S", str(self._shared / "node.py"), str(self._shared)])
        variables = [f"export {name}={shlex.quote(value)}" for name, value in site.environment_variables.items()]
        return JobRequest(
            body="\n".join(["umask 077", 'cd "$HOME"', site.prologue.strip(), *variables, f"exec {run}"]),
            name=f"kernel-{wish.kernel.split()[0]}"[:40] if wish.kernel.strip() else KIND,
            cores=wish.cores,
            ranks=1,
            memory_bytes=wish.memory_bytes,
            walltime_s=wish.walltime_s,
            queue=wish.queue or site.queue,
            account=site.account,
            directives=site.directives,
            gpus=int(wish.gpu),
            # What it held in memory would be gone, and nobody would know.
            rerunnable=False,
            output=str(self._shared / _JOIN_OUTPUT_AS),
        )

    async def _check(self, request: JobRequest) -> None:
        facts = await self._monitor.site()
        if problems := problems_with(request, facts.nodes, facts.queues, self._wish.language):
            raise SubmitRefused("\n".join(problems))

    async def _settled(self) -> None:
        """Find out whether a submission in doubt made a job; one that did is this kernel's.

        Raises
        ------
        QueueUnreachable
            If that is still not known; the row stays, and whoever looks at the ledger next settles it.
        """
        assert self._row is not None
        doubt = self._row.reason
        with contextlib.suppress(QueueUnreachable):
            settled = await self._dispatcher.settle()
            self._row = next((row for row in settled.adopted if row.token == self._row.token), self._row)
        if not self._row.job_id:
            await self._wish_to_cancel()
            raise QueueUnreachable(f"It is not known whether the kernel's job reached the queue: {doubt}")

    async def look(self, *, within_s: float | None = None) -> Sight:
        """Return what the scheduler says of it; `within_s`: how old that may be."""
        assert self._row is not None
        if within_s is None and time.monotonic() - self._submitted_at < _WATCHED_FOR_S:
            within_s = _WATCH_EVERY_S
        return await self._monitor.look(self._row.job_id, within_s=within_s)

    async def news(self, sight: Sight) -> str:
        """Return what to say of `sight`; empty where that was said already."""
        words = await self._in_words(sight)
        if words == self._said:
            return ""
        self._said = words
        return words

    async def _in_words(self, sight: Sight) -> str:
        assert self._row is not None
        who = {"kernel": self._wish.kernel, "job": self._row.job_id}
        if sight.outage:
            return self._text("kernels.outage", **who, words=sight.outage)
        if sight.job is None:
            return self._said
        if not sight.job.state.waits:
            return self._text("kernels.runs", **who, node=", ".join(sight.job.nodes) or "?")
        try:
            facts = await self._monitor.site()
            why = explain(sight.job, facts.nodes, facts.queues, self._wish.language)
        except QueueUnreachable:
            why = explain(sight.job, (), (), self._wish.language)
        sentence = f"{why.sentence} {why.advice}".strip()
        return self._text("kernels.waiting" if sentence else "kernels.waiting_unsaid", **who, why=sentence)

    async def address(self, sight: Sight) -> tuple[str, int] | None:
        """Return where the kernel's node listens; None while it does not."""
        try:
            said = json.loads((self._shared / "address.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        nodes = sight.job.nodes if sight.job else ()
        host = str(await self._queue.node_address(nodes[0])) if nodes else str(said["host"])
        return host, int(said["port"])

    async def end_in_words(self, sight: Sight) -> str:
        """Return how it ended, which is written into the ledger too, with its last lines."""
        row = await self._followed()
        assert row is not None
        who = {"kernel": self._wish.kernel, "job": row.job_id}
        job = sight.job
        with contextlib.suppress(QueueError):
            job = (await self._queue.details([row.job_id])).get(row.job_id, job)
        why = self._text("kernels.job_over", **who, why=explain_end(job, self._wish.language)) if job else ""
        return "\n".join([why or self._text("kernels.job_gone", **who), *self._last_lines()])

    async def end_by_scheduler(self) -> str:
        """Return why the scheduler ended it, after waiting for that; empty where it ended by itself."""
        give_up_at = time.monotonic() + _END_KNOWN_WITHIN_S
        while time.monotonic() < give_up_at:
            sight = await self.look(within_s=_LOOKS_FOR_END_EVERY_S)
            if sight.ended:
                by_itself = sight.job is not None and sight.job.cause in (None, Cause.EXIT, Cause.SIGNAL)
                return "" if by_itself else await self.end_in_words(sight)
            await asyncio.sleep(_LOOKS_FOR_END_EVERY_S)
        return ""

    def _last_lines(self) -> list[str]:
        try:
            return (self._shared / _JOIN_OUTPUT_AS).read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        except OSError:
            return []

    async def _followed(self) -> JobRecord | None:
        """Return its row, brought up to date."""
        with contextlib.suppress(QueueUnreachable, LedgerError):
            rows = await self._dispatcher.refresh(within_s=0.5)
            self._row = next((row for row in rows if self._row and row.token == self._row.token), self._row)
        return self._row

    async def leave(self, *, over: bool, patient: bool = False) -> None:
        """See to it that nothing of the job stays: cancel it, unless it is ending by itself (`over`).

        Its end is written into the ledger, for which only a `patient` caller waits long: whoever looks next does it.
        """
        if self._row is None:
            return
        if not over:
            await self._cancel()
        give_up_at = time.monotonic() + (_LAST_LOOKS_S if patient else _LAST_LOOK_AFTER_S)
        while not self._row.over:
            await asyncio.sleep(_LAST_LOOK_AFTER_S)
            await self._followed()
            if time.monotonic() >= give_up_at:
                break
        await asyncio.to_thread(self._ledger.close)

    async def _cancel(self) -> None:
        """Cancel it, through an outage too; the wish stands in the ledger, where whoever looks next repeats it."""
        give_up_at = time.monotonic() + _CANCEL_WITHIN_S
        while not await self._wish_to_cancel() and time.monotonic() < give_up_at:
            await asyncio.sleep(2.0)

    async def _wish_to_cancel(self) -> bool:
        assert self._row is not None
        try:
            await self._dispatcher.cancel([self._row.token], by=self._row.user)
        except (QueueUnreachable, LedgerError):
            return False
        return True


def _caller() -> Account:
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:
        raise QueueError(f"The account number {os.geteuid()} has no name on this machine.") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), "same")
