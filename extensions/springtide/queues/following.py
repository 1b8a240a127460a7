"""Following the caller's jobs at an open site until they are over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from springtide.errors import QueueUnreachable
from springtide.ledger.records import JobRecord
from springtide.queues.model import JobState
from springtide.queues.opening import OpenSite

# Somebody waits: what has just changed may soon change again, what has not rarely does.
_FIRST_PAUSE_S = 1.0


async def refreshed(site: OpenSite) -> tuple[dict[str, JobRecord], QueueUnreachable | None]:
    """Bring the caller's open jobs at a site up to date; return their rows by token, and the outage if there is one."""
    try:
        await site.dispatcher.settle()
        rows = await site.dispatcher.refresh()
    except QueueUnreachable as outage:
        return {}, outage
    return {row.token: row for row in rows}, None


async def wait_until_over(
    site: OpenSite, row: JobRecord, say: Callable[[JobState | None, str], None] = lambda state, outage: None
) -> JobRecord:
    """Return the row of a job once it is over, asking as seldom as the site's monitor does.

    Parameters
    ----------
    say : callable
        Called with each new state, and with the words of an outage, through which it goes on waiting.
    """
    said: tuple[JobState | None, str] = (None, "")
    pause_s = _FIRST_PAUSE_S
    while not row.over:
        within_s = pause_s / 2 if pause_s < site.monitor.interval_s else None
        sight = await site.monitor.look(row.job_id, within_s=within_s) if row.job_id else None
        if sight is None or sight.ended:
            rows, _ = await refreshed(site)
            row = rows.get(row.token) or await asyncio.to_thread(site.ledger.job, row.token) or row
        now = (sight.job.state if sight and sight.job else None, sight.outage if sight else "")
        if now != said and any(now):
            say(*now)
            said, pause_s = now, _FIRST_PAUSE_S
        if not row.over:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, site.monitor.interval_s)
    return row
