"""Where jobs of applications are submitted, watched and cancelled: one desk for each user, in whatever process.

Each job's folder is made first, then its run is written into the ledger, then the job's own row, then the scheduler is
asked. Whatever is killed in between, nothing runs twice: a run without a job's row was certainly never submitted, and
the queue layer settles the rest by name. `recover` submits what was not.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import sys
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from springtide.environments.conversions.places import ImageCaches
from springtide.errors import (
    ApplicationFileError,
    JobError,
    LedgerError,
    NotSubmitted,
    ParameterError,
    Problem,
    QueueError,
    UnknownApplication,
)
from springtide.jobs import routing
from springtide.jobs.again import asked_again, given_again
from springtide.jobs.applications.files import Home
from springtide.jobs.applications.load import Offer, applications_of, find_offer
from springtide.jobs.applications.values import read_values
from springtide.jobs.asked import Asked, spec_of
from springtide.jobs.chains import ChainStep, dependencies_at, submit_chain
from springtide.jobs.folder import make_folder
from springtide.jobs.holding import Held, end_held, held_among, still_waits, submit_held
from springtide.jobs.job import Job
from springtide.jobs.looking import Look, look_at_run, with_progress
from springtide.jobs.placing import at_site, candidates_for, named
from springtide.jobs.quotas import Standing, add_run_within_quotas, check_quotas, standings
from springtide.jobs.recovering import recover, submit_promised
from springtide.jobs.schedules import Repeat, add_schedule, find_schedule, set_schedule
from springtide.jobs.script import request_of
from springtide.jobs.software import Software, image_of, software_of
from springtide.jobs.spec import JobSpec
from springtide.jobs.watching import changes_at
from springtide.lab.models import BatchSite, Lab, LocalSite
from springtide.ledger.records import REFUSED, SUBMITTING, JobRecord, RunRecord, ScheduleRecord
from springtide.ledger.store import Ledger
from springtide.queues.bookkeeping import new_token
from springtide.queues.feasible import problems_with
from springtide.queues.model import Cause, JobRequest
from springtide.queues.opening import OpenSite, local_site, open_site
from springtide.texts import translate

_MOST_SHOWN = 200


@dataclass
class Desk:
    """One user's jobs of applications. Its coroutines belong to one event loop.

    Parameters
    ----------
    lab : Lab
        What there is.
    ledger : Ledger
        Where everything is written down.
    folder : Path
        Where the jobs' folders are made; nodes see it too.
    home : Path
        The user's home: files that parameters name lie below it.
    environments : Path
        Where the environments' virtual environments lie.
    groups : collection of str
        What the user is in.
    say : callable
        Told of what takes long.
    """

    lab: Lab
    ledger: Ledger
    folder: Path
    home: Path
    environments: Path
    groups: Collection[str] = ()
    language: str = "en"
    user: str = field(default_factory=getpass.getuser)
    say: Callable[[str], None] = lambda words: None
    state: Path | None = None
    """The lab's state directory, where images lie; None: that in which `environments` is."""
    _sites: dict[str, OpenSite] = field(default_factory=dict)
    keeper: ClassVar[str] = ""
    """Who starts what is due of the schedules that are made here."""

    @property
    def for_others(self) -> bool:
        """Whether its jobs are other people's than this process's."""
        return False

    # --- applications -----------------------------------------------------------------------------------------------

    def offers(self) -> list[Offer]:
        """Return the applications that the user may see; files that are wrong are left out: ``check`` tells of them."""
        found, _ = self._applications()
        return [offer for offer in found.values() if offer.for_members_of(self.groups)]

    def offer(self, name: str) -> Offer:
        """Return one of them.

        Raises
        ------
        UnknownApplication
            If there is none of this name.
        ApplicationFileError
            If there is a file of this name that is wrong.
        """
        offers, problems = self._applications()
        try:
            return find_offer(offers, name, self.groups)
        except UnknownApplication:
            if wrong := [problem for problem in problems if Path(problem.file).stem == name.rpartition("/")[2]]:
                raise ApplicationFileError(wrong) from None
            raise

    def _applications(self) -> tuple[Mapping[str, Offer], Sequence[Problem]]:
        return applications_of(self.lab)

    # --- submitting -------------------------------------------------------------------------------------------------

    async def submit(self, name: str, given: Mapping[str, Any], asked: Asked) -> RunRecord:
        """Submit an application; return what is written down of it.

        Raises
        ------
        UnknownApplication, ParameterError, ChainError
            If what is asked for is wrong: then nothing was submitted.
        QuotaExceeded
            If the user's quota, or that of a group, has no room for it: then nothing was submitted.
        NotSubmitted
            If the job could never run, the scheduler refused it, or (transient) nobody knows.
        QueueError, LedgerError, EnvironmentsError, JobError
            If something fails on the way.
        """
        offer, spec, runs = await self.plan(name, given, asked)
        await check_quotas(self, spec)
        spec, request_site = await at_site(self, spec, asked.site, runs)
        token = asked.token or new_token()
        folder = self.folder / f"{offer.name}-{token}"
        site = self.lab.sites.get(spec.site)
        software = await self._software(offer.environment, site, token)
        spec = spec.within(software.prepared.digest)
        await self._make_folder(
            folder,
            token=token,
            spec=spec,
            offer=offer,
            prefix=software.prepared.place,
            environment=software.description,
            variables={},
            upstream=[Path(runs[follow.token].folder) for follow in spec.after],
            container=software.container,
        )
        run = RunRecord(
            token=token,
            job=token,
            user=self.user,
            application=spec.application,
            site=spec.site,
            folder=str(folder),
            spec=spec.as_json(),
            parent=asked.parent,
            recorded=time.time(),
        )
        await asyncio.to_thread(add_run_within_quotas, self, run, spec)
        if await still_waits(self, run):
            return run
        try:
            return await self._submit_run(run, spec, request_site)
        except NotSubmitted as error:
            if not error.transient:
                await asyncio.to_thread(self.ledger.drop_charges, token)
            raise
        except LedgerError:
            # Who looked at it meanwhile was first.
            if await asyncio.to_thread(self.ledger.job, run.job) is None:
                raise
            return run

    async def _software(self, environment: str, site: BatchSite | LocalSite | None, token: str) -> Software:
        """Return an environment at a site: its image where the site has containers, else its software there."""
        if not isinstance(site, BatchSite) or site.runtime == "host":
            return await software_of(self.lab, environment, site, self.environments, self.say)
        caches = ImageCaches.of(self.lab, self.state or self.environments.parent, self.ledger.is_over)
        return await image_of(self.lab, environment, site, caches, token, self.say, shared_only=self.for_others)

    async def plan(
        self, name: str, given: Mapping[str, Any], asked: Asked
    ) -> tuple[Offer, JobSpec, dict[str, RunRecord]]:
        """Return what would be submitted, all of it checked but its site, and the runs that come first.

        Raises
        ------
        UnknownApplication, ParameterError
            If what is asked for is wrong.
        """
        offer = await asyncio.to_thread(self.offer, name)
        home = self.files(asked.start)
        values = await asyncio.to_thread(read_values, offer.application, given, home, asked.sweep)
        return offer, spec_of(offer, values, asked), await self._runs_of(asked)

    async def submit_again(self, before: RunRecord, changes: Mapping[str, Any], asked: Asked) -> RunRecord:
        """Submit a run again, with its seeds and inputs as they were, some of its parameters changed.

        Raises
        ------
        SpringtideError
            As `submit` does.
        """
        offer = await asyncio.to_thread(self.offer, before.application)
        given = await self._given_again(before, offer, changes)
        for swept in asked.sweep:
            given.pop(swept, None)
        return await self.submit(before.application, given, asked_again(before, asked))

    async def _given_again(self, before: RunRecord, offer: Offer, changes: Mapping[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(given_again, before, offer, changes)

    async def submit_chain(self, steps: Mapping[str, ChainStep]) -> dict[str, RunRecord]:
        """Submit steps that follow each other: see `springtide.jobs.chains.submit_chain`."""
        return await submit_chain(self, steps)

    async def schedule(self, name: str, given: Mapping[str, Any], asked: Asked, repeat: Repeat) -> ScheduleRecord:
        """Have an application run again and again: see `springtide.jobs.schedules.add_schedule`."""
        return await add_schedule(self, name, given, asked, repeat)

    async def schedules(self, *, ended: bool = False) -> list[ScheduleRecord]:
        """Return the user's schedules, the oldest first."""
        return await asyncio.to_thread(self.ledger.schedules, user=self.user, ended=ended)

    async def set_schedule(self, token: str, state: str) -> ScheduleRecord:
        """Pause one of the user's schedules, go on with it, or end it: see `springtide.jobs.schedules`."""
        return await set_schedule(self, await find_schedule(self, token), state)

    async def quotas(self) -> list[Standing]:
        """Return what limits the user, and what is spent of it: see `springtide.jobs.quotas`."""
        return await standings(self)

    def job_of(self, run: RunRecord) -> Job:
        """Return a run as Python code has it."""
        return Job(self, run)

    def files(self, start: Path | None) -> Home:
        """Return where files that parameters name may lie."""
        return Home(self.home, (self.folder,), start or self.home)

    async def _make_folder(self, folder: Path, **content: Any) -> None:
        """Make the folder of a job: see `make_folder`."""
        await asyncio.to_thread(make_folder, folder, **content)

    async def _runs_of(self, asked: Asked) -> dict[str, RunRecord]:
        runs = {}
        for follow in asked.after:
            runs[follow.token] = await self.run(follow.token, field="after")
        return runs

    async def foresee(self, name: str, given: Mapping[str, Any], asked: Asked) -> tuple[int, list[routing.Candidate]]:
        """Return how many runs something has, and the sites that could run it; nothing is submitted.

        Raises
        ------
        SpringtideError
            As `plan` and `candidates` do.
        """
        _, spec, _ = await self.plan(name, given, asked)
        return len(spec.runs), await self.candidates(spec, asked.site)

    async def candidates(self, spec: JobSpec, wished: str, *, foreseeing: bool = True) -> list[routing.Candidate]:
        """Return the sites that could run something, and when it may start there: see `placing.candidates_for`."""
        return await candidates_for(self, spec, wished, foreseeing=foreseeing)

    def site_names(self) -> list[str]:
        """Return the sites that run jobs, the nearest first."""
        return self.names_of_sites(routing.AUTO)

    def names_of_sites(self, wished: str) -> list[str]:
        """Return the sites that may be meant, the nearest first.

        Raises
        ------
        ParameterError
            If there is no such site.
        """
        here = local_site(self.lab)
        known = [name for name, site in self.lab.sites.items() if isinstance(site, BatchSite)]
        # This machine first: of two that start at once it is the nearer one.
        return named(wished, [here, *(name for name in known if name != here)])

    async def site(self, name: str) -> OpenSite:
        """Return one of the lab's sites, open."""
        if name not in self._sites:
            self._sites[name] = await open_site(self.lab, self.ledger, name)
        return self._sites[name]

    def request(self, spec: JobSpec, folder: Path, dependencies: Sequence[Any]) -> JobRequest:
        """Return what a site's queue is asked for."""
        site: BatchSite | LocalSite | None = self.lab.sites.get(spec.site)
        python = site.python if isinstance(site, BatchSite) and site.python else sys.executable
        return request_of(spec, folder, site, python, dependencies)

    async def _submit_run(self, run: RunRecord, spec: JobSpec, site: OpenSite) -> RunRecord:
        """Submit a run, for somebody who is told of what fails: see `submit_now`."""
        return await self.submit_now(run, spec, site)

    async def submit_now(self, run: RunRecord, spec: JobSpec, site: OpenSite) -> RunRecord:
        """Submit a run that is written down and has its folder, under the token of its job.

        Raises
        ------
        NotSubmitted
            If it could never run, was refused, or (transient) nobody knows.
        """
        upstream = {follow.token: await self.run(follow.token) for follow in spec.after}
        dependencies = dependencies_at(site.name, spec.after, await self.rows(upstream.values()))
        request = self.request(spec, Path(run.folder), dependencies)
        facts = await site.monitor.site()
        if problems := problems_with(request, facts.nodes, facts.queues, self.language):
            raise NotSubmitted(
                "\n".join([translate(self.language, "cli.never_runs"), *(f"- {one}" for one in problems)])
            )
        (row,) = await site.dispatcher.submit([request], folder=run.folder, tokens=[run.job])
        if row.state == REFUSED:
            raise NotSubmitted(row.reason or "The scheduler refused the job.")
        if row.state == SUBMITTING:
            raise NotSubmitted(
                f"Nobody knows yet whether the job {run.token} reached the queue: {row.reason}",
                "It is found out by itself; do not submit it again.",
                transient=True,
            )
        if spec.image:
            with contextlib.suppress(LedgerError):  # the job's own record says it as well
                await asyncio.to_thread(self.ledger.update_job, run.job, environment=spec.image)
        return run

    async def recover(self) -> list[RunRecord]:
        """Submit what was promised and certainly never submitted; return it: see `recovering.recover`."""
        return await recover(self)

    async def submit_promised(self, run: RunRecord, *, told: bool = True) -> bool:
        """Submit a run that is written down and has no job yet, unless it has to wait: see `recovering`."""
        return await submit_promised(self, run, self._submit_run if told else self.submit_now)

    # --- watching ---------------------------------------------------------------------------------------------------

    async def runs(self, *, limit: int | None = _MOST_SHOWN) -> list[RunRecord]:
        """Return the user's runs, the newest first."""
        return await asyncio.to_thread(self.ledger.runs, user=self.user, limit=limit)

    async def run(self, token: str, field: str = "job") -> RunRecord:
        """Return one of the user's runs.

        Raises
        ------
        ParameterError
            If there is none, or it is another user's, of which nothing is told.
        """
        found = await asyncio.to_thread(self.ledger.run, token)
        if found is None or found.user != self.user:
            raise ParameterError(field, f"There is no job “{token[:60]}”.", "springtide jobs lists yours.")
        return found

    async def rows(self, runs: Collection[RunRecord]) -> dict[str, JobRecord]:
        """Return the rows of the runs' jobs, by the runs' tokens; one that was never submitted has none."""
        return await asyncio.to_thread(self.ledger.jobs_of, list(runs))

    async def look(self, runs: Sequence[RunRecord], *, fresh: bool = True) -> list[Look]:
        """Return what is known of runs, the schedulers asked anew where something may have changed."""
        rows = await self.rows(runs)
        outages: dict[str, str] = {}
        held = await held_among(self, runs, rows) if fresh else Held()
        for name in {row.site for row in rows.values() if not row.over} | held.sites if fresh else ():
            try:
                site = await self.site(name)
                await site.dispatcher.settle()
                await site.dispatcher.refresh()
            except QueueError as error:
                outages[name] = error.message
        rows = await self.rows(runs)
        if fresh and await submit_held(self, held):
            rows = await self.rows(runs)
        looks = [look_at_run(run, rows.get(run.token), outages.get(run.site, ""), self.language) for run in runs]
        return await asyncio.to_thread(lambda: [with_progress(look, self.ledger) for look in looks])

    def changes(self, *, limit: int | None = _MOST_SHOWN) -> AsyncGenerator[list[Look], None]:
        """Yield the user's runs, then again and again those that are new or have changed: see `changes_at`."""
        return changes_at(self, limit=limit)

    async def cancel(self, run: RunRecord) -> bool:
        """End a job; return whether it was not over.

        Raises
        ------
        QueueUnreachable
            If the scheduler does not answer: the wish is kept.
        JobError
            If the job was never submitted.
        """
        row = (await self.rows([run])).get(run.token)
        if row is None and await end_held(self, run, Cause.CANCELLED, by=self.user):
            return True
        row = row or (await self.rows([run])).get(run.token)
        if row is None:
            raise JobError(f"The job {run.token} was never submitted.")
        site = await self.site(row.site)
        return bool(await site.dispatcher.cancel([row.token], self.user))
