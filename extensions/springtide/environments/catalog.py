"""Which environments there are, and what their images are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from springtide import __version__
from springtide.environments.recipe import DOCKERFILE, fingerprint, needs_session_image
from springtide.environments.registry.login import Access
from springtide.environments.registry.reference import DOCKER_HUB, names_a_registry, parse_reference
from springtide.errors import EnvironmentsError
from springtide.lab.models import Environment, Lab, Registry, Text
from springtide.share import share_path

SESSION = "base"
"""The environment whose image all others start from: it has what the hub starts."""
_LABELS = {
    "base": Text(en="Python, JupyterLab and Dask", fr="Python, JupyterLab et Dask"),
    "lisa": Text(en="LISA simulation", fr="Simulation de LISA"),
}


@dataclass(frozen=True)
class EnvironmentRecipe:
    """One environment: its image, and how to make it.

    Parameters
    ----------
    name : str
        What profiles and tutorials call it.
    image : str
        The image's reference.
    folder : Path or None
        Folder with its recipe; None for an image that is only pulled.
    label : Text
        What people call it.
    parent : EnvironmentRecipe or None
        The environment whose image its own starts from.
    access : Access
        How to come to the registry that has the image.
    """

    name: str
    image: str
    folder: Path | None
    label: Text
    parent: EnvironmentRecipe | None = None
    access: Access = field(default_factory=Access)


def access_to(lab: Lab, host: str) -> Access:
    """Return how `lab` comes to the registry called `host`: without credentials where its file says nothing of it."""
    registry = lab.registries.get(host, Registry())
    return Access(registry.credentials, registry.certificate)


def resolve(lab: Lab) -> dict[str, EnvironmentRecipe]:
    """Return every environment that `lab` declares or uses, and the session environment, by name.

    Raises
    ------
    EnvironmentsError
        If a profile uses one that is neither declared nor shipped, or a recipe's folder has no Dockerfile.
    """
    used = {profile.environment for profile in lab.profiles}
    recipes = _recipes(lab.environments, {*lab.environments, *used})
    return {name: _with_access(lab, recipe) for name, recipe in recipes.items()}


def find(lab: Lab, what: str) -> EnvironmentRecipe:
    """Return the environment that `what` means: a name of `lab`, one that is shipped, or a folder with a recipe.

    Raises
    ------
    EnvironmentsError
        If it is none of these.
    """
    folder = Path(what)
    if "/" in what or what in (".", ".."):
        if not (folder / DOCKERFILE).is_file():
            raise EnvironmentsError(f"There is no recipe in {what}.", f"A folder with a recipe has a {DOCKERFILE}.")
        return _with_access(lab, _of_folder(lab, folder.absolute().resolve()))
    known = {**shipped(), **resolve(lab)}
    if what in known:
        return known[what]
    if (folder / DOCKERFILE).is_file():
        return _with_access(lab, _of_folder(lab, folder.absolute()))
    raise EnvironmentsError(
        f"There is no environment “{what}”.",
        f"It is one of {', '.join(sorted(known))}, or a folder with a recipe; springtide env new makes one.",
    )


def _of_folder(lab: Lab, folder: Path) -> EnvironmentRecipe:
    declared = {**resolve(lab), **shipped()}
    for recipe in declared.values():
        if recipe.folder and recipe.folder.resolve() == folder:
            return recipe
    return _recipe(folder.name, Environment(folder=folder), declared[SESSION])


def _with_access(lab: Lab, recipe: EnvironmentRecipe) -> EnvironmentRecipe:
    return replace(recipe, access=access_to(lab, _registry_of(recipe.image)))


def shipped() -> dict[str, EnvironmentRecipe]:
    """Return the environments whose recipes come with Springtide, by name."""
    folders = share_path("kernels").glob(f"*/{DOCKERFILE}")
    return _recipes({}, [file.parent.name for file in folders])


def _recipes(declared: Mapping[str, Environment], names: Iterable[str]) -> dict[str, EnvironmentRecipe]:
    session = _recipe(SESSION, declared.get(SESSION, Environment()), parent=None)
    others = sorted(set(names) - {SESSION})
    return {
        SESSION: session,
        **{name: _recipe(name, declared.get(name, Environment()), parent=session) for name in others},
    }


def _recipe(name: str, environment: Environment, parent: EnvironmentRecipe | None) -> EnvironmentRecipe:
    label = environment.label or _LABELS.get(name) or Text(en=name)
    folder = environment.folder
    if folder is None and not environment.image:
        folder = share_path("kernels", name)
        if not (folder / DOCKERFILE).is_file():
            raise EnvironmentsError(
                f"There is no environment “{name}”.",
                f"Declare it under “environments” in the lab file, or use one of: {', '.join(shipped())}.",
            )
    if folder is None:
        return EnvironmentRecipe(name, environment.image, None, label)
    needed = parent if needs_session_image(folder) else None
    image = environment.image or _image_of(name, folder, needed)
    return EnvironmentRecipe(name, image, folder, label, needed)


def _registry_of(image: str) -> str:
    return parse_reference(image).host if names_a_registry(image) else DOCKER_HUB


def _image_of(name: str, folder: Path, parent: EnvironmentRecipe | None) -> str:
    """The tag changes with the recipe and with what it starts from, so that an old image is never taken for new."""
    return f"springtide/{name}:{__version__}-{fingerprint(folder, parent.image if parent else '')}"
