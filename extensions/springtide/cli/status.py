"""``springtide status``: what became of jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import click

from springtide.cli.jobs import Facts, Named, explained, facts_of, find_job, refreshed
from springtide.cli.sites import OpenSite, Options, caller, language, open_site, site_options
from springtide.cli.tables import is_terminal, print_json, show_jobs
from springtide.errors import QueueError
from springtide.ledger.records import SUBMITTING, JobRecord
from springtide.ledger.store import Ledger
from springtide.queues.views import JobView
from springtide.texts import translator
from springtide.units import describe_duration

_RECENT_S = 86400
_MOST_RECENT = 20


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option("--json", "as_json", is_flag=True, help="Print a list of jobs as JSON.")
@site_options
def status(options: Options, jobs: Sequence[str], as_json: bool) -> None:
    """Say in what state JOBs are, why they wait or how they ended.

    A JOB is an id of the scheduler or a token of the ledger; without any, yours that are open or ended lately.
    While a scheduler does not answer, its jobs are “unknown”, with what was known last.
    """
    text = translator(language())
    with options.ledger() as ledger:
        views = asyncio.run(_views(options, ledger, jobs))
    if as_json:
        print_json([view.as_json() for view in views])
    elif not views and is_terminal():
        click.echo(text("cli.no_recent_jobs"))
    else:
        show_jobs(views, text)


async def _views(options: Options, ledger: Ledger, jobs: Sequence[str]) -> list[JobView]:
    named: list[Named] = []
    opened: dict[str, OpenSite] = {}
    for name in jobs:
        one, site = await find_job(options, ledger, name)
        named.append(one)
        if site:
            opened[site.name] = site
    if not jobs:
        named = [Named(row.site, row) for row in await asyncio.to_thread(recent, ledger, options.site)]
    views: dict[int, JobView] = {}
    for site_name in dict.fromkeys(one.site for one in named):
        mine = {number: one for number, one in enumerate(named) if one.site == site_name}
        shown = await _at_site(options, ledger, site_name, list(mine.values()), opened.get(site_name))
        views |= dict(zip(mine, shown, strict=True))
    return [views[number] for number in sorted(views)]


def recent(ledger: Ledger, site: str) -> list[JobRecord]:
    """Return the caller's jobs that are open or were submitted lately, without the hub's sessions that are over."""
    user = caller().name
    rows = ledger.jobs(site=site, user=user, open_only=True)
    lately = ledger.jobs(site=site, user=user, since=time.time() - _RECENT_S, limit=_MOST_RECENT)
    tokens = {row.token for row in rows}
    return rows + [row for row in lately if row.token not in tokens]


async def _at_site(
    options: Options, ledger: Ledger, name: str, named: Sequence[Named], site: OpenSite | None
) -> list[JobView]:
    """Return the jobs of one site, asked anew where they may have changed."""
    if all(one.record is not None and one.record.over and not one.index for one in named):
        return [explained(one.view(), one.info, Facts(), language()) for one in named]
    outage: QueueError | None = None
    fresh: dict[str, JobRecord] = {}
    try:
        site = site or await open_site(options, ledger, name)
        fresh, outage = await refreshed(site)
    except QueueError as error:
        outage = error
    if outage or site is None:
        return [await asyncio.to_thread(_unknown, ledger, one) for one in named]
    current = [await _with_index(site, replace(one, record=_newer(one, fresh))) for one in named]
    facts = await facts_of(site, [one.view() for one in current])
    return [_in_words(one, facts) for one in current]


def _newer(one: Named, fresh: dict[str, JobRecord]) -> JobRecord | None:
    return fresh.get(one.record.token, one.record) if one.record else None


async def _with_index(site: OpenSite, one: Named) -> Named:
    """Return one job of an array as the scheduler knows it."""
    if not one.index or one.record is None:
        return one
    found = await site.queue.details([one.record.job_id])
    job = found.get(one.id)
    return replace(one, job=replace(job, name=one.record.name)) if job else one


def _in_words(one: Named, facts: Facts) -> JobView:
    view = explained(one.view(), one.info, facts, language())
    if one.record is not None and one.record.state == SUBMITTING:
        return view.explained(translator(language())("cli.in_doubt"), "")
    return view


def _unknown(ledger: Ledger, one: Named) -> JobView:
    """Return what the ledger knew last of a job of which nobody can be asked now."""
    view = one.view()
    if view.over or one.record is None:
        return explained(view, one.info, Facts(), language())
    text = translator(language())
    last = max([one.record.recorded, *(event.time for event in ledger.events(one.record.token, limit=1))])
    age = describe_duration(max(0.0, time.time() - last))
    return view.unknown(text("cli.unreachable_job", age=age, state=text(f"cli.state_{view.state}")))
