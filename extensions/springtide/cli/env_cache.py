"""``springtide env convert|cache``: images converted for runtimes without an engine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from springtide.cli.env_options import EnvOptions, env_options, json_option, say
from springtide.cli.tables import print_json
from springtide.environments.catalog import EnvironmentRecipe, access_to, find
from springtide.environments.conversions import ConversionCache, Entry
from springtide.environments.conversions.places import ImageCaches, source_of
from springtide.environments.registry.reference import names_a_registry, parse_reference
from springtide.environments.runtimes import RUNTIMES
from springtide.environments.runtimes.base import Form
from springtide.errors import EnvironmentsError
from springtide.queues.views import iso_time
from springtide.units import format_memory

_CONVERTED = (Form.SIF, Form.FOLDER)
_FOR = tuple(name for name, runtime in RUNTIMES.items() if getattr(runtime, "form", Form.SIF) in _CONVERTED)
_BROKEN = 1


def _cache_option(function: Any) -> Any:
    return click.option("--folder", type=click.Path(path_type=Path), help="Another cache than the lab's.")(function)


@click.command()
@click.argument("name", metavar="NAME|REFERENCE")
@click.option(
    "--to", "runtime", type=click.Choice(_FOR), default="apptainer", show_default=True, help="For which runtime."
)
@click.option("--form", type=click.Choice([form.value for form in _CONVERTED]), help="For one that takes both.")
@_cache_option
@env_options
@json_option
def convert(options: EnvOptions, name: str, runtime: str, form: str | None, folder: Path | None, as_json: bool) -> None:
    """Have the image of an environment, or of a registry, in the cache of converted images, and print where it is.

    Does nothing where it is there. However many ask at once, it is converted once.
    """
    wanted = Form(form) if form else getattr(RUNTIMES[runtime], "form", Form.SIF)
    recipe = _recipe(options, name)
    if folder:
        entry = ConversionCache(folder, is_over=options.is_over).have(source_of(recipe), wanted, say)
    else:
        caches = ImageCaches.of(options.lab, options.state, options.is_over)
        entry = caches.have(recipe, wanted, say, private=_is_private(options, recipe))
    if as_json:
        print_json(_as_json(entry))
    else:
        click.echo(f"{entry.image} {entry.about.digest}")


def _recipe(options: EnvOptions, name: str) -> EnvironmentRecipe:
    if not names_a_registry(name):
        return find(options.lab, name)
    place = parse_reference(name)
    return EnvironmentRecipe(
        name, name, None, find(options.lab, "base").label, access=access_to(options.lab, place.host)
    )


def _is_private(options: EnvOptions, recipe: EnvironmentRecipe) -> bool:
    """Whether not everyone may have it, by name or by reference."""
    known = options.lab.environments
    meant = (
        [known[recipe.name]] if recipe.name in known else [one for one in known.values() if one.image == recipe.image]
    )
    return any(one.groups for one in meant)


@click.command()
@click.option("--remove", "removed", multiple=True, metavar="DIGEST", help="Remove this image, unless it is in use.")
@click.option("--verify", is_flag=True, help="Read all images, and say which are damaged (exit status 1).")
@_cache_option
@env_options
@json_option
def cache(options: EnvOptions, removed: tuple[str, ...], verify: bool, folder: Path | None, as_json: bool) -> None:
    """List the images that were converted: what was used last first."""
    caches = (
        (ConversionCache(folder, is_over=options.is_over),)
        if folder
        else ImageCaches.of(options.lab, options.state, options.is_over).all
    )
    if removed:
        for digest in removed:
            _remove(caches, digest)
        return
    entries = [entry for one in caches for entry in one.entries()]
    problems = {entry.place: entry.problem(thorough=verify) for entry in entries}
    if as_json:
        print_json([_as_json(entry) | {"problem": problems[entry.place]} for entry in entries])
    else:
        for entry in entries:
            click.echo(_in_words(entry, problems[entry.place]))
        total = sum(entry.about.size_bytes for entry in entries)
        limit = f" of {format_memory(int(caches[0].limit_bytes))}" if caches[0].limit_bytes else ""
        click.echo(
            f"{len(entries)} images, {format_memory(total)}{limit}, in {' and '.join(_there(caches))}.", err=True
        )
    raise SystemExit(_BROKEN if verify and any(problems.values()) else 0)


def _there(caches: tuple[ConversionCache, ...]) -> list[str]:
    return [str(one.folder) for one in caches if one is caches[0] or one.folder.is_dir()]


def _remove(caches: tuple[ConversionCache, ...], digest: str) -> None:
    wanted = digest.removeprefix("sha256:")
    found = [
        (one, entry)
        for one in caches
        for entry in one.entries()
        if len(wanted) >= 6 and entry.about.digest.removeprefix("sha256:").startswith(wanted)
    ]
    if not found:
        raise EnvironmentsError(f"There is no image {digest} in the cache.", "springtide env cache lists them.")
    for one, entry in found:
        if not one.remove(entry):
            raise EnvironmentsError(
                f"{entry.image} is in use, by: {', '.join(entry.uses()) or 'somebody'}; or it is not yours to remove.",
                "springtide jobs says when a job is over.",
            )
        click.echo(f"{entry.image} is removed.")


def _as_json(entry: Entry) -> dict[str, Any]:
    known = asdict(entry.about)
    known.pop("environment")
    return {"image": str(entry.image), **known, "used": entry.used, "uses": entry.uses()}


def _in_words(entry: Entry, problem: str) -> str:
    about, uses = entry.about, entry.uses()
    words = [
        about.digest.removeprefix("sha256:")[:12],
        f"{about.form:6}",
        f"{format_memory(about.size_bytes):>8}",
        f"used {iso_time(entry.used)}",
        about.reference,
        *([f"in use by {len(uses)}"] if uses else []),
        *([f"DAMAGED: {problem}"] if problem else []),
    ]
    return "  ".join(words)
