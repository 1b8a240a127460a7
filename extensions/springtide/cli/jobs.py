"""Jobs as people name them on the command line: found in the ledger or at the scheduler, and explained."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass

from springtide.cli.sites import OpenSite, Options, caller, open_site
from springtide.errors import QueueError, QueueUnreachable
from springtide.ledger.records import JobRecord
from springtide.ledger.store import Ledger
from springtide.queues.following import refreshed, wait_until_over
from springtide.queues.model import JobInfo, JobState, Node, QueueLimits
from springtide.queues.reasons import explain, explain_end
from springtide.queues.views import JobView, info_of_record, merged, view_of_job, view_of_record
from springtide.texts import translate

__all__ = [
    "Facts",
    "Named",
    "UnknownJob",
    "explained",
    "facts_of",
    "find_job",
    "record_of",
    "refreshed",
    "wait_until_over",
]

# 12, 12.server, 12[], 12[3].server, 12_3 (an array's job in Slurm).
_ID = re.compile(r"(?P<number>\d+)(?P<array>\[(?P<position>\d*)\]|_(?P<index>\d+))?(?P<server>\..+)?")
_KNOWN_BY_NUMBER = 1000


class UnknownJob(QueueError):
    """Nobody knows a job of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no job “{name}”.", "springtide status lists yours; springtide queue --all lists the site's."
        )


@dataclass(frozen=True)
class Named:
    """A job as somebody named it: its row, or the scheduler's word where it was not submitted by Springtide."""

    site: str
    record: JobRecord | None = None
    job: JobInfo | None = None
    index: str = ""
    """Of an array's job; empty: the job, or the array as a whole."""

    @property
    def id(self) -> str:
        """The scheduler's id, of the array's job where one is meant."""
        job_id = self.record.job_id if self.record else self.job.id if self.job else ""
        return id_of_index(job_id, self.index, self.record.dialect if self.record else "") if self.index else job_id

    @property
    def info(self) -> JobInfo | None:
        """What is known of it, in the scheduler's form."""
        return self.job or (info_of_record(self.record) if self.record else None)

    def view(self) -> JobView:
        """Return what is known of it."""
        if self.record and self.job:
            return merged(self.record, self.job)
        if self.record:
            return view_of_record(self.record)
        assert self.job is not None  # one of both is there
        return view_of_job(self.job, self.site)


def id_of_index(array_id: str, index: str, dialect: str) -> str:
    """Return the id of one job of an array: ``12[3].server`` of ``12[].server``, ``12_3`` of Slurm's ``12``."""
    if "[]" in array_id:
        return array_id.replace("[]", f"[{index}]")
    return f"{array_id}_{index}"


def record_of(ledger: Ledger, name: str, *, site: str = "") -> Named | None:
    """Return the row that `name` means: a token, an id, or an id without its server; the newest."""
    if row := ledger.job(name):
        return Named(row.site, row)
    token, bracket, index = name.partition("[")
    # One run of a sweep, or a run whose first try made no job.
    if (run := ledger.run(token)) and (row := ledger.job(run.job)) and (not bracket or index.endswith("]")):
        return Named(row.site, row, index=index.removesuffix("]"))
    match = _ID.fullmatch(name)
    if not match:
        return None
    index = match["position"] or match["index"] or ""
    rows = ledger.jobs(site=site, user=caller().name, limit=_KNOWN_BY_NUMBER)
    row = next((row for row in rows if row.job_id and _means(match, row.job_id)), None)
    return Named(row.site, row, index=index) if row else None


def _means(asked: re.Match[str], job_id: str) -> bool:
    """Whether an id, perhaps without its server or of a job of the array, means `job_id`."""
    known = _ID.fullmatch(job_id)
    if not known or known["number"] != asked["number"] or (asked["server"] or known["server"]) != known["server"]:
        return job_id == asked[0]
    return asked["array"] is None or known["array"] is not None or asked["index"] is not None


async def find_job(options: Options, ledger: Ledger, name: str) -> tuple[Named, OpenSite | None]:
    """Return the job called `name`, with its site where that had to be opened.

    Raises
    ------
    UnknownJob
        If neither the ledger nor the scheduler knows it.
    QueueUnreachable
        If the ledger does not know it and the scheduler cannot be asked.
    """
    named = await asyncio.to_thread(record_of, ledger, name, site=options.site)
    if named is not None:
        return named, None
    match = _ID.fullmatch(name)
    if match is None:
        raise UnknownJob(name)
    opened = await open_site(options, ledger)
    jobs = await opened.queue.snapshot()
    job_id = next((known for known in jobs if _means(match, known)), name)
    found = await opened.queue.details([job_id])
    job = found.get(job_id) or jobs.get(job_id) or next((job for job in found.values() if _means(match, job.id)), None)
    if job is None:
        raise UnknownJob(name)
    return Named(opened.name, None, job, match["position"] or match["index"] or ""), opened


@dataclass
class Facts:
    """What a site has, as explanations need it; empty where it cannot be asked."""

    nodes: tuple[Node, ...] = ()
    queues: tuple[QueueLimits, ...] = ()


async def facts_of(site: OpenSite, views: Iterable[JobView]) -> Facts:
    """Return the site's nodes and queues if one of the jobs waits: only those need an explanation by figures."""
    if not any(view.state in _WAITING for view in views):
        return Facts()
    try:
        known = await site.monitor.site()
    except QueueUnreachable:
        return Facts()
    return Facts(known.nodes, known.queues)


_WAITING = frozenset(state.value for state in JobState if state.waits)


def explained(view: JobView, job: JobInfo | None, facts: Facts, language: str) -> JobView:
    """Return the job with a sentence on why it waits or how it ended, and what to do about it."""
    if job is None:
        return view
    if not job.state.alive:
        return view.explained(explain_end(job, language), "")
    if not job.state.waits:
        again = translate(language, "cli.runs_again", count=job.runs) if (job.runs or 0) > 1 else ""
        return view.explained(again, "") if again else view
    found = explain(job, facts.nodes, facts.queues, language)
    return view.explained(found.sentence, found.advice)
