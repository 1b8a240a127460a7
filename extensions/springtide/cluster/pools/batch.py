"""Workers that are batch jobs: written down, submitted and watched as all our jobs are."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from springtide.cluster.bodies import Body, BodyState, Look, Terms
from springtide.cluster.observation import PoolKind, Wait
from springtide.cluster.pools.base import Contact, Pool, Started, WorkerOptions, seconds, tail_of
from springtide.cluster.pools.script import body_of, log_of, worker_job
from springtide.environments.packages import ThisImage, same_image
from springtide.environments.sites import SiteImage
from springtide.errors import QueueError, QueueUnreachable, SpringtideError, SubmitRefused
from springtide.lab.models import BatchSite, LocalSite
from springtide.ledger.records import REFUSED, SUBMITTING, JobRecord
from springtide.queues.accounts import Account, UserQueue
from springtide.queues.base import Queue
from springtide.queues.commands import run_command
from springtide.queues.detect import find_scheduler, open_queue
from springtide.queues.dispatch import Dispatcher
from springtide.queues.expected.estimate import estimate
from springtide.queues.model import Cause, JobRequest, JobState
from springtide.queues.monitor import Monitor

_log = logging.getLogger(__name__)

# The scheduler is not asked more often than that for all workers together.
_INTERVAL_S = 10.0
_IN_A_HURRY_S = 1.0
_WAIT_WITHIN_S = 60.0
_WAITS = 500
_IMAGES_PYTHON = ("/bin/sh", "-c", 'exec "$(command -v python || command -v python3)" "$@"', "sh")
_WAITING = {JobState.QUEUED.value, JobState.HELD.value, JobState.WAITING.value}


@dataclass
class BatchPool(Pool):
    """Batch jobs, each with one worker.

    Parameters
    ----------
    site : BatchSite or LocalSite or Queue
        The queue: as a lab file describes it, or open already. A `LocalSite` is this machine's own queue.
    walltime : int or str
        Of each job: seconds, or "2h". Results move to other workers before it is over.
    queue, account : str
        Queue (Slurm: partition) and project; empty: what the site says, else the scheduler's default.
    directives : tuple of str
        Further directives in the words of the site's dialect, without their prefix.
    prologue : str
        Shell lines that come before the worker, as ``module load python``.
    site_name : str
        Of the site in the lab file, and so in the ledger; that of the pool by default.
    image : callable, optional
        Returns the image that the workers run in, given a mark to leave on it and who is told what is done meanwhile;
        see `springtide.environments.sites.image_at`. Without one, they run on the nodes themselves.
    """

    name: str = "cluster"
    site: BatchSite | LocalSite | Queue = field(default_factory=lambda: BatchSite(kind="batch"))
    walltime: int | str = 3600
    queue: str = ""
    account: str = ""
    directives: tuple[str, ...] = ()
    prologue: str = ""
    site_name: str = ""
    image: Callable[[str, Callable[[str], None]], SiteImage] | None = None
    kind = PoolKind.BATCH
    _inside: SiteImage | None = None
    _contact: Contact | None = None
    _dispatcher: Dispatcher | None = None
    _rows: dict[str, JobRecord] = field(default_factory=dict)
    """The last known row of each worker."""
    _wait: Wait | None = None
    _wait_asked_at: float = float("-inf")

    @property
    def walltime_s(self) -> int:
        """How long a job may run."""
        return seconds(self.walltime)

    @property
    def lifetime_s(self) -> float:
        """How long a worker works: what is left of the walltime is for its results to move."""
        return max(self.walltime_s / 2, self.walltime_s - min(300.0, max(20.0, self.walltime_s / 10)))

    @property
    def terms(self) -> Terms:
        """What the cluster plans with."""
        return Terms(
            self.name,
            self.maximum,
            join_within_s=self.worker.death_timeout_s + 60.0,
            lifetime_s=self.lifetime_s,
        )

    @property
    def _desk(self) -> Dispatcher:
        assert self._dispatcher is not None
        return self._dispatcher

    async def open(self, contact: Contact) -> None:
        """Find the scheduler.

        Raises
        ------
        QueueError
            If its commands are not here.
        """
        queue = self.site if isinstance(self.site, Queue) else await self._found(self.site)
        if self.image is not None:
            self._inside = await asyncio.to_thread(self.image, contact.cluster, _log.info)
            if self.worker.local_directory == WorkerOptions.local_directory:
                # Where $TMPDIR leads to is not seen inside.
                self.worker = replace(self.worker, local_directory="/tmp")
        self._contact = contact
        user_queue = UserQueue(queue, _me())
        monitor = Monitor(queue, interval_s=1.0 if queue.dialect == "local" else _INTERVAL_S)
        self._dispatcher = Dispatcher(self.site_name or self.name, user_queue, monitor, contact.ledger, contact.user)

    async def _found(self, site: BatchSite | LocalSite) -> Queue:
        found = await find_scheduler(site, run_command)
        if isinstance(site, BatchSite):
            self.queue = self.queue or site.queue
            self.account = self.account or site.account
            self.directives = (*site.directives, *self.directives)
            self.prologue = f"{site.prologue}\n{self.prologue}"
        return open_queue(found)

    async def check_image(self, session: ThisImage) -> None:
        """Return if the workers run in the session's image, or one of both runs in none."""
        inside = self._inside
        if inside is not None and session.digest and inside.digest != session.digest:
            packages = await asyncio.to_thread(inside.packages)
            same_image(session.digest, session.packages, inside.digest, packages)

    async def start(self, names: Collection[str]) -> Mapping[str, Started]:
        """Submit a job for each, all in one go."""
        assert self._contact is not None
        ordered = list(names)
        try:
            requests = [self._request(name, self._contact) for name in ordered]
            rows = await self._desk.submit(requests, folder=str(self._contact.folder), kind="worker")
        except SpringtideError as error:
            # Whatever it is: nothing was submitted.
            return dict.fromkeys(ordered, SubmitRefused(error.message, error.hint))
        except Exception as error:
            _log.exception("Jobs of %s could not be submitted", self.name)
            rows = await self._written(ordered, SubmitRefused(str(error) or repr(error)))
        outcomes = dict(zip(ordered, rows, strict=True))
        self._rows |= {name: row for name, row in outcomes.items() if row.state != REFUSED}
        return {name: _started(row) for name, row in outcomes.items()}

    async def _written(self, names: Sequence[str], error: SubmitRefused) -> list[JobRecord]:
        """Return the rows that were written all the same; of those without one, that there was none."""
        assert self._contact is not None
        desk, cluster = self._desk, self._contact.cluster
        rows = await asyncio.to_thread(desk.ledger.jobs, site=desk.site, user=desk.user, kind="worker", open_only=True)
        found = {row.name: row for row in rows}
        nothing = JobRecord("", desk.site, desk.user, "", "", "", state=REFUSED, reason=error.message)
        return [found.get(f"{cluster}-{name}", nothing) for name in names]

    def _request(self, name: str, contact: Contact) -> JobRequest:
        worker = self.worker
        dialect = self._desk.user_queue.queue.dialect
        python, variables = self._python(contact)
        job = worker_job(dialect, name, worker, contact, self.lifetime_s, python)
        return JobRequest(
            body=body_of(job, worker, python, self.prologue, variables),
            name=f"{contact.cluster}-{name}",
            cores=worker.cores,
            # One process, with threads: not an MPI program.
            ranks=1,
            memory_bytes=worker.memory_bytes,
            walltime_s=self.walltime_s,
            queue=self.queue,
            account=self.account,
            directives=(*self.directives, *job.job_extra_directives),
            # A worker that begins again is as good as a new one, and is recognised by its name.
            rerunnable=True,
            output=str(log_of(contact.folder, name)),
        )

    def _python(self, contact: Contact) -> tuple[Sequence[str], Mapping[str, str]]:
        """Return what starts the workers' Python, and the variables to start that with."""
        if self._inside is None:
            return [self.worker.own_python], {}
        said = self.site.environment_variables if isinstance(self.site, BatchSite) else {}
        python = [self.worker.python] if self.worker.python else _IMAGES_PYTHON
        command = self._inside.command(python, _me().home, said, [contact.folder])
        return command.argv, command.environment

    async def look(self, *, fresh: bool = False) -> Look:
        """Return what the queue says of all jobs; settle those of which nobody knows whether they exist."""
        try:
            if any(row.state == SUBMITTING for row in self._rows.values()):
                await self._desk.settle()
            await self._bring_up_to_date(_IN_A_HURRY_S if fresh else None)
        except QueueUnreachable as error:
            return Look(outage=error.message)
        return Look({name: _body(row) for name, row in self._rows.items()})

    async def _bring_up_to_date(self, within_s: float | None) -> None:
        # Rows that come in between are younger than the answer, which says nothing of them.
        known = {name: row for name, row in self._rows.items() if not row.over}
        if not known:
            return
        seen = {row.token: row for row in await self._desk.refresh(within_s=within_s)}
        for name, row in known.items():
            # One that another process has closed is not among the open ones.
            latest = seen.get(row.token) or await asyncio.to_thread(self._desk.ledger.job, row.token)
            self._rows[name] = latest or row

    async def end(self, names: Collection[str]) -> None:
        """Cancel the jobs; the wish is written down first, and stands until it has come true."""
        tokens = [self._rows[name].token for name in names if name in self._rows and not self._rows[name].over]
        if tokens:
            await self._desk.cancel(tokens, by=self._desk.user)

    async def expected_wait(self) -> Wait | None:
        """Return how long a job submitted now may wait, from the site's own waits and free nodes."""
        if time.monotonic() - self._wait_asked_at > _WAIT_WITHIN_S:
            self._wait_asked_at = time.monotonic()
            try:
                self._wait = await self._foreseen()
            except SpringtideError:
                self._wait = None
        return self._wait

    async def _foreseen(self) -> Wait | None:
        assert self._contact is not None
        monitor = self._desk.monitor
        waits = await asyncio.to_thread(self._desk.ledger.waits, self._desk.site, limit=_WAITS)
        seen = await monitor.snapshot()
        own = {row.job_id for row in self._rows.values()}
        found = estimate(
            self._request("w", self._contact),
            now=time.time(),
            nodes=await monitor.nodes(),
            waits=waits,
            waiting_jobs=sum(job.state is JobState.QUEUED for job in seen.jobs.values() if job.id not in own),
        )
        return Wait(found.median_s, found.low_s, found.high_s) if found else None

    async def close(self) -> None:
        """Let go of the image."""
        if self._inside is not None and self._contact is not None:
            await asyncio.to_thread(self._inside.entry.unmark, self._contact.cluster)

    async def log(self, name: str) -> str:
        """Return the end of what the worker's job wrote."""
        return await asyncio.to_thread(tail_of, log_of(self._contact.folder, name)) if self._contact else ""


