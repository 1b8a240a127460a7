"""Size and build time of the images: everything from nothing, and again after a small change."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from springtide.environments.build import build
from springtide.environments.catalog import EnvironmentRecipe, shipped
from springtide.environments.debian import make_base_image
from springtide.environments.engine import connect
from tests.benches.report import QUICK, Report, Table
from tests.support.docker_engine import DockerEngine

_ENGINE_TIMEOUT_S = 900
_MB = 1_000_000
_NOTE = """\
One run each (n = 1), so no spread is known; most of a cold build is downloads, which another network changes more than
anything else. Cold: Debian from its packages with mmdebstrap, as where no image registry answers, then each image upon
it; nothing comes from the builder's cache or from pip's, and the images that this machine had stay untouched. Warm: a
file of the last layer was changed ({changes}). An image that starts from a changed one is built again from its own
first step. Sizes are uncompressed, in MB of 10⁶ bytes; shared layers exist once, so only the right column adds up."""
_LATE_FILES = {
    "base": "etc/jupyter/jupyter_server_config.json",
    "lisa": "kernelspec/kernel.json",
}


@dataclass(frozen=True)
class _Built:
    seconds: float
    size_bytes: int


class _Workshop:
    """Builds under tags of this run, from copies of the recipes."""

    def __init__(self, client: docker.DockerClient, folder: Path) -> None:
        self._client = client
        self._folder = folder
        self._run = secrets.token_hex(4)
        self._tags: list[str] = []

    def tag(self, name: str) -> str:
        tag = f"springtide-bench/{name}:{self._run}"
        self._tags.append(tag)
        return tag

    def copy(self, recipe: EnvironmentRecipe, start_from: str) -> EnvironmentRecipe:
        """Return `recipe` with a folder and a tag of its own, starting from another image.

        The image it starts from is new, so nothing that the builder's cache holds fits.
        """
        assert recipe.folder is not None
        folder = self._folder / recipe.name
        shutil.copytree(recipe.folder, folder)
        dockerfile = folder / "Dockerfile"
        lines = dockerfile.read_text(encoding="utf-8").splitlines(keepends=True)
        first = next(number for number, line in enumerate(lines) if line.startswith("FROM "))
        kept = [line for line in lines[:first] if not line.startswith("ARG ")]
        dockerfile.write_text("".join([*kept, f"FROM {start_from}\n", *lines[first + 1 :]]), encoding="utf-8")
        return EnvironmentRecipe(recipe.name, self.tag(recipe.name), folder, recipe.label)

    def changed(self, recipe: EnvironmentRecipe) -> EnvironmentRecipe:
        """Change a file of the last layer, and return the recipe under another tag."""
        assert recipe.folder is not None
        file = recipe.folder / _LATE_FILES[recipe.name]
        file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        return EnvironmentRecipe(recipe.name, self.tag(f"{recipe.name}-changed"), recipe.folder, recipe.label)

    def measure(self, image: str, make: Callable[[], object]) -> _Built:
        begun = time.monotonic()
        make()
        seconds = time.monotonic() - begun
        return _Built(seconds, int(self._client.images.get(image).attrs["Size"]))

    def build(self, recipe: EnvironmentRecipe) -> _Built:
        return self.measure(recipe.image, lambda: build(recipe, _say))

    def clear(self) -> None:
        """Remove the tags of this run, and with them the layers that nothing else uses."""
        for tag in reversed(self._tags):
            try:
                self._client.images.remove(tag)
            except docker.errors.ImageNotFound:
                continue


@contextmanager
def _workshop(folder: Path) -> Iterator[tuple[docker.DockerClient, _Workshop]]:
    client = connect(_ENGINE_TIMEOUT_S)
    workshop = _Workshop(client, folder)
    try:
        yield client, workshop
    finally:
        workshop.clear()
        client.close()


def bench_images(docker_engine: DockerEngine, tmp_path: Path) -> None:
    if QUICK:
        pytest.skip("builds take minutes")
    report = Report("images")
    recipes = shipped()
    with _workshop(tmp_path) as (client, workshop):
        debian_tag = workshop.tag("debian")
        debian = workshop.measure(debian_tag, lambda: make_base_image(client, debian_tag, _say))
        base_recipe = workshop.copy(recipes["base"], debian_tag)
        base = workshop.build(base_recipe)
        lisa_recipe = workshop.copy(recipes["lisa"], base_recipe.image)
        lisa = workshop.build(lisa_recipe)
        again = {recipe.name: workshop.build(workshop.changed(recipe)) for recipe in (base_recipe, lisa_recipe)}
    steps = {"debian": debian, "base": base, "lisa": lisa}
    below = {"debian": 0, "base": debian.size_bytes, "lisa": base.size_bytes}
    rows = [
        (
            f"springtide/{name}",
            f"{built.seconds:.1f}",
            f"{again[name].seconds:.1f}" if name in again else "–",
            f"{built.size_bytes / _MB:.0f}",
            f"{(built.size_bytes - below[name]) / _MB:.0f}",
        )
        for name, built in steps.items()
    ]
    total = sum(built.seconds for built in steps.values())
    rows.append(("all", f"{total:.1f}", "", "", f"{lisa.size_bytes / _MB:.0f}"))
    head = ("image", "cold build, s", "after a change in the last layer, s", "size, MB", "of it its own, MB")
    report.add(Table(head, rows))
    report.add(_NOTE.format(changes=", ".join(f"`{name}/{file}`" for name, file in _LATE_FILES.items())))
    report.publish()


def _say(line: str) -> None:
    print(f"    {line}", flush=True)
