"""``springtide cancel``: ends jobs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace

import click

from springtide.cli.jobs import Facts, Named, UnknownJob, explained, find_job, refreshed
from springtide.cli.sites import OpenSite, Options, caller, language, open_site, site_options
from springtide.cli.tables import print_json
from springtide.ledger.store import Ledger
from springtide.queues.views import JobView
from springtide.texts import translator


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option("--json", "as_json", is_flag=True, help="Print the jobs as JSON.")
@site_options
def cancel(options: Options, jobs: Sequence[str], as_json: bool) -> None:
    """End JOBs, whether they wait or run; say which were over already.

    Exit status: 0 all are cancelled or were over, 1 one is unknown or its scheduler does not answer. A wish that did
    not reach the scheduler is kept, and fulfilled at the next springtide status.
    """
    with options.ledger() as ledger:
        done, unknown = asyncio.run(_cancel_all(options, ledger, jobs))
    if as_json:
        print_json([view.as_json() for view, _ in done])
    else:
        for view, was_over in done:
            click.echo(_sentence(view, was_over))
    for error in unknown:
        click.echo(str(error), err=True)
    sys.exit(1 if unknown else 0)


def _sentence(view: JobView, was_over: bool) -> str:
    text = translator(language())
    job = view.id or view.token
    return text("cli.was_over", job=job, words=view.explanation) if was_over else text("cli.cancelled", job=job)


async def _cancel_all(
    options: Options, ledger: Ledger, jobs: Sequence[str]
) -> tuple[list[tuple[JobView, bool]], list[UnknownJob]]:
    """Return the jobs, each with whether it was over already, and the errors about names that nobody knows."""
    done, unknown = [], []
    sites: dict[str, OpenSite] = {}
    for name in jobs:
        try:
            named, opened = await find_job(options, ledger, name)
        except UnknownJob as error:
            unknown.append(error)
            continue
        site = sites.get(named.site) or opened or await open_site(options, ledger, named.site, silent_too=True)
        if named.site not in sites:
            sites[named.site] = site
            if site.answers:
                await refreshed(site)
        done.append(await _cancel(site, ledger, named))
    return done, unknown


async def _cancel(site: OpenSite, ledger: Ledger, named: Named) -> tuple[JobView, bool]:
    if named.record is None or named.index:
        over = await site.user_queue.cancel_all([named.id])
        return replace(named.view(), id=named.id), named.id in over
    cancelled = await site.dispatcher.cancel([named.record.token], caller().name)
    row = await asyncio.to_thread(ledger.job, named.record.token)
    one = Named(named.site, row or named.record)
    return explained(one.view(), one.info, Facts(), language()), not cancelled
