"""The desk of one user in the broker: what a desk does, with files carried by the porter and one poller for all."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from springtide.broker.catalog import Catalog
from springtide.broker.porters import Porter
from springtide.broker.sites import Sites
from springtide.errors import JobError, NotSubmitted, ParameterError, Problem, SpringtideError
from springtide.jobs.applications.files import Home
from springtide.jobs.applications.load import Offer
from springtide.jobs.applications.parameters import FileParameter
from springtide.jobs.asked import Asked
from springtide.jobs.desk import Desk
from springtide.jobs.folder import log_file, make_folder
from springtide.jobs.holding import end_held
from springtide.jobs.looking import Look, look_at_run
from springtide.jobs.placing import named
from springtide.jobs.recovering import try_again
from springtide.jobs.spec import JobSpec
from springtide.ledger.records import REFUSED, JobRecord, RunRecord
from springtide.queues.accounts import Account
from springtide.queues.bookkeeping import name_limit, scheduler_name_of
from springtide.queues.model import Cause
from springtide.queues.opening import OpenSite

_log = logging.getLogger(__name__)
KEEPER = "broker"
"""Who starts what is due of the schedules that are made through the broker."""
_MOST_LISTED = 10_000
_SENT = re.compile(r"[0-9a-f]{32}/[^/\0.][^/\0]*")
_MOST_PROVENANCE_BYTES = 2**20


@dataclass
class UserDesk(Desk):
    """A desk for a user who is not this process's account."""

    sites: Sites = field(kw_only=True)
    account: Account = field(kw_only=True)
    uploads: Path = field(kw_only=True)
    """Where files that the user sent wait for the jobs that need them."""
    staging: Path = field(kw_only=True)
    """Where folders of jobs are made, to be carried to their place."""
    catalog: Catalog = field(kw_only=True)
    keeper: ClassVar[str] = KEEPER
    _under_way: dict[str, asyncio.Lock] = field(default_factory=dict)

    @property
    def for_others(self) -> bool:
        """Whether its jobs are other people's than this process's: always, even where one account runs them all."""
        return True

    @property
    def porter(self) -> Porter:
        """The porter, as this user's account."""
        return Porter(self.account)

    # --- submitting -------------------------------------------------------------------------------------------------

    async def submit(self, name: str, given: Mapping[str, Any], asked: Asked) -> RunRecord:
        """Submit an application, once for each token: who asks again is told what became of it.

        Raises
        ------
        SpringtideError
            As `Desk.submit` does.
        """
        if not asked.token:
            return await super().submit(name, given, asked)
        async with self._under_way.setdefault(asked.token, asyncio.Lock()):
            try:
                known = await asyncio.to_thread(self.ledger.run, asked.token)
                return await self._promised(known) if known else await super().submit(name, given, asked)
            finally:
                self._under_way.pop(asked.token, None)

    async def plan(
        self, name: str, given: Mapping[str, Any], asked: Asked
    ) -> tuple[Offer, JobSpec, dict[str, RunRecord]]:
        """Return what would be submitted: see `Desk.plan`. No path of this machine is even looked for.

        Raises
        ------
        UnknownApplication, ParameterError
            If what is asked for is wrong.
        """
        parameters = (await asyncio.to_thread(self.offer, name)).application.parameters
        for values, parted in ((given, False), (asked.sweep, True)):
            for parameter, value in values.items():
                if isinstance(parameters.get(parameter), FileParameter):
                    _check_sent(parameter, str(value).split(",") if parted else value)
        return await super().plan(name, given, asked)

    async def _promised(self, run: RunRecord) -> RunRecord:
        """Return a run that was asked for before, submitted now if it was not."""
        if run.user != self.user:
            raise ParameterError("token", "It is taken.", "Draw another one.")
        row = await asyncio.to_thread(self.ledger.job, run.job)
        if row is None:
            await try_again(self, run)
        elif row.state == REFUSED:
            raise NotSubmitted(row.reason or "The scheduler refused the job.")
        return run

    async def _submit_run(self, run: RunRecord, spec: JobSpec, site: OpenSite) -> RunRecord:
        try:
            return await super()._submit_run(run, spec, site)
        except SpringtideError as error:
            await asyncio.to_thread(self._write_refusal, run, spec, error)
            raise

    def _write_refusal(self, run: RunRecord, spec: JobSpec, error: SpringtideError) -> None:
        """Close a run whose submission was never tried: somebody was told so, and it must not be tried later."""
        with contextlib.suppress(SpringtideError):
            if self.ledger.job(run.job) is not None:
                return
            now = time.time()
            self.ledger.add_jobs(
                [
                    JobRecord(
                        token=run.job,
                        site=run.site,
                        user=self.user,
                        account=self.account.name,
                        name=spec.name,
                        scheduler_name=scheduler_name_of(spec.name, run.job, name_limit("")),
                        state=REFUSED,
                        reason=error.message,
                        folder=run.folder,
                        recorded=now,
                        ended=now,
                    )
                ]
            )

    async def _make_folder(self, folder: Path, **content: Any) -> None:
        made = Path(tempfile.mkdtemp(dir=self.staging))
        try:
            await asyncio.to_thread(make_folder, folder, at=made / "folder", **content)
            await self.porter.make(folder, made / "folder")
        finally:
            await asyncio.to_thread(shutil.rmtree, made, ignore_errors=True)

    def files(self, start: Path | None) -> Home:
        """Return where files that parameters name may lie: among those that the user has sent."""
        return Home(self.uploads, (), self.uploads)

    async def _given_again(self, before: RunRecord, offer: Offer, changes: Mapping[str, Any]) -> dict[str, Any]:
        spec = JobSpec.from_json(before.spec)
        given = {name: value for name, value in spec.given.items() if value is not None}
        parameters = offer.application.parameters
        files = [name for name in given if isinstance(parameters.get(name), FileParameter) and name not in changes]
        if files:
            described = await self.description(before)
            for name in files:
                copies = list(dict.fromkeys(str(one["parameters"][name]) for one in described["runs"]))
                fetched = [await self._fetched(before, Path(copy)) for copy in copies]
                given[name] = fetched if name in spec.swept else fetched[0]
        return {**given, **changes}

    async def _fetched(self, run: RunRecord, copy: Path) -> str:
        """Return an input of a former run as one that the user has sent."""
        data, offset = b"", 0
        while part := await self.porter.read(self.place(run), f"inputs/{copy.name}", offset):
            data, offset = data + part.data, offset + len(part.data)
            if offset >= part.size or not part.data:
                break
        else:
            raise JobError(f"The job's folder {run.folder} has been removed or changed.", "Its history is kept.")
        # Copies are numbered, so that files of one name do not meet.
        name = copy.name.partition("-")[2] or copy.name
        return await asyncio.to_thread(keep_upload, self.uploads, name, data)

    # --- sites ------------------------------------------------------------------------------------------------------

    async def site(self, name: str) -> OpenSite:
        """Return one of the lab's sites, as this user's."""
        if name not in self._sites:
            self._sites[name] = await self.sites.open(name, self.user, self.account)
        return self._sites[name]

    def names_of_sites(self, wished: str) -> list[str]:
        """Return the sites that may be meant."""
        return named(wished, self.sites.names_for(self.account))

    def _applications(self) -> tuple[Mapping[str, Offer], Sequence[Problem]]:
        return self.catalog.read()

    # --- watching ---------------------------------------------------------------------------------------------------

    async def look(self, runs: Sequence[RunRecord], *, fresh: bool = True) -> list[Look]:
        """Return what the ledger knows: it is brought up to date for all users at once, by the follower."""
        rows = await self.rows(runs)
        return [self.seen(run, rows.get(run.token), self.sites.outages.get(run.site, "")) for run in runs]

    @staticmethod
    def seen(run: RunRecord, row: JobRecord | None, outage: str) -> Look:
        """Return what is known of a run; one that its queue refused is over."""
        return look_at_run(run, row, outage, "en")

    def place(self, run: RunRecord) -> Path:
        """Return the folder of a run.

        Raises
        ------
        JobError
            If many users share the account and it is not this user's: ledgers of several machines are written by many.
        """
        folder = Path(run.folder)
        if self.account.way == "same" and (".." in folder.parts or not folder.is_relative_to(self.folder)):
            raise JobError(f"The job {run.token} has its folder elsewhere.", "Look at it where it was submitted.")
        return folder

    def has_place(self, run: RunRecord) -> bool:
        """Whether the files of a run can be had here."""
        try:
            return bool(self.place(run))
        except JobError:
            return False

    async def description(self, run: RunRecord) -> dict[str, Any]:
        """Return what ``job.json`` in a job's folder says.

        Raises
        ------
        JobError
            If it is not there any more.
        """
        return await self._json(run, "job.json") or _gone(run)

    async def provenances(self, run: RunRecord) -> list[dict[str, Any]]:
        """Return what is written down of each run."""
        several = JobSpec.from_json(run.spec).runs[1:]
        names = [f"provenance-{index}.json" for index in range(1, len(several) + 2)] if several else ["provenance.json"]
        texts = await self.porter.ends([(self.place(run), name) for name in names], _MOST_PROVENANCE_BYTES)
        return [_object(text or "") for text in texts]

    async def plot(self, run: RunRecord, name: str) -> bytes:
        """Return a figure of a job as PNG.

        Raises
        ------
        JobError
            If it cannot be drawn.
        """
        prefix = str((await self.description(run)).get("prefix") or "")
        pythons = [f"{prefix}/bin/python"] if prefix.startswith("/") else []
        return await self.porter.plot(self.place(run), name, [*pythons, sys.executable])

    async def _json(self, run: RunRecord, name: str) -> dict[str, Any]:
        part = await self.porter.read(self.place(run), name)
        return _object(part.data if part else b"")

    async def recover_run(self, run: RunRecord) -> bool:
        """Submit a run that was promised and certainly never submitted; return whether it was."""
        if await self._has_begun(run):
            return False
        try:
            return await try_again(self, run)
        except SpringtideError as error:
            _log.warning("The run %s of %s is not submitted: %s", run.token, run.user, error.message)
            return False

    async def _has_begun(self, run: RunRecord) -> bool:
        """Whether a run has left any trace in its folder."""
        found = await self.porter.listed(self.place(run), _MOST_LISTED)
        return any("/" not in one["file"] and one["file"].startswith(("log", "provenance", ".began")) for one in found)

    def log_name(self, run: RunRecord, index: int) -> str:
        """Return the name of what run `index` writes to."""
        return log_file(Path(run.folder), index, len(JobSpec.from_json(run.spec).runs)).name

    async def cancel_as(self, run: RunRecord, actor: str) -> bool:
        """End a job in somebody's name; return whether it was not over."""
        row = (await self.rows([run])).get(run.token)
        if row is None and await end_held(self, run, Cause.CANCELLED, by=actor):
            return True
        row = row or (await self.rows([run])).get(run.token)
        if row is None:
            raise JobError(f"The job {run.token} was never submitted.")
        site = await self.site(row.site)
        return bool(await site.dispatcher.cancel([row.token], actor))


def _check_sent(field: str, value: Any) -> None:
    for one in value if isinstance(value, (list, tuple)) else [value]:
        if one is not None and not (isinstance(one, str) and _SENT.fullmatch(one.strip())):
            raise ParameterError(
                field, f"“{str(one)[:40]}” is no file that was sent.", "Send it first, and give what it is called then."
            )


def _object(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object that a text holds, an empty one where it holds none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _gone(run: RunRecord) -> dict[str, Any]:
    raise JobError(f"The job's folder {run.folder} has been removed or changed.", "Its history is kept.")


def keep_upload(folder: Path, name: str, data: bytes) -> str:
    """Keep what a user has sent; return what names it: the same content has the same name."""
    place = folder / hashlib.sha256(data).hexdigest()[:32]
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = Path(tempfile.mkstemp(dir=place, prefix=".")[1])
    beside.write_bytes(data)
    beside.replace(place / name)
    return f"{place.name}/{name}"
