"""The ``springtide`` command."""

from __future__ import annotations

import importlib
import sys

import click

from springtide import __version__
from springtide.errors import LabFileError, SpringtideError

# Where each command lives: imported when it is called, as most need only a part of what is installed.
_COMMANDS = {
    "again": ("springtide.cli.run", "again"),
    "apps": ("springtide.cli.apps", "apps"),
    "cancel": ("springtide.cli.cancel", "cancel"),
    "check": ("springtide.cli.check", "check"),
    "doctor": ("springtide.cli.doctor", "doctor"),
    "env": ("springtide.cli.env", "env"),
    "jobs": ("springtide.cli.my_jobs", "jobs"),
    "ledger": ("springtide.cli.ledger", "ledger"),
    "logs": ("springtide.cli.logs", "logs"),
    "machines": ("springtide.cli.machines", "machines"),
    "queue": ("springtide.cli.queue", "queue"),
    "quota": ("springtide.cli.quota", "quota"),
    "registry": ("springtide.cli.registry", "registry"),
    "run": ("springtide.cli.run", "run"),
    "schedules": ("springtide.cli.schedules", "schedules"),
    "schema": ("springtide.cli.check", "schema"),
    "simulate": ("springtide.cli.simulate", "simulate"),
    "status": ("springtide.cli.status", "status"),
    "submit": ("springtide.cli.submit", "submit"),
    "up": ("springtide.cli.up", "up"),
}


class _Commands(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="springtide")
def springtide() -> None:
    """One notebook desk over a lab's own machine, its batch cluster and its cloud account."""


def main() -> None:
    """Run the command; what goes wrong is said in words, with exit status 2 for a wrong lab file, else 1."""
    try:
        springtide()
    except SpringtideError as error:
        click.echo(str(error), err=True)
        sys.exit(2 if isinstance(error, LabFileError) else 1)
