"""``springtide env new``: the folder of a new environment."""

from __future__ import annotations

from pathlib import Path

import click

from springtide.environments.new import make_environment


@click.command()
@click.argument("name")
@click.option("--label", default="", help="What people call it [default: NAME].")
@click.option(
    "--folder", "parent", type=click.Path(path_type=Path), default=Path("kernels"), show_default=True, help="Where."
)
def new(name: str, label: str, parent: Path) -> None:
    """Make kernels/NAME from a template that builds as it is: fill in what it needs, then check it."""
    folder = make_environment(parent, name, label)
    click.echo(f"{folder} is ready. Its README.md says how to go on:")
    click.echo(f"  what it needs      {folder}/requirements.in, then lock it")
    click.echo(f"  modules of its own {folder}/modules/")
    click.echo(f"  try it             springtide env check {folder}/")
