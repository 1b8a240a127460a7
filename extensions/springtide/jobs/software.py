"""The software of an environment where a job runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from springtide.environments.catalog import SESSION, EnvironmentRecipe, resolve, shipped
from springtide.environments.conversions.places import ImageCaches
from springtide.environments.host import host_prefix, prepare_host_environment, suits_host
from springtide.environments.recipe import fingerprint
from springtide.environments.runtimes.base import Prepared
from springtide.environments.sites import check_runtime, image_at
from springtide.errors import EnvironmentsError, JobError
from springtide.jobs.containers import Container
from springtide.lab.models import BatchSite, Lab, LocalSite


@dataclass(frozen=True)
class Software:
    """An environment, ready at a site."""

    prepared: Prepared
    description: dict[str, str]
    """What provenance records say of it."""
    container: Container | None = None
    """What runs it; None: the node itself."""


async def image_of(
    lab: Lab,
    environment: str,
    site: BatchSite,
    caches: ImageCaches,
    mark: str,
    say: Callable[[str], None],
    *,
    shared_only: bool = False,
) -> Software:
    """Return the image of an environment at a site with containers: see `image_at`."""
    name = next(name for name, one in lab.sites.items() if one is site)
    image = await asyncio.to_thread(image_at, lab, environment, name, caches, mark, say, shared_only=shared_only)
    entry = image.entry
    description = {
        "name": environment,
        "runtime": image.runtime.name,
        "image": entry.about.reference,
        "digest": entry.about.digest,
        "place": str(entry.image),
    }
    return Software(entry.prepared, description, Container(image.runtime, entry, site.environment_variables))


async def software_of(
    lab: Lab, environment: str, site: BatchSite | LocalSite | None, root: Path, say: Callable[[str], None]
) -> Software:
    """Return the software of an environment at a site, after making it where it is missing.

    Parameters
    ----------
    root : Path
        Where virtual environments lie; the nodes of batch sites see it too.
    say : callable
        Told what is done: the first time takes a minute.

    Raises
    ------
    JobError
        If the site cannot run it.
    EnvironmentsError
        If it cannot be made.
    """
    described = {"name": environment, "runtime": "host"}
    if environment == SESSION:
        python = site.python if isinstance(site, BatchSite) and site.python else sys.executable
        prefix = str(Path(python).parent.parent)
        return Software(Prepared("", prefix), {**described, "prefix": prefix})
    recipe = await asyncio.to_thread(_recipe_for_host, lab, environment)
    await asyncio.to_thread(prepare_host_environment, recipe, root, sys.executable, say)
    return Software(Prepared("", _prefix(recipe, root)), {**described, **_version(recipe, root)})


def objection_to(lab: Lab, environment: str, name: str) -> str:
    """Return why the site `name` can never run jobs of an environment, empty where nothing is against it."""
    site = lab.sites.get(name)
    try:
        if isinstance(site, BatchSite) and site.runtime != "host":
            check_runtime(site, name)
        elif environment != SESSION:
            _recipe_for_host(lab, environment)
    except (EnvironmentsError, JobError) as error:
        return error.message
    return ""


def _recipe_for_host(lab: Lab, environment: str) -> EnvironmentRecipe:
    recipe = {**shipped(), **resolve(lab)}.get(environment)
    if recipe is None or recipe.folder is None or not suits_host(recipe):
        raise JobError(
            f"The environment “{environment}” is only an image, and this site runs no containers.",
            "Choose another site, or ask the administrator for a requirements.lock in its recipe.",
        )
    if environment in lab.environments and lab.environments[environment].groups:
        raise JobError(
            f"The environment “{environment}” is for some groups only, and this site runs no containers: "
            "everyone would see it.",
            "Choose another site.",
        )
    return recipe


def _prefix(recipe: EnvironmentRecipe, root: Path) -> str:
    found = host_prefix(recipe, root)
    if found is None:
        raise JobError(f"The environment “{recipe.name}” is not ready in {root}.", "Try again.")
    return str(found)


def _version(recipe: EnvironmentRecipe, root: Path) -> dict[str, str]:
    assert recipe.folder is not None  # the caller has looked
    return {"prefix": _prefix(recipe, root), "image": recipe.image, "recipe": fingerprint(recipe.folder, "")}
