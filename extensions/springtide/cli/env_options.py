"""What the commands about environments share: the lab, the engine, and what the ledger remembers of images."""

from __future__ import annotations

import functools
import getpass
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import docker

from springtide.environments.engine import connect
from springtide.environments.registry.reference import Reference, parse_reference
from springtide.errors import EnvironmentsError, LedgerError
from springtide.lab.load import load_lab
from springtide.lab.models import Lab
from springtide.ledger.place import file_of, own_ledger_url, state_directory
from springtide.ledger.records import Event
from springtide.ledger.store import Ledger
from springtide.share import share_path

# Copying a gigabyte to a registry, or running an environment's tests.
ENGINE_TIMEOUT_S = 1800
_KIND = "image"


@dataclass(frozen=True)
class EnvOptions:
    """The lab whose environments are meant."""

    lab_path: Path | None
    state_path: Path | None

    @functools.cached_property
    def lab(self) -> Lab:
        """The lab file."""
        return load_lab(self.lab_path or Path(os.environ.get("SPRINGTIDE_LAB") or share_path("hub_config", "lab.yaml")))

    def record(self, name: str, reference: Reference, what: str) -> None:
        """Write into the ledger that `reference`, pinned, was sent or taken for environment `name`."""
        event = Event(time.time(), _KIND, "", f"{what} {name} {reference}", actor=getpass.getuser())
        with self._ledger() as ledger:
            ledger.add_event(event)

    def recorded(self, name: str) -> Reference | None:
        """Return the reference, pinned, that was last sent or taken for environment `name`; None where none was."""
        file = file_of(self._place)
        if file and not file.exists():
            return None  # looking must not make a ledger
        try:
            with self._ledger() as ledger:
                texts = [event.text.split() for event in ledger.events() if event.kind == _KIND]
        except LedgerError:
            return None  # looking goes on without what was recorded
        found = [words[2] for words in texts if len(words) == 3 and words[1] == name]
        try:
            return parse_reference(found[-1]) if found else None
        except EnvironmentsError:
            return None

    def is_over(self, token: str) -> bool:
        """Whether the job `token` is over, as far as the ledger here knows: one that it does not know may not be."""
        file = file_of(self._place)
        if file and not file.exists():
            return False
        with self._ledger() as ledger:
            return ledger.is_over(token)

    @property
    def state(self) -> Path:
        """The state directory."""
        return (self.state_path or state_directory(self.lab.hub.state_directory)).absolute()

    @property
    def _place(self) -> str:
        return own_ledger_url(self.lab.hub.ledger, self.state)

    def _ledger(self) -> Ledger:
        return Ledger.open(self._place)


def env_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options ``--lab`` and ``--state``, as one argument `options`."""

    @functools.wraps(function)
    def command(lab_path: Path | None, state_path: Path | None, **arguments: Any) -> Any:
        return function(options=EnvOptions(lab_path, state_path), **arguments)

    path = click.Path(path_type=Path)
    for option in (
        click.option("--state", "state_path", type=path, help="State directory, where the ledger lies."),
        click.option("--lab", "lab_path", type=path, help="Lab file [default: the one shipped]."),
    ):
        command = option(command)
    return command


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")(function)


@contextmanager
def engine() -> Iterator[docker.DockerClient]:
    """Yield a client of the Docker Engine that waits for what takes long."""
    client = connect(ENGINE_TIMEOUT_S)
    try:
        yield client
    finally:
        client.close()


def say(line: str) -> None:
    """Tell a person how it goes on: on standard error, as standard output is for the result."""
    click.echo(f"  {line}", err=True)
