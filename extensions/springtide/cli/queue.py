"""``springtide queue``: what runs at a site, what waits and why, and what is free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import click
from rich.console import RenderableType
from rich.live import Live
from rich.markup import escape

from springtide.cli.jobs import Facts, explained
from springtide.cli.sites import OpenSite, Options, language, open_site, site_options
from springtide.cli.tables import (
    JOB_COLUMNS,
    NODE_COLUMNS,
    is_terminal,
    jobs_table,
    plain,
    print_json,
    print_screen,
    stacked,
    table,
)
from springtide.ledger.store import Ledger
from springtide.queues.model import JobInfo, Node, QueueLimits
from springtide.queues.views import JobView, merged, view_of_job
from springtide.texts import Translate, translator
from springtide.units import describe_duration

_SHOWN_JOB_COLUMNS = tuple(column for column in JOB_COLUMNS if column.key not in ("site", "exit_status"))
_ORDER = ("running", "ending", "suspended", "queued", "waiting", "held")


@dataclass(frozen=True)
class Overview:
    """A site at one moment."""

    site: str
    dialect: str
    jobs: tuple[JobView, ...]
    """Live ones, of all users."""
    nodes: tuple[Node, ...]
    queues: tuple[QueueLimits, ...]
    user: str
    outage: str = ""
    """Why there is nothing newer, in the scheduler's words."""
    age_s: float = 0.0

    def shown(self, everyone: bool) -> list[JobView]:
        """Return the jobs to show, those that run first."""
        jobs = [job for job in self.jobs if everyone or job.user == self.user]
        return sorted(jobs, key=lambda job: (_ORDER.index(job.state), job.submitted or 0.0))


@click.command()
@click.argument("place", default="", metavar="[SITE]")
@click.option("--all", "everyone", is_flag=True, help="Show everyone's jobs, not only yours.")
@click.option(
    "--watch/--once",
    default=None,
    help="Stay and show changes as they come, until Ctrl-C, or print and end [default: stay on a terminal].",
)
@click.option("--json", "as_json", is_flag=True, help="Print jobs, nodes and queues as JSON.")
@site_options
def queue(options: Options, place: str, everyone: bool, watch: bool | None, as_json: bool) -> None:
    """Show what runs and waits at SITE, why it waits, and what is free.

    On a terminal, a table that stays up to date until Ctrl-C; the scheduler is asked four times a minute at most while
    nothing changes.

    In a pipe, lines of values between tabs: first the jobs, then, below an empty line, the nodes.
    """
    live = is_terminal() and not as_json and watch is not False
    with options.ledger() as ledger:
        try:
            asyncio.run(_queue(replace(options, site=place or options.site), ledger, everyone, live, as_json))
        except KeyboardInterrupt:
            if not live:
                raise


async def _queue(options: Options, ledger: Ledger, everyone: bool, live: bool, as_json: bool) -> None:
    site = await open_site(options, ledger)
    overview = await look(site)
    if as_json:
        print_json(_as_json(overview, everyone))
    elif live:
        await _watch(site, overview, everyone)
    elif is_terminal():
        print_screen(_screen(overview, everyone, translator(language())))
    else:
        click.echo(plain(_SHOWN_JOB_COLUMNS, overview.shown(everyone)))
        click.echo("\n" + plain(NODE_COLUMNS, overview.nodes))


async def look(site: OpenSite) -> Overview:
    """Return all that a site has, asking it as seldom as its monitor does.

    Raises
    ------
    QueueUnreachable
        If it has never answered.
    """
    jobs, known = await site.monitor.snapshot(), await site.monitor.site()
    facts = Facts(known.nodes, known.queues)
    live = [job for job in jobs.jobs.values() if job.state.alive]
    views = await asyncio.to_thread(_views, site, live, facts)
    outage = jobs.outage or known.outage
    age_s = max(jobs.age_s, known.age_s if known.outage else 0.0)
    return Overview(
        site.name, site.queue.dialect, tuple(views), known.nodes, known.queues, site.account.name, outage, age_s
    )


def _views(site: OpenSite, jobs: Sequence[JobInfo], facts: Facts) -> list[JobView]:
    rows = {row.job_id: row for row in site.ledger.jobs(site=site.name, user=site.dispatcher.user, open_only=True)}
    views = []
    for job in jobs:
        row = rows.get(job.id)
        # Some schedulers cut their owners' names.
        view = replace(merged(row, job), user=site.account.name) if row else view_of_job(job, site.name)
        views.append(explained(view, job, facts, language()))
    return views


def _as_json(overview: Overview, everyone: bool) -> dict[str, object]:
    return {
        "site": overview.site,
        "dialect": overview.dialect,
        "jobs": [job.as_json() for job in overview.shown(everyone)],
        "nodes": [vars(node) for node in overview.nodes],
        "queues": [vars(limits) for limits in overview.queues],
    }


def _screen(overview: Overview, everyone: bool, text: Translate, foot: str = "") -> RenderableType:
    """Return the site for people; the part that matters most stands where the eye is: last, or first on a live screen.

    Parameters
    ----------
    foot : str
        What a live screen says of itself: a screen is cut off below.
    """
    usable = [node for node in overview.nodes if node.usable]
    free, total = sum(node.free_cores for node in usable), sum(node.cores for node in usable)
    title = text("cli.site_title", site=overview.site, dialect=overview.dialect, free=free, total=total)
    nodes, jobs = table(NODE_COLUMNS, overview.nodes, text), _jobs(overview, everyone, text)
    head = f"[bold]{escape(title)}[/]"
    if foot:
        return stacked(head, f"[dim]{escape(foot)}[/]", "", jobs, "", nodes)
    return stacked(head, "", nodes, "", jobs)


def _jobs(overview: Overview, everyone: bool, text: Translate) -> RenderableType:
    jobs = overview.shown(everyone)
    shown: RenderableType = text("cli.no_jobs_at_all") if everyone else text("cli.no_jobs")
    if jobs:
        shown = jobs_table(_SHOWN_JOB_COLUMNS, jobs, text)
    others = [job for job in overview.jobs if job.user != overview.user]
    if not others or everyone:
        return shown
    running = sum(job.state == "running" for job in others)
    return stacked(shown, text("cli.jobs_of_others", running=running, waiting=len(others) - running))


async def _watch(site: OpenSite, overview: Overview, everyone: bool) -> None:
    """Show the site until Ctrl-C, asking once an interval; leave what was seen last."""
    text = translator(language())
    try:
        with Live(screen=True, auto_refresh=False) as live:
            while True:
                live.update(_screen(overview, everyone, text, _foot(site, overview, text)), refresh=True)
                await asyncio.sleep(site.monitor.interval_s)
                overview = await look(site)
    finally:
        print_screen(_screen(overview, everyone, text))


def _foot(site: OpenSite, overview: Overview, text: Translate) -> str:
    if overview.outage:
        age = describe_duration(overview.age_s)
        return text("cli.unreachable", site=site.name, words=overview.outage, age=age)
    return text("cli.as_of", time=time.strftime("%H:%M:%S"), seconds=f"{site.monitor.interval_s:g}")
