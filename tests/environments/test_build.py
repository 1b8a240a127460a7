"""Images are built when they are missing, once, with progress and with errors that show what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import docker.errors
import pytest

from springtide.environments.build import build, main, site_certificate
from springtide.environments.catalog import EnvironmentRecipe
from springtide.environments.debian import BASE_IMAGE
from springtide.errors import EngineError, EnvironmentsError
from springtide.lab.models import Text
from tests.support.docker_engine import DockerEngine

BUILD = """
from pathlib import Path
from springtide.environments.build import build
from springtide.environments.catalog import EnvironmentRecipe
from springtide.lab.models import Text
build(EnvironmentRecipe("killed", {image!r}, Path({folder!r}), Text(en="Killed")), lambda line: print(line, flush=True))
"""


@dataclass
class Workshop:
    """Makes recipes whose images are removed after the test."""

    folder: Path
    images: list[str]

    def recipe(self, *lines: str, parent: EnvironmentRecipe | None = None) -> EnvironmentRecipe:
        name = f"test-{uuid.uuid4().hex[:8]}"
        folder = self.folder / name
        folder.mkdir()
        first = "ARG SESSION\nFROM ${SESSION}" if parent else "ARG BASE\nFROM ${BASE}"
        (folder / "Dockerfile").write_text("\n".join([first, *lines, ""]))
        self.images.append(f"springtide-test/{name}:1")
        return EnvironmentRecipe(name, self.images[-1], folder, Text(en=name), parent)


@pytest.fixture
def workshop(docker_engine: DockerEngine, tmp_path: Path) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path, [])
    yield workshop
    for image in reversed(workshop.images):
        with suppress(docker.errors.ImageNotFound):
            docker_engine.client.images.remove(image, force=True)


@pytest.fixture
def says(docker_engine: DockerEngine) -> Callable[[EnvironmentRecipe, str], str]:
    """Return a function that runs a command in an environment's image."""

    def run(recipe: EnvironmentRecipe, command: str) -> str:
        output: bytes = docker_engine.client.containers.run(recipe.image, ["sh", "-c", command], remove=True)
        return output.decode().strip()

    return run


def ignore(line: str) -> None:
    pass


def test_a_missing_image_is_built_on_the_debian_base(
    workshop: Workshop, docker_engine: DockerEngine, says: Callable[[EnvironmentRecipe, str], str]
) -> None:
    recipe = workshop.recipe("RUN echo built > /made")
    digest = build(recipe, ignore)
    assert digest == docker_engine.client.images.get(recipe.image).id
    assert says(recipe, "cat /made; . /etc/os-release; echo $VERSION_CODENAME") == "built\nbookworm"
    assert docker_engine.client.images.get(BASE_IMAGE)


def test_progress_is_the_recipes_own_titles_counted(workshop: Workshop) -> None:
    recipe = workshop.recipe("#: looking around", "RUN ls /", "RUN true", "#: looking again", "RUN ls /etc")
    lines: list[str] = []
    build(recipe, lines.append)
    assert [line for line in lines if line.startswith("[")] == ["[1/2] looking around", "[2/2] looking again"]
    assert lines[-1].startswith(f"{recipe.image} is ready (")


def test_an_image_that_is_there_is_not_built_again(workshop: Workshop) -> None:
    recipe = workshop.recipe("RUN true")
    digest = build(recipe, ignore)
    lines: list[str] = []
    assert build(recipe, lines.append) == digest
    assert lines == []


def test_what_an_image_starts_from_is_built_first(
    workshop: Workshop, says: Callable[[EnvironmentRecipe, str], str]
) -> None:
    parent = workshop.recipe("RUN echo parent > /made")
    child = workshop.recipe("RUN echo child >> /made", parent=parent)
    build(child, ignore)
    assert says(child, "cat /made") == "parent\nchild"


def test_a_failure_shows_the_step_and_the_logs_last_lines(workshop: Workshop, docker_engine: DockerEngine) -> None:
    recipe = workshop.recipe("#: counting", "RUN seq 1 40; exit 3")
    with pytest.raises(EnvironmentsError, match="counting failed") as failure:
        build(recipe, ignore)
    assert "\n39\n40\n" in failure.value.message
    assert "\n12\n" not in failure.value.message
    with pytest.raises(docker.errors.ImageNotFound):
        docker_engine.client.images.get(recipe.image)


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("SSLError(CERTIFICATE_VERIFY_FAILED)", "PIP_CERT"),
        ("Temporary failure in name resolution", "dns"),
        ("No space left on device", "docker system df"),
    ],
)
def test_known_failures_come_with_advice(workshop: Workshop, said: str, advice: str) -> None:
    with pytest.raises(EnvironmentsError) as failure:
        build(workshop.recipe(f"RUN echo '{said}'; false"), ignore)
    assert advice in failure.value.hint


def test_two_builds_at_once_make_one_image(workshop: Workshop) -> None:
    recipe = workshop.recipe("#: working", "RUN sleep 2")
    lines: list[str] = []
    with ThreadPoolExecutor() as threads:
        digests = list(threads.map(lambda _: build(recipe, lines.append), range(2)))
    assert digests[0] == digests[1]
    assert lines.count("[1/1] working") == 1
    assert lines.count("waiting for another build to end") == 1


def test_a_killed_build_does_not_stop_the_next(workshop: Workshop) -> None:
    recipe = workshop.recipe("#: dawdling", "RUN sleep 4")
    code = BUILD.format(image=recipe.image, folder=str(recipe.folder))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout
        while "dawdling" not in builder.stdout.readline():
            assert builder.poll() is None
        os.kill(builder.pid, signal.SIGKILL)
    assert build(recipe, ignore)


def test_the_sites_certificate_is_given_to_the_build(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, says: Callable[[EnvironmentRecipe, str], str]
) -> None:
    certificate = workshop.folder / "ca.pem"
    certificate.write_text("the site's certificate\n")
    monkeypatch.setenv("PIP_CERT", str(certificate))
    recipe = workshop.recipe("COPY site/site-ca.crt /seen")
    build(recipe, ignore)
    assert says(recipe, "cat /seen") == "the site's certificate"


def test_without_a_named_certificate_the_build_gets_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("PIP_CERT", "/no/such/file")
    assert site_certificate() == b""


def test_the_package_index_is_passed_on_where_the_recipe_takes_it(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, says: Callable[[EnvironmentRecipe, str], str]
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.lab.fr/simple")
    recipe = workshop.recipe("ARG PIP_INDEX_URL", "RUN echo $PIP_INDEX_URL > /index")
    build(recipe, ignore)
    assert says(recipe, "cat /index; echo $PIP_INDEX_URL") == "https://mirror.lab.fr/simple"


def test_an_image_without_a_recipe_that_cannot_be_pulled_says_so(workshop: Workshop) -> None:
    recipe = replace(workshop.recipe(), folder=None, image="localhost:1/nowhere:1")
    with pytest.raises(EnvironmentsError, match="cannot be pulled") as failure:
        build(recipe, ignore)
    assert "lab file" in failure.value.hint


def test_without_an_engine_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(EngineError):
        build(EnvironmentRecipe("none", "none:1", tmp_path, Text(en="None")), ignore)


def test_the_command_refuses_names_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere"]) == 2
    assert "unknown: nowhere; there are: " in capsys.readouterr().err
