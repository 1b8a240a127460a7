"""``springtide env list|show|diff``: which environments there are, what is in them, how they differ."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import click
import docker

from springtide.cli.env_options import EnvOptions, engine, env_options, json_option
from springtide.cli.tables import print_json
from springtide.environments.catalog import EnvironmentRecipe, access_to, find, resolve, shipped
from springtide.environments.engine import image_digest
from springtide.environments.listing import packages_of
from springtide.environments.packages import DEBIAN, Packages, differences
from springtide.environments.registry.pins import Standing, look
from springtide.environments.registry.reference import names_a_registry, parse_reference
from springtide.errors import EnvironmentsError, RegistryError

_DIFFERENT = 1
_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{12,64}")


@click.command("list")
@env_options
@json_option
def list_all(options: EnvOptions, as_json: bool) -> None:
    """List the environments of the lab file and those that are shipped: name, whether its image is here, image."""
    recipes = {**shipped(), **resolve(options.lab)}
    with engine() as client:
        digests = {name: image_digest(client, recipe.image) for name, recipe in recipes.items()}
    rows = [_row(options, recipe, digests[name]) for name, recipe in recipes.items()]
    if as_json:
        print_json(rows)
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        here = row["digest"][:19] if row["digest"] else "not here"
        only = f"  for {', '.join(row['groups'])} only" if row["groups"] else ""
        click.echo(f"{row['name']:{width}}  {here:19}  {row['image']}{only}")


def _row(options: EnvOptions, recipe: EnvironmentRecipe, digest: str | None) -> dict[str, Any]:
    declared = options.lab.environments.get(recipe.name)
    return {
        "name": recipe.name,
        "label": recipe.label.en,
        "image": recipe.image,
        "digest": digest or "",
        "folder": str(recipe.folder or ""),
        "groups": sorted(declared.groups) if declared else [],
    }


@click.command()
@click.argument("name")
@click.option("--packages", "with_packages", is_flag=True, help="List every package, with its version and licence.")
@env_options
@json_option
def show(options: EnvOptions, name: str, with_packages: bool, as_json: bool) -> None:
    """Show an environment: its image, here and in its registry, and what is in it.

    Says when a registry's tag was removed, or names another image than the one that was pinned, pushed or pulled.
    """
    recipe = find(options.lab, name)
    with engine() as client:
        row = _row(options, recipe, image_digest(client, recipe.image))
        packages = packages_of(client, recipe.image) if row["digest"] else None
    row["registry"] = registry_standing(options, recipe)
    if as_json:
        print_json(row | ({"packages": packages.as_json()} if packages else {}))
        return
    click.echo("\n".join(_in_words(row, packages)))
    if with_packages and packages:
        click.echo("\n" + "\n".join(_all_packages(packages)))


def registry_standing(options: EnvOptions, recipe: EnvironmentRecipe) -> dict[str, str]:
    """Return what the registry of an environment has: ``standing``, ``reference`` and ``text``; empty without one."""
    recorded = options.recorded(recipe.name)
    reference = parse_reference(recipe.image) if names_a_registry(recipe.image) else recorded
    if reference is None:
        return {}
    known = recorded.digest if recorded and (recorded.name, recorded.tag) == (reference.name, reference.tag) else ""
    try:
        pin = look(reference, access_to(options.lab, reference.host), known)
    except RegistryError as error:
        return {"standing": "not known", "reference": str(reference), "text": str(error)}
    warning = "" if pin.standing in (Standing.SAME, Standing.UNPINNED) else "WARNING: "
    return {"standing": pin.standing.value, "reference": str(reference), "text": warning + pin.in_words()}


def _in_words(row: dict[str, Any], packages: Packages | None) -> list[str]:
    lines = [f"{row['name']}: {row['label']}", f"  image     {row['image']}"]
    lines.append(f"  here      {row['digest'] or 'not on this machine: springtide env build, or pull'}")
    if row["registry"]:
        lines.append(f"  registry  {row['registry']['text']}")
    if row["folder"]:
        lines.append(f"  recipe    {row['folder']}")
    if row["groups"]:
        lines.append(f"  for       {', '.join(row['groups'])} only")
    if packages:
        counts = [f"{len(found)} in {place}" for place, found in packages.versions().items()]
        lines.append(f"  packages  {', '.join(counts)}")
    return lines


def _all_packages(packages: Packages) -> list[str]:
    python = [
        f"{place}\t{name}\t{one.version}\t{one.licence}"
        for place, found in packages.python.items()
        for name, one in found.items()
    ]
    return python + [f"{DEBIAN}\t{name}\t{version}\t" for name, version in packages.debian.items()]


@click.command()
@click.argument("left", metavar="A")
@click.argument("right", metavar="B")
@env_options
@json_option
def diff(options: EnvOptions, left: str, right: str, as_json: bool) -> None:
    """Name the packages that two images do not have alike. A and B: environments, references, or digests.

    Ends with 0 where they are one image, else with 1.
    """
    with engine() as client:
        images = [_image(options, client, what) for what in (left, right)]
        digests = [image_digest(client, image) for image in images]
        found = differences(*(packages_of(client, image) for image in images))
    same = digests[0] == digests[1]
    if as_json:
        print_json({"same": same, "digests": digests, "differences": [asdict(one) for one in found]})
    elif same:
        click.echo(f"{left} and {right} are one image, {digests[0]}.")
    else:
        click.echo("\n".join(f"{one.place}\t{one.name}\t{one.left or '-'}\t{one.right or '-'}" for one in found))
        if not found:
            click.echo("Their packages are the same; other files differ.")
    raise SystemExit(0 if same else _DIFFERENT)


def _image(options: EnvOptions, client: docker.DockerClient, what: str) -> str:
    """Return the engine's name of `what`: an environment, a reference or a digest."""
    if _DIGEST.fullmatch(what) and image_digest(client, what):
        return what
    try:
        return find(options.lab, what).image
    except EnvironmentsError:
        if not (":" in what or "/" in what or "@" in what):
            raise
    parse_reference(what)
    return what
