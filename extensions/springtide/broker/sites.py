"""The lab's sites as the broker has them: one queue and one poller each, whoever asks; and whose account works."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from springtide.errors import QueueError
from springtide.lab.models import BatchSite, Lab, LocalSite
from springtide.ledger.store import Ledger
from springtide.queues.accounts import Account, UserQueue, account_of
from springtide.queues.detect import find_scheduler, open_queue
from springtide.queues.dispatch import Dispatcher
from springtide.queues.monitor import Monitor
from springtide.queues.opening import OpenSite, local_site, open_local_queue

_LOCAL_INTERVAL_S = 1.0


@dataclass
class Sites:
    """One per broker."""

    lab: Lab
    ledger: Ledger
    outages: dict[str, str] = field(default_factory=dict)
    """What silent schedulers said last, by site."""
    _monitors: dict[str, Monitor] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def batch(self) -> dict[str, BatchSite]:
        """The batch sites that the lab names."""
        return {name: site for name, site in self.lab.sites.items() if isinstance(site, BatchSite)}

    def account_of(self, user: str) -> Account:
        """Return the account that works for a user: that of the first batch site which has one.

        Raises
        ------
        QueueError
            If there is none.
        """
        proven = self.lab.authentication.kind != "shared-password"
        refused: QueueError | None = None
        for site in self.batch.values():
            try:
                return account_of(user, site.accounts, proven=proven)
            except QueueError as error:
                refused = refused or error
        raise refused or QueueError("This lab has no batch site.")

    def names_for(self, account: Account) -> list[str]:
        """Return the sites at which an account may run jobs: its own machine only where sessions are its processes."""
        here = local_site(self.lab)
        runs_here = account.way == "same" and isinstance(self.lab.sites.get(here), LocalSite)
        return [*([here] if runs_here else []), *self.batch]

    async def open(self, name: str, user: str, account: Account) -> OpenSite:
        """Return a site as one user's.

        Raises
        ------
        QueueError
            If its commands are not here.
        QueueUnreachable
            If it has never answered yet.
        """
        async with self._lock:
            if name not in self._monitors:
                self._monitors[name] = await self._monitor(name)
        monitor = self._monitors[name]
        dispatcher = Dispatcher(name, UserQueue(monitor.queue, account), monitor, self.ledger, user)
        return OpenSite(name, monitor.queue, account, monitor, self.ledger, dispatcher)

    async def _monitor(self, name: str) -> Monitor:
        site = self.lab.sites.get(name)
        if isinstance(site, BatchSite):
            return Monitor(open_queue(await find_scheduler(site)))
        return Monitor(open_local_queue(), interval_s=_LOCAL_INTERVAL_S)


def jobs_folder(user: str, account: Account) -> Path:
    """Return where a user's jobs have their folders; users who share an account have one each."""
    if account.name == user:
        return account.home / "springtide" / "jobs"
    # No user name makes a path of its own: quoted, it has no slash, and a dot at its beginning is one no more.
    return account.home / "springtide" / "jobs-of" / f"u-{quote(user, safe='')}"
