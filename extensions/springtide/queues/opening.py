"""Opening a site for the account that calls: its queue, its monitor, the ledger, and the way to submit."""

from __future__ import annotations

import contextlib
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from springtide.errors import QueueError, QueueUnreachable
from springtide.lab.models import BatchSite, Lab, LocalSite
from springtide.ledger.store import Ledger
from springtide.queues.accounts import Account, UserQueue
from springtide.queues.base import Queue
from springtide.queues.commands import as_sentence, run_command
from springtide.queues.detect import Found, find_scheduler, open_queue
from springtide.queues.dispatch import Dispatcher
from springtide.queues.local.queue import PROGRAM, LocalQueue, commands_folder
from springtide.queues.monitor import Monitor

LOCAL = "local"
"""Name of this machine's queue in a lab that has no site for this machine."""
# Asking this machine costs nothing that others would miss.
_INTERVALS_S = {LOCAL: 1.0}
_INTERVAL_S = 10.0


@dataclass(frozen=True)
class OpenSite:
    """A site, as the calling account uses it."""

    name: str
    queue: Queue
    account: Account
    monitor: Monitor
    ledger: Ledger
    dispatcher: Dispatcher
    answers: bool = True
    """Whether its scheduler answered when the site was opened."""

    @property
    def user_queue(self) -> UserQueue:
        """The queue, as the account's own."""
        return self.dispatcher.user_queue


def caller() -> Account:
    """Return the account that runs this process."""
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:
        raise QueueError(f"The account number {os.geteuid()} has no name on this machine.") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), "same")


async def open_site(lab: Lab, ledger: Ledger, name: str = "", *, silent_too: bool = False) -> OpenSite:
    """Return the site called `name`, else the default: the first batch site that is found, else this machine.

    Parameters
    ----------
    silent_too : bool
        Whether to open one that does not answer, for what can be written down meanwhile.

    Raises
    ------
    QueueError
        If there is no such site, or its commands are not here.
    QueueUnreachable
        If it does not answer: each further command might take as long to fail.
    """
    site, queue, outage = await _queue_of(lab, name)
    if outage and not silent_too:
        raise outage
    account = caller()
    monitor = Monitor(queue, interval_s=_INTERVALS_S.get(queue.dialect, _INTERVAL_S))
    dispatcher = Dispatcher(site, UserQueue(queue, account), monitor, ledger, account.name)
    return OpenSite(site, queue, account, monitor, ledger, dispatcher, answers=outage is None)


async def _queue_of(lab: Lab, name: str) -> tuple[str, Queue, QueueUnreachable | None]:
    """Return a site's name, its queue, and what it says where it does not answer."""
    if name:
        site = lab.sites.get(name)
        if isinstance(site, BatchSite):
            return _opened(lab, name, await find_scheduler(site))
        if isinstance(site, LocalSite) or name == LOCAL:
            return name, open_local_queue(), None
        known = ", ".join(dict.fromkeys((*lab.sites, LOCAL)))
        raise QueueError(f"There is no site “{name}”.", f"The lab has: {known}.")
    for batch_name, batch in lab.sites.items():
        if isinstance(batch, BatchSite):
            with contextlib.suppress(QueueError):
                return _opened(lab, batch_name, await find_scheduler(batch))
    return local_site(lab), open_local_queue(), None


def _opened(lab: Lab, name: str, found: Found) -> tuple[str, Queue, QueueUnreachable | None]:
    if found.answers:
        return name, open_queue(found), None
    place = f"{name} ({found.dialect}, commands in {found.folder})"
    outage = QueueUnreachable(
        f"The scheduler of {place} does not answer: {as_sentence(found.words)}",
        f"Try again later. This machine's own queue is --site {local_site(lab)}.",
    )
    return name, open_queue(found), outage


def local_site(lab: Lab) -> str:
    """Return the name of this machine's queue: that of the lab's site for processes of this machine."""
    machines = {name: site for name, site in lab.sites.items() if isinstance(site, LocalSite)}
    return next((name for name, site in machines.items() if site.runtime == "host"), next(iter(machines), LOCAL))


def open_local_queue() -> Queue:
    """Return this machine's own queue.

    Raises
    ------
    QueueError
        If its command is missing.
    """
    folder = commands_folder()
    if not (folder / PROGRAM).exists():
        raise QueueError(
            f"The command {PROGRAM} of this machine's queue is missing in {folder}.",
            "It comes with Springtide: install it again, or name another site with --site.",
        )
    return LocalQueue(folder, run_command)
