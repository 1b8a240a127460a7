"""Which environments a lab has, and what their images are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from springtide import __version__
from springtide.environments.catalog import resolve, shipped
from springtide.errors import EnvironmentsError
from springtide.lab.models import Lab


def lab(environment: str = "base", environments: dict[str, Any] | None = None) -> Lab:
    return Lab.model_validate(
        {
            "springtide": 1,
            "sites": {"here": {"kind": "local"}},
            "profiles": [{"name": "one", "site": "here", "environment": environment}],
            "environments": environments or {},
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text("ARG SESSION\nFROM ${SESSION}\n")
    return tmp_path


def test_the_session_environment_is_always_there() -> None:
    recipe = resolve(lab())["base"]
    assert recipe.image.startswith(f"springtide/base:{__version__}-")
    assert recipe.folder
    assert (recipe.folder / "requirements.lock").is_file()


def test_shipped_environments_start_from_the_session_image_and_have_names_in_both_languages() -> None:
    recipes = shipped()
    assert {"base", "lisa"} <= recipes.keys()
    assert recipes["lisa"].parent == recipes["base"]
    assert all(recipe.label.en and recipe.label.fr for recipe in recipes.values())


def test_a_declared_recipe_gets_an_image_of_its_own(folder: Path) -> None:
    recipe = resolve(lab("mine", {"mine": {"folder": str(folder), "label": "Mine"}}))["mine"]
    assert recipe.folder == folder
    assert recipe.label.en == "Mine"
    assert recipe.image.startswith(f"springtide/mine:{__version__}-")


def test_a_changed_recipe_is_a_new_image(folder: Path) -> None:
    declared = lab("mine", {"mine": {"folder": str(folder)}})
    before = resolve(declared)["mine"].image
    (folder / "packages.txt").write_text("more")
    assert resolve(declared)["mine"].image != before


def test_a_changed_session_environment_changes_all_that_start_from_it(folder: Path) -> None:
    ours = resolve(lab("lisa", {"base": {"folder": str(folder)}}))
    assert ours["lisa"].parent == ours["base"]
    assert ours["lisa"].image != shipped()["lisa"].image


def test_a_named_image_is_used_as_it_is() -> None:
    recipe = resolve(lab("mine", {"mine": {"image": "registry.lab.fr/mine:3"}}))["mine"]
    assert (recipe.image, recipe.folder, recipe.parent) == ("registry.lab.fr/mine:3", None, None)


def test_a_named_image_with_a_folder_is_built_under_that_name(folder: Path) -> None:
    recipe = resolve(lab("mine", {"mine": {"image": "lab/mine:3", "folder": str(folder)}}))["mine"]
    assert (recipe.image, recipe.folder) == ("lab/mine:3", folder)


def test_an_unknown_environment_is_refused_with_what_there_is() -> None:
    with pytest.raises(EnvironmentsError, match="There is no environment “nowhere”") as refused:
        resolve(lab("nowhere"))
    assert "base" in refused.value.hint
    assert "lisa" in refused.value.hint
