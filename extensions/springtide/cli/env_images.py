"""``springtide env build|push|pull|remove``: images of environments, on this machine and in registries."""

from __future__ import annotations

from pathlib import Path

import click
import docker
import docker.errors
import requests

from springtide.cli.env_options import EnvOptions, engine, env_options, json_option, say
from springtide.cli.tables import print_json
from springtide.environments.build import build as build_image
from springtide.environments.catalog import EnvironmentRecipe, access_to, find
from springtide.environments.engine import image_digest
from springtide.environments.registry.client import Registry
from springtide.environments.registry.reference import Reference, names_a_registry, parse_reference
from springtide.environments.registry.transfer import pull as pull_image
from springtide.environments.registry.transfer import push as push_image
from springtide.environments.unprivileged import build_sif
from springtide.errors import EnvironmentsError
from springtide.lab.models import Lab


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@click.option("--with", "builder", type=click.Choice(["docker", "apptainer"]), default="docker", show_default=True,
              help="apptainer: a SIF, without daemon or privileges.")  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("sif"), show_default=True, help="Where SIFs go."
)
@env_options
@json_option
def build(options: EnvOptions, names: tuple[str, ...], builder: str, output: Path, as_json: bool) -> None:
    """Build the images of environments, or pull them; one that is there and whose recipe is the same is left alone.

    A SIF built from a recipe has the same locked packages as the Docker image, but is not that image: where a digest
    must be the same everywhere, build with docker.
    """
    if builder == "apptainer":
        made = {
            recipe.name: str(build_sif(recipe, output, say)) for recipe in [find(options.lab, one) for one in names]
        }
        if as_json:
            print_json({name: {"sif": path} for name, path in made.items()})
        else:
            click.echo("\n".join(made.values()))
        return
    built = {}
    for recipe in [find(options.lab, name) for name in names]:
        click.echo(f"{recipe.name}: {recipe.image}", err=True)
        built[recipe.name] = {"image": recipe.image, "digest": build_image(recipe, say)}
    if as_json:
        print_json(built)
    else:
        click.echo("\n".join(f"{one['image']} {one['digest']}" for one in built.values()))


@click.command()
@click.argument("name")
@click.option("--to", "target", default="", metavar="REFERENCE", help="Where [default: the lab's first registry].")
@env_options
@json_option
def push(options: EnvOptions, name: str, target: str, as_json: bool) -> None:
    """Send the image of an environment to a registry, and print the reference that pins it."""
    recipe = find(options.lab, name)
    place = parse_reference(target) if target else _default_target(options.lab, recipe)
    if place.pinned:
        raise EnvironmentsError(f"An image cannot be sent to a digest: {place}.", "Name a tag.")
    with engine() as client:
        sent = push_image(client, recipe.image, place, access_to(options.lab, place.host), say)
    pinned = sent.reference.at(sent.digest)
    options.record(recipe.name, pinned, "pushed")
    if as_json:
        print_json({"reference": str(pinned), "digest": sent.digest, "image": sent.image, "bytes": sent.size_bytes})
    else:
        click.echo(str(pinned))


def _default_target(lab: Lab, recipe: EnvironmentRecipe) -> Reference:
    reference = parse_reference(recipe.image)
    if names_a_registry(recipe.image):
        return Reference(reference.host, reference.repository, reference.tag)
    if not lab.registries:
        raise EnvironmentsError(
            "The lab file names no registry.", "Write one under “registries”, or say where: --to registry/name:tag."
        )
    host, registry = next(iter(lab.registries.items()))
    repository = f"{registry.prefix}/{recipe.name}" if registry.prefix else recipe.name
    return Reference(host, repository, reference.tag)


@click.command()
@click.argument("name")
@env_options
@json_option
def pull(options: EnvOptions, name: str, as_json: bool) -> None:
    """Take the image of an environment from its registry, as the lab file names it: by its digest, if it has one."""
    recipe = find(options.lab, name)
    if not names_a_registry(recipe.image):
        raise EnvironmentsError(f"The lab file names no registry for {recipe.name}.", "springtide env build makes it.")
    reference = parse_reference(recipe.image)
    with engine() as client, Registry(reference.host, recipe.access) as registry:
        manifest = registry.manifest(reference)
        pull_image(client, recipe.image, recipe.access, say)
        digest = image_digest(client, recipe.image)
    pinned = reference.at(manifest.digest)
    options.record(recipe.name, pinned, "pulled")
    if as_json:
        print_json({"reference": str(pinned), "digest": manifest.digest, "image": digest})
    else:
        click.echo(str(pinned))


@click.command()
@click.argument("name")
@click.option("--registry", "from_registry", is_flag=True, help="Remove it from its registry too, with all its tags.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@env_options
def remove(options: EnvOptions, name: str, from_registry: bool, yes: bool) -> None:
    """Remove the image of an environment from this machine. Its folder stays."""
    recipe = find(options.lab, name)
    place = _place_in_registry(options, recipe) if from_registry else None
    what = f"{recipe.image} from this machine" + (f" and {place} from its registry" if place else "")
    if not yes:
        click.confirm(f"Remove {what}?", abort=True, err=True)
    if place:
        with Registry(place.host, access_to(options.lab, place.host)) as registry:
            registry.delete(place)
        click.echo(f"{place} is removed; springtide registry gc frees its space in a registry of the lab's own.")
    with engine() as client:
        _remove_here(client, recipe.image)


def _place_in_registry(options: EnvOptions, recipe: EnvironmentRecipe) -> Reference:
    if names_a_registry(recipe.image):
        return parse_reference(recipe.image)
    recorded = options.recorded(recipe.name)
    if recorded is None:
        raise EnvironmentsError(f"No registry is known to have {recipe.name}.", "It was not pushed with this ledger.")
    return recorded


def _remove_here(client: docker.DockerClient, image: str) -> None:
    try:
        client.images.remove(image)
    except docker.errors.ImageNotFound:
        click.echo(f"{image} is not on this machine.")
    except docker.errors.APIError as error:
        raise EnvironmentsError(f"{image} cannot be removed: {error.explanation}", "End what uses it first.") from error
    except requests.RequestException as error:
        raise EnvironmentsError(f"The Docker Engine did not answer: {error}", transient=True) from error
    else:
        click.echo(f"{image} is removed from this machine.")
