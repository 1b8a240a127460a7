"""Ends batch sessions that the ledger knows and the hub does not: its database was lost, or restored from a copy."""

from __future__ import annotations

import logging

from springtide.errors import QueueError
from springtide.hub.context import HubContext
from springtide.ledger.records import LOST, JobRecord
from springtide.queues.accounts import UserQueue

LOG = logging.getLogger("JupyterHub.reaping")


async def reap(context: HubContext) -> None:
    """Cancel the jobs of this hub's sessions that it has forgotten, and close their rows.

    What cannot be asked about now stays as it is, for the next start.
    """
    for row in await context.rows.open_rows():
        if row.origin == context.instance and row.token not in context.tokens.values():
            try:
                await _end(context, row)
            except QueueError as error:
                LOG.warning("Session %s of %s may still run at %s: %s", row.token, row.user, row.site, error)


async def _end(context: HubContext, row: JobRecord) -> None:
    if row.dialect:
        site = context.batch_site(row.site)
        monitor = await context.monitor_of(row.site, site)
        queue = UserQueue(monitor.queue, context.account_of(row.user, site))
        job = await queue.find(row.scheduler_name)
        if job is not None and job.state.alive:
            LOG.warning("Cancelling job %s of %s: no session of this hub explains it", job.id, row.user)
            await queue.cancel(job.id)
    await context.rows.end(row.token, state=LOST, reason="the hub no longer knew this session")
