"""Batch sessions: batchspawner's spawners for PBS Pro, Torque and Slurm, with the queue layer underneath.

What is ours and why: the environment travels inside the script, never as ``qsub -v`` (any user reads that with
``qstat -f``); an outage of the scheduler is UNKNOWN, never "gone"; a job's random name is stored before it is
submitted, so that a hub killed at any line finds it again; waiting in the queue has no time limit.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import batchspawner
from jupyterhub.spawner import Spawner, SpawnException
from traitlets import Any as AnyTrait
from traitlets import Float, List, Unicode

from springtide.errors import QueueError, QueueUnreachable
from springtide.hub.batch_outlook import Outlook
from springtide.hub.batch_script import session_script
from springtide.hub.batch_submission import Submitting
from springtide.hub.batch_words import progress_of
from springtide.hub.reach import is_this_machine
from springtide.hub.words import spawn_failure
from springtide.queues.model import Cause, JobInfo, JobRequest, new_job_token
from springtide.queues.monitor import Sight, is_waiting
from springtide.queues.reasons import explain_end
from springtide.texts import translator
from springtide.units import describe_duration

_STOP_WITHIN_S = 60.0
# How often the scheduler is asked when somebody has just opened the page; once the port is known, the node is next.
_WATCH_EVERY_S = 3.0
_LOCATE_EVERY_S = 0.3
_WATCHED_FOR_S = 120.0
_READS_PROGRAM = ("/bin/sh", "-c", 'exec "$(command -v python || command -v python3)" -')


class BatchSession(Submitting, Outlook, batchspawner.BatchSpawnerBase):
    """What the three batch sessions share; stands before a batchspawner class among the bases."""

    user_queue = AnyTrait(help="The site's queue, as this session's account.")
    monitor = AnyTrait(help="The site's one poller.")
    site = AnyTrait(help="The site in the lab file.")
    resources = AnyTrait(help="The validated request: cpus, memory_bytes, walltime_s, queue.")
    python = Unicode(help="Python of the session on the nodes.")
    image = AnyTrait(help="The image it runs in, a `SiteImage`; None: the node's own software.")
    language = Unicode("en")
    rows = AnyTrait(help="The sessions' rows in the ledger.")
    expected = AnyTrait(help="The site's forecasts of when jobs start.")
    report_within_s = Float(300.0, help="How long a running job may take to report its port.")
    env_keep = List(Unicode(), [])
    keep_state: Callable[[], None]

    token_digest = ""
    _running_since: float | None = None
    _submitted_at = 0.0
    _waits_since = _watched_at = float("-inf")
    _stop_wanted = False
    _last_words = ""
    prepares = ""
    """What is made before the job can be submitted, in words."""

    # --- what the hub calls -------------------------------------------------------------------------------------

    async def start(self) -> tuple[str, int]:
        """Submit the session's job and wait, as long as the queue takes, until it reports its port."""
        self.job_token, self.port, self.job_id = self.job_token or new_job_token(), 0, ""
        self.token_digest = _digest(self.api_token)
        self._submitted_at = time.time()
        request = self._job_request()
        await self._check_feasible(request)
        script = self.user_queue.queue.script(request)
        self.keep_state()
        self.job_id = await self._submit(script)
        self.keep_state()
        await self.rows.change(self.job_token, job_id=self.job_id, state="queued", submitted=time.time())
        self.log.info("Session %s is job %s (%s)", self._log_name, self.job_id, self.job_token)
        return await self.locate()

    async def locate(self) -> tuple[str, int]:
        """Wait until the job runs and has reported; return where it listens.

        Raises
        ------
        SpawnException
            If the job ends first, or stays silent for too long.
        """
        self._waits_since = time.monotonic()
        while True:
            self._sight = sight = await self.monitor.look(self.job_id, within_s=self._patience_s())
            if sight.ended:
                raise await self._death(sight)
            node = self._view().node
            if node and self.port:
                self.ip = await self._address(node)
                self.keep_state()
                if sight.job is not None:
                    await self.rows.follow(self.job_token, sight.job)
                return self.ip, self.port
            if node:
                self.expected.forget(self.job_id)
                await self._check_silence(node)
            elif is_waiting(sight):
                await self._foresee(self._job_request())
            await self._port_comes()

    async def poll(self) -> int | None:
        """Return None while the job lives or nothing is known of it, else its exit status."""
        if self._submission is not None and not self._submission.done():
            return None
        if self._stop_wanted:
            # The hub ended while it was stopping this session, most likely in an outage: the wish still stands.
            await self.stop()
            return 0
        try:
            if not self.job_id and not await self._find_job():
                return 0
        except QueueUnreachable:
            return None
        self._sight = sight = await self.monitor.look(self.job_id)
        if not sight.ended:
            return None
        job = await self._ended_job(sight)
        self._last_words = self._ended_words(job)
        self.monitor.forget(self.job_id)
        await self._remove_log()
        return 1 if job is None or job.exit_status is None else job.exit_status

    async def stop(self, now: bool = False) -> None:
        """Cancel the job and wait until it has left the queue; an outage is waited for, as the job must not stay."""
        await self._settle_submission()
        if not await self._persist(self._find_job):
            return
        self._stop_wanted = True
        self.keep_state()
        await self._persist(lambda: self.user_queue.cancel(self.job_id))
        give_up_at = time.monotonic() + (0.0 if now else _STOP_WITHIN_S)
        while time.monotonic() < give_up_at:
            if (await self.monitor.look(self.job_id, within_s=1.0)).ended:
                break
            await asyncio.sleep(0.5)
        else:
            self.log.warning("Job %s was cancelled, but the scheduler still shows it", self.job_id)
        self._stop_wanted = False
        self.monitor.forget(self.job_id)
        await self._remove_log()

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Say where the job is, each time that changes."""
        said = ""
        self._watched_at = time.monotonic()
        while True:
            percent, message = (2, self.prepares) if self.prepares else progress_of(self._view())
            if message and message != said:
                yield {"progress": percent, "message": message}
                said = message
            await asyncio.sleep(1)

    def get_state(self) -> dict[str, Any]:
        """Return what finds the job again after any crash; no secret among it."""
        if not self.job_token:
            return {}
        return {
            "job_token": self.job_token,
            "job_id": self.job_id,
            "token_digest": self.token_digest,
            "port": self.port,
            "ip": self.ip,
            "submitted_at": self._submitted_at,
            "stop_wanted": self._stop_wanted,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a job that an earlier hub submitted."""
        self.job_token = state.get("job_token", "")
        self.job_id = state.get("job_id", "")
        self.token_digest = state.get("token_digest", "")
        self.port = state.get("port", 0)
        self.ip = state.get("ip", "") or "0.0.0.0"
        self._submitted_at = state.get("submitted_at", 0.0)
        self._stop_wanted = state.get("stop_wanted", False)

    def clear_state(self) -> None:
        """Forget the job."""
        self.load_state({})

    def get_env(self) -> dict[str, str]:
        """Return the session's environment: JupyterHub's own variables and the site's, nothing of the hub's shell."""
        environment: dict[str, str] = Spawner.get_env(self)
        return environment

    # --- what the port handler calls ----------------------------------------------------------------------------

    def owns_token(self, token: str) -> bool:
        """Whether `token` is this session's own; known by its digest, so that it survives a hub restart."""
        return bool(self.token_digest) and hmac.compare_digest(self.token_digest, _digest(token))

    def report_port(self, port: int) -> bool:
        """Take the session's port, once; return whether it is now `port`."""
        if self.port == 0:
            self.port = port
            self.keep_state()
        return bool(self.port == port)

    @property
    def located(self) -> bool:
        """Whether the session has told where it listens."""
        return bool(self.port) and self.ip not in ("", "0.0.0.0")

    @property
    def last_words(self) -> str:
        """Why the session ended by itself; empty where its user stopped it."""
        return self._last_words

    async def url(self) -> str:
        """Return where the session listens."""
        return f"http://{self.ip}:{self.port}"

    # --- submitting ---------------------------------------------------------------------------------------------

    def _job_request(self) -> JobRequest:
        wanted, site = self.resources, self.site
        return JobRequest(
            body=self._script_body(),
            name=self.job_token,
            cores=int(wanted.cpus),
            ranks=1,
            memory_bytes=wanted.memory_bytes,
            walltime_s=wanted.walltime_s,
            queue=wanted.queue or site.queue,
            account=site.account,
            directives=site.directives,
        )

    def _script_body(self) -> str:
        environment = {**self.get_env(), **self.site.environment_variables}
        if self.user_queue.account.uid == 0:
            environment["SPRINGTIDE_ARGS"] = "--allow-root"
        if self.image is None:
            return session_script(self.job_token, environment, self.site.prologue, (self.python, "-"))
        inside = self.image.command(_READS_PROGRAM, self.user_queue.account.home, environment)
        return session_script(self.job_token, inside.environment, self.site.prologue, inside.argv)

    async def _remove_log(self) -> None:
        try:
            await self.user_queue.remove_log(self.job_token)
        except QueueError as error:
            self.log.info("The log of %s stays: %s", self.job_id, error.message)

    # --- waiting ------------------------------------------------------------------------------------------------

    def _patience_s(self) -> float | None:
        """Return how old an answer may be: the monitor's own interval unless somebody watches or the job just began."""
        if self._sight is not None and self._sight.outage:
            return None
        if self.port and not self.located:
            return _LOCATE_EVERY_S
        recently = time.monotonic() - _WATCHED_FOR_S
        return _WATCH_EVERY_S if max(self._watched_at, self._waits_since) > recently else None

    async def _port_comes(self) -> None:
        """Wait a second, or until the port is reported: a session should not be slower than it must be."""
        for _ in range(10):
            await asyncio.sleep(0.1)
            if self.port:
                return

    async def _check_silence(self, node: str) -> None:
        self._running_since = self._running_since or time.monotonic()
        silent_s = time.monotonic() - self._running_since
        if not self.port and silent_s > self.report_within_s:
            text = translator(self.language)(
                "batch.silent", job=self.job_id, duration=describe_duration(silent_s), node=node
            )
            raise spawn_failure(text, reason="silent", log=await self._log_tail())

    async def _address(self, node: str) -> str:
        """Return where the hub reaches a session on `node`; loopback where the node is this very machine."""
        address = str(await self.user_queue.queue.node_address(node))
        return "127.0.0.1" if await asyncio.to_thread(is_this_machine, address) else address

    async def _death(self, sight: Sight) -> SpawnException:
        words = translator(self.language)
        job = await self._ended_job(sight)
        log = await self._log_tail()
        self.monitor.forget(self.job_id)
        if job is None and not log:
            return spawn_failure(words("batch.vanished", job=self.job_id), reason="vanished")
        why = explain_end(job, self.language) if job else ""
        text = words("batch.died" if log else "batch.died_silently", job=self.job_id, why=why)
        return spawn_failure(text, reason="died", log=log)

    async def _ended_job(self, sight: Sight) -> JobInfo | None:
        """Return all that is known of the job that ended, and write it into the ledger."""
        job: JobInfo | None = sight.job
        try:
            known = await self.user_queue.queue.details([self.job_id])
            job = known.get(self.job_id, job)
        except QueueUnreachable as outage:
            self.log.info("How job %s ended is not known: %s", self.job_id, outage.message)
        if job is None:
            await self.rows.end(self.job_token, cause=Cause.LOST.value)
        else:
            await self.rows.follow(self.job_token, job)
        return job

    async def _log_tail(self) -> list[str]:
        try:
            lines: list[str] = await self.user_queue.log_tail(self.job_token)
        except QueueError as error:
            return [error.message]
        return lines

    def _ended_words(self, job: JobInfo | None) -> str:
        words = translator(self.language)
        if job is None:
            return words("batch.vanished", job=self.job_id)
        return words("batch.ended", why=explain_end(job, self.language))


class PbsProSession(BatchSession, batchspawner.PBSSpawner):
    """A session as a job of PBS Pro or OpenPBS."""


class TorqueSession(BatchSession, batchspawner.TorqueSpawner):
    """A session as a job of Torque."""


class SlurmSession(BatchSession, batchspawner.SlurmSpawner):
    """A session as a job of Slurm."""


SESSIONS: dict[str, type[BatchSession]] = {
    "pbspro": PbsProSession,
    "torque": TorqueSession,
    "slurm": SlurmSession,
    "slurm-pbs": SlurmSession,
}


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
