"""The same folder built with BuildKit: the same image, the same progress, the same errors."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker.errors
import pytest

from springtide.environments import buildkit
from springtide.environments.build import build
from springtide.environments.catalog import EnvironmentRecipe
from springtide.environments.recipe import Step
from springtide.errors import EnvironmentsError
from springtide.lab.models import Text
from tests.support.buildx import docker_config
from tests.support.docker_engine import DockerEngine
from tests.support.need import require
from tests.support.registry import own_image

DOCKERFILE = """ARG BASE
FROM ${BASE}
ENV A=1
#: counting
RUN seq 1 40; : %s
#: making a mark
COPY mark /mark
ARG PIP_INDEX_URL
#: looking
RUN echo "index $PIP_INDEX_URL"; %s
"""


def dockerfile(last: str) -> str:
    """Return one of which the builder knows no step yet: what it knows, it says in any order."""
    return DOCKERFILE % (uuid.uuid4().hex, last)


@pytest.fixture
def recipe(docker_engine: DockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EnvironmentRecipe]:
    config = docker_config()
    require("docker-buildx from Debian 13", config, "a Debian mirror that answers")
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    monkeypatch.setenv(buildkit.BUILDER_VARIABLE, "buildkit")
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "mark").write_text("made\n")
    (folder / "Dockerfile").write_text(dockerfile("true"))
    image = own_image("buildkit:1")
    yield EnvironmentRecipe("buildkit", image, folder, Text(en="BuildKit"))
    with suppress(docker.errors.ImageNotFound):
        docker_engine.client.images.remove(image, force=True)


def test_it_builds_with_the_recipes_own_titles(
    recipe: EnvironmentRecipe, docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.lab.fr/simple")
    lines: list[str] = []
    digest = build(recipe, lines.append)
    assert digest == docker_engine.client.images.get(recipe.image).id
    assert [line for line in lines if line.startswith("[")] == [
        "[1/3] counting",
        "[2/3] making a mark",
        "[3/3] looking",
    ]
    said = docker_engine.client.containers.run(recipe.image, ["sh", "-c", "cat /mark; echo $A"], remove=True)
    assert said.decode().split() == ["made", "1"]


def test_a_failure_shows_the_step_and_the_logs_last_lines(recipe: EnvironmentRecipe) -> None:
    assert recipe.folder
    (recipe.folder / "Dockerfile").write_text(dockerfile("seq 31 60; exit 3"))
    with pytest.raises(EnvironmentsError, match=r"looking failed: .*exit code: 3") as failure:
        build(recipe, lambda line: None)
    assert "\n59\n60\n" in failure.value.message
    assert "\n39\n" not in failure.value.message


def test_the_values_of_arguments_stand_in_no_command_line(
    recipe: EnvironmentRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = tmp_path / "bin" / "docker"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/seen\nexec {shutil.which("docker")} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PIP_INDEX_URL", "https://ada:secret@mirror.lab.fr/simple")
    build(recipe, lambda line: None)
    seen = (tmp_path / "seen").read_text()
    assert "--build-arg=PIP_INDEX_URL" in seen
    assert "secret" not in seen


def test_numbers_of_steps_are_those_of_the_older_builder() -> None:
    steps = [Step(text, "") for text in ("ARG BASE", "FROM ${BASE}", "ENV A=1", "RUN true", "USER 1", "COPY a b")]
    reader = buildkit._Reader(steps)
    lines = ("#4 [1/3] FROM x", "#5 [2/3] RUN true", "#5 CACHED", "#5 [2/3] RUN true", "#6 [3/3] COPY a b")
    said = [message for line in lines for message in reader.read(line)]
    assert said == [{"stream": f"Step {number}/6 : "} for number in (2, 4, 6)]


def test_an_unknown_builder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(buildkit.BUILDER_VARIABLE, "kaniko")
    with pytest.raises(EnvironmentsError, match=r"is “kaniko”\. It may be buildkit or engine"):
        buildkit.is_chosen()


def test_without_buildx_the_older_builder_is_taken_and_asking_for_it_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(buildkit.BUILDER_VARIABLE, raising=False)
    assert not buildkit.is_chosen()
    monkeypatch.setenv(buildkit.BUILDER_VARIABLE, "buildkit")
    with pytest.raises(EnvironmentsError, match="“docker buildx” is not here"):
        buildkit.is_chosen()
