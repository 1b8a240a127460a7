"""Opening a site for the account that calls a command: its queue, its monitor, the ledger, and the way to submit."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from springtide.hub.state import default_state_directory
from springtide.lab.load import load_lab
from springtide.lab.models import Lab
from springtide.ledger.place import own_ledger_url
from springtide.ledger.store import Ledger
from springtide.queues import opening
from springtide.queues.opening import LOCAL, OpenSite, caller, local_site
from springtide.share import share_path
from springtide.texts import pick_language

__all__ = [
    "LOCAL",
    "OpenSite",
    "Options",
    "caller",
    "lab_options",
    "language",
    "local_site",
    "open_site",
    "site_options",
]

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


def lab_options(function: _Function) -> _Function:
    """Give a command the options ``--lab``, ``--state`` and ``--ledger``, as one argument `options`."""

    @functools.wraps(function)
    def command(lab_path: Path | None, state_path: Path | None, ledger_place: str, **arguments: Any) -> Any:
        return function(options=Options(lab_path, state_path, ledger_place, ""), **arguments)

    path = click.Path(path_type=Path)
    for option in (
        click.option("--ledger", "ledger_place", default="", help="Ledger: a file or a database's URL."),
        click.option("--state", "state_path", type=path, help="State directory, where the ledger lies."),
        click.option("--lab", "lab_path", type=path, help="Lab file [default: the one shipped]."),
    ):
        command = option(command)
    return command  # type: ignore[return-value]  # click's decorators keep what a command is called with


async def open_site(options: Options, ledger: Ledger, name: str = "", *, silent_too: bool = False) -> OpenSite:
    """Return the site called `name`, else the one that is asked for, else the default: see `opening.open_site`."""
    return await opening.open_site(options.lab, ledger, name or options.site, silent_too=silent_too)


def language() -> str:
    """Return the language of the person at the terminal."""
    said = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
    return pick_language(said.partition(".")[0].replace("_", "-"))