def _started(row: JobRecord) -> Started:
    if row.state == REFUSED:
        return SubmitRefused(row.reason)
    return QueueUnreachable(row.reason) if row.state == SUBMITTING else _body(row)


def _body(row: JobRecord) -> Body:
    ends_at = row.started + row.walltime_s if row.started is not None and row.walltime_s else None
    if row.over:
        return Body(BodyState.ENDED, row.job_id, _how_it_ended(row), row.started)
    if row.state == SUBMITTING:
        return Body(BodyState.ASKED, reason=row.reason)
    if row.state in _WAITING:
        return Body(BodyState.WAITING, row.job_id, row.reason)
    return Body(BodyState.RUNNING, row.job_id, row.reason, row.started, ends_at)


def _how_it_ended(row: JobRecord) -> str:
    """Return a sentence: the queue's word for the cause, and its own words."""
    status = f", exit status {row.exit_status}" if row.cause == Cause.EXIT.value else ""
    by = f" by {row.cancelled_by}" if row.cancelled_by else ""
    words = f": {row.reason}" if row.reason else ""
    return f"Its job {row.job_id or '(never accepted)'} ended: {row.cause or row.state}{by}{status}{words}."


def _me() -> Account:
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:
        raise QueueError(f"The account number {os.geteuid()} has no name on this machine.") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), "same")
