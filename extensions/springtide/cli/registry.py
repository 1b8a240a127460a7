"""``springtide registry``: the lab's own image registry."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from springtide.environments.registry.server import PORT, RegistryServer
from springtide.lab.load import load_lab
from springtide.ledger.place import state_directory
from springtide.share import share_path


def _ipv4(_: click.Context, __: click.Parameter, value: str) -> str:
    try:
        return str(ipaddress.IPv4Address(value))
    except ValueError:
        raise click.BadParameter(f"“{value}” is no IPv4 address of this machine, such as 127.0.0.1.") from None


def _server_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which registry is meant, as one argument `server`."""

    @wraps(function)
    def command(lab_path: Path | None, folder: Path | None, address: str, port: int, name: str, **others: Any) -> None:
        path = lab_path or Path(os.environ.get("SPRINGTIDE_LAB") or share_path("hub_config", "lab.yaml"))
        place = folder or state_directory(load_lab(path).hub.state_directory) / "registry"
        function(RegistryServer(place.absolute(), address, port, name), **others)

    path = click.Path(path_type=Path)
    for option in (
        click.option("--name", default="", help="What other machines call this one [default: its address]."),
        click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True, help="Its port."),
        click.option("--address", default="127.0.0.1", callback=_ipv4, help="Where it listens [default: 127.0.0.1]."),
        click.option("--folder", type=path, help="Where it keeps all [default: “registry” in the state directory]."),
        click.option("--lab", "lab_path", type=path, help="Lab file [default: the one shipped]."),
    ):
        command = option(command)
    return command


@click.group()
def registry() -> None:
    """Run the lab's own image registry, for labs that have none."""


@registry.command()
@_server_options
@click.option("--read-only", is_flag=True, help="Take no images: garbage may be collected meanwhile.")
def up(server: RegistryServer, read_only: bool) -> None:
    """Run the registry until Ctrl-C, with TLS and a login; the first time, both are made.

    Every login may read and write all of it: who may use an image is what the lab file's “groups” say.
    """
    server.serve(lambda line: click.echo("\n".join([line, *_directions(server)])), read_only=read_only)


@registry.command()
@_server_options
def gc(server: RegistryServer) -> None:
    """Free the space of removed images. The registry must be stopped, or started with --read-only.

    Only what was removed (springtide env remove --registry) goes: an image whose tag was moved may be pinned elsewhere.
    """
    server.collect_garbage(click.echo)


@registry.command()
@_server_options
@click.argument("user", default="springtide")
def password(server: RegistryServer, user: str) -> None:
    """Give USER a new password, and say in which file it stands. A registry that runs takes it at once."""
    server.prepare()
    click.echo(f"{server.set_password(user)} has the login of {user} (this account only may read it).")


def _directions(server: RegistryServer) -> list[str]:
    return [
        "In the lab file:",
        "",
        "  registries:",
        f"    {server.host}:",
        f"      credentials: {server.credentials}",
        f"      certificate: {server.certificate}",
        "",
        "A Docker Engine that pulls from it needs its certificate authority, unless it is on this machine's loopback:",
        f"  install -D {server.certificate} /etc/docker/certs.d/{server.host}/ca.crt",
        "Ctrl-C stops it.",
    ]
