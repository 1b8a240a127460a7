"""Which site a job goes to: the one that is wished for, that of the jobs it follows, or the one that starts first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.errors import ParameterError, QueueError
from springtide.jobs import routing
from springtide.jobs.chains import must_wait
from springtide.jobs.software import objection_to
from springtide.jobs.spec import JobSpec
from springtide.ledger.records import RunRecord
from springtide.queues.model import JobRequest
from springtide.queues.opening import OpenSite

if TYPE_CHECKING:
    from springtide.jobs.desk import Desk

_ANY = ("", routing.AUTO)


async def at_site(
    desk: Desk, spec: JobSpec, wished: str, upstream: Mapping[str, RunRecord]
) -> tuple[JobSpec, OpenSite]:
    """Return the spec for a site, and the site.

    Raises
    ------
    ParameterError
        If there is no such site.
    NotSubmitted
        If the job could never run there.
    """
    rows = await desk.rows(upstream.values())
    open_upstream = {run.site for run in upstream.values() if run.token not in rows or not rows[run.token].over}
    # Their queue knows best when they are over.
    near = sorted(open_upstream)[:1] if wished in _ANY else []
    chosen_by_us = wished in _ANY and not near
    candidates = await desk.candidates(spec, near[0] if near else wished, foreseeing=chosen_by_us)
    best, reason = routing.choose(candidates, desk.language)
    site = await desk.site(best.site)
    must_wait(site.name, spec.after, rows)
    return spec.at(site.name, reason if wished in _ANY else ""), site


async def candidates_for(desk: Desk, spec: JobSpec, wished: str, *, foreseeing: bool) -> list[routing.Candidate]:
    """Return the sites that could run something, each with when it may be expected to start there.

    Parameters
    ----------
    foreseeing : bool
        Whether that is asked for; the scheduler may have to be.

    Raises
    ------
    ParameterError
        If there is no such site.
    QueueError
        If the one that is wished for cannot be used now.
    """
    names = desk.names_of_sites(wished)
    sites = [site for name in names if (site := await _site_or_none(desk, name, names))]
    request = replace(desk.request(spec, Path("/"), ()), dependencies=())
    if len(sites) == 1:  # what is against it is said when it is submitted, with what to do
        return [await routing.look_at(sites[0], request, desk.language, foreseeing=foreseeing)]
    environment = spec.application.partition("/")[0]
    return [await _candidate(desk, environment, site, request, foreseeing=foreseeing) for site in sites]


async def _candidate(
    desk: Desk, environment: str, site: OpenSite, request: JobRequest, *, foreseeing: bool
) -> routing.Candidate:
    if objection := await asyncio.to_thread(objection_to, desk.lab, environment, site.name):
        return routing.Candidate(site.name, objection=objection)
    return await routing.look_at(site, request, desk.language, foreseeing=foreseeing)


async def _site_or_none(desk: Desk, name: str, names: Sequence[str]) -> OpenSite | None:
    try:
        return await desk.site(name)
    except QueueError:
        if len(names) == 1:
            raise
        return None


def named(wished: str, known: Sequence[str]) -> list[str]:
    """Return those of the sites that are known which may be meant.

    Raises
    ------
    ParameterError
        If there is none of this name.
    """
    if wished in _ANY:
        return list(known)
    if wished not in known:
        raise ParameterError(
            "site", f"There is no site “{wished[:60]}” that runs jobs.", f"There is: {', '.join(known)}."
        )
    return [wished]
