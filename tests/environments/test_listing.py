"""The packages of a real image are listed by running it once."""

from __future__ import annotations

from pathlib import Path

import pytest

from springtide.environments import listing
from springtide.environments.debian import ensure_base_image
from springtide.environments.listing import packages_of
from springtide.environments.packages import Packages
from springtide.environments.trial import NOT_FOUND, Trial, run_in
from springtide.errors import EnvironmentsError
from tests.support.docker_engine import DockerEngine
from tests.support.registry import tiny_image


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_an_image_is_run_once_for_its_packages(docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    image = ensure_base_image(docker_engine.client, lambda line: None)
    packages = packages_of(docker_engine.client, image)
    assert packages.debian["tini"]
    monkeypatch.setattr(listing, "run_in", None)
    assert packages_of(docker_engine.client, image) == packages


def test_an_image_without_python_has_an_empty_list(docker_engine: DockerEngine) -> None:
    with tiny_image(docker_engine.client, "no-python:1") as image:
        assert packages_of(docker_engine.client, image) == Packages()


def test_an_image_that_is_not_there_is_named(docker_engine: DockerEngine) -> None:
    with pytest.raises(EnvironmentsError, match="no image springtide-test/absent:1"):
        packages_of(docker_engine.client, "springtide-test/absent:1")


def test_a_command_in_an_image_has_its_end_its_output_and_a_time_limit(docker_engine: DockerEngine) -> None:
    with tiny_image(docker_engine.client, "trial:1", "mark") as image:
        said = run_in(docker_engine.client, image, Trial(("sh", "-c", "cat /mark; echo no >&2; exit 3")))
        assert (said.status, said.output, said.errors) == (3, "mark", "no\n")
        assert run_in(docker_engine.client, image, Trial(("nothing",))).status == NOT_FOUND
        with pytest.raises(EnvironmentsError, match="did not end in"):
            run_in(docker_engine.client, image, Trial(("sh", "-c", "while :; do :; done"), seconds=1))
        assert not docker_engine.client.containers.list(
            all=True, filters={"label": "springtide.trial", "ancestor": image}
        )
