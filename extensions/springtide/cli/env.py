"""``springtide env``: what sessions run in, from a new folder to an image in a registry."""

from __future__ import annotations

import importlib

import click

# Each imported when it is called: listing needs less than building.
_COMMANDS = {
    "build": ("springtide.cli.env_images", "build"),
    "cache": ("springtide.cli.env_cache", "cache"),
    "check": ("springtide.cli.env_check", "check"),
    "convert": ("springtide.cli.env_cache", "convert"),
    "diff": ("springtide.cli.env_show", "diff"),
    "list": ("springtide.cli.env_show", "list_all"),
    "new": ("springtide.cli.env_new", "new"),
    "pull": ("springtide.cli.env_images", "pull"),
    "push": ("springtide.cli.env_images", "push"),
    "remove": ("springtide.cli.env_images", "remove"),
    "show": ("springtide.cli.env_show", "show"),
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


@click.group(cls=_Commands)
def env() -> None:
    """Make, build, check and publish environments: container images with their kernels.

    NAME is an environment of the lab file or one that is shipped; or a folder with a recipe, written with a “/”.
    """
