"""The software of an environment where a job runs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from springtide.environments.catalog import SESSION, EnvironmentRecipe, resolve, shipped
from springtide.environments.host import host_prefix, prepare_host_environment, suits_host
from springtide.environments.recipe import fingerprint
from springtide.environments.runtimes.base import Prepared
from springtide.errors import JobError
from springtide.lab.models import BatchSite, Lab, LocalSite


@dataclass(frozen=True)
class Software:
    """An environment, ready at a site."""

    prepared: Prepared
    description: dict[str, str]
    """What provenance records say of it."""


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
    recipe = (await asyncio.to_thread(lambda: {**shipped(), **resolve(lab)})).get(environment)
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
    await asyncio.to_thread(prepare_host_environment, recipe, root, sys.executable, say)
    return Software(Prepared("", _prefix(recipe, root)), {**described, **_version(recipe, root)})


def _prefix(recipe: EnvironmentRecipe, root: Path) -> str:
    found = host_prefix(recipe, root)
    if found is None:
        raise JobError(f"The environment “{recipe.name}” is not ready in {root}.", "Try again.")
    return str(found)


def _version(recipe: EnvironmentRecipe, root: Path) -> dict[str, str]:
    assert recipe.folder is not None  # the caller has looked
    return {"prefix": _prefix(recipe, root), "image": recipe.image, "recipe": fingerprint(recipe.folder, "")}
