"""Opening a site for the account that calls a command: its queue, its monitor, the ledger, and the way to submit."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from springtide.errors import QueueError, QueueUnreachable
from springtide.hub.state import default_state_directory
from springtide.lab.load import load_lab
from springtide.lab.models import BatchSite, Lab, LocalSite
from springtide.ledger.place import own_ledger_url
from springtide.ledger.store import Ledger
from springtide.queues.accounts import Account, UserQueue
from springtide.queues.base import Queue
from springtide.queues.commands import as_sentence, run_command
from springtide.queues.detect import Found, find_scheduler, open_queue
from springtide.queues.dispatch import Dispatcher
from springtide.queues.local.queue import PROGRAM, LocalQueue, commands_folder
from springtide.queues.monitor import Monitor
from springtide.share import share_path
from springtide.texts import pick_language

LOCAL = "local"
"""Name of this machine's queue in a lab that has no site for this machine."""
# Asking this machine costs nothing that others would miss.
_INTERVALS_S = {LOCAL: 1.0}
_INTERVAL_S = 10.0
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Options:
    """What all commands about jobs take."""

    lab_path: Path | None
    state_path: Path | None
    ledger_place: str
    site: str

    @functools.cached_property
    def lab(self) -> Lab:
        """The lab file."""
        return load_lab(self.lab_path or Path(os.environ.get("SPRINGTIDE_LAB") or share_path("hub_config", "lab.yaml")))

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """Yield the ledger of this account, or of the lab where its file names a database for all."""
        state = self.state_path or default_state_directory(self.lab)
        place = self.ledger_place or own_ledger_url(self.lab.hub.ledger, state.absolute())
        with Ledger.open(place) as ledger:
            yield ledger


def site_options(function: _Function) -> _Function:
    """Give a command the options ``--lab``, ``--state``, ``--ledger`` and ``--site``, as one argument `options`."""

    @functools.wraps(function)
    def command(lab_path: Path | None, state_path: Path | None, ledger_place: str, site: str, **arguments: Any) -> Any:
        return function(options=Options(lab_path, state_path, ledger_place, site), **arguments)

    path = click.Path(path_type=Path)
    for option in (
        click.option("--site", default="", help="Site [default: the first batch site found, else this machine]."),
        click.option("--ledger", "ledger_place", default="", help="Ledger: a file or a database's URL."),
        click.option("--state", "state_path", type=path, help="State directory, where the ledger lies."),
        click.option("--lab", "lab_path", type=path, help="Lab file [default: the one shipped]."),
    ):
        command = option(command)
    return command  # type: ignore[return-value]  # click's decorators keep what a command is called with


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
    """Return the account that runs this command."""
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:
        raise QueueError(f"The account number {os.geteuid()} has no name on this machine.") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), "same")


async def open_site(options: Options, ledger: Ledger, name: str = "", *, silent_too: bool = False) -> OpenSite:
    """Return the site called `name`, else the one that is asked for, else the default.

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
    site, queue, outage = await _queue_of(options.lab, name or options.site)
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


def language() -> str:
    """Return the language of the person at the terminal."""
    said = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
    return pick_language(said.partition(".")[0].replace("_", "-"))
