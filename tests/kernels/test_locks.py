"""The lock files of the environments pin everything, and only what the recipes ask for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from springtide.share import share_path

ENVIRONMENTS = sorted(folder.parent.name for folder in share_path("kernels").glob("*/requirements.lock"))
LIKE_THE_HOST = ("jupyterhub", "jupyterlab", "ipywidgets", "dask", "distributed", "dask-jobqueue")


def read(environment: str, name: str) -> str:
    return share_path("kernels", environment, name).read_text(encoding="utf-8")


def pins(text: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_package_is_pinned_with_its_hashes(environment: str) -> None:
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", read(environment, "requirements.lock"), flags=re.MULTILINE))
    assert len(entries) > 20
    assert [entry for entry in entries if not re.match(r"[\w.-]+==\S+.*\\\n\s+--hash=sha256:", entry)] == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_of_the_machine_that_locked_is_kept(environment: str) -> None:
    assert not re.search(r"://|--index|--find-links|file:|^/|\s/", read(environment, "requirements.lock"))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_the_recipe_asks_for_is_what_is_locked(environment: str) -> None:
    locked = pins(read(environment, "requirements.lock"))
    asked = pins(read(environment, "requirements.in"))
    assert asked.items() <= locked.items()


def test_a_session_in_a_container_has_the_versions_of_one_without() -> None:
    host = pins(Path(share_path("hub_config", "requirements.lock")).read_text(encoding="utf-8"))
    image = pins(read("base", "requirements.lock"))
    assert {name: image[name] for name in LIKE_THE_HOST} == {name: host[name] for name in LIKE_THE_HOST}


def test_lisa_comes_without_a_deep_learning_framework() -> None:
    assert not {"torch", "lisaglitch"} & pins(read("lisa", "requirements.lock")).keys()


def test_a_kernelspec_says_which_environment_it_is_of() -> None:
    for file in share_path("kernels").glob("*/kernelspec/kernel.json"):
        spec = json.loads(file.read_text(encoding="utf-8"))
        environment = file.parents[1].name
        assert spec["metadata"]["springtide"]["environment"] == environment
        assert spec["argv"][0] == f"/opt/environments/{environment}/bin/python"
