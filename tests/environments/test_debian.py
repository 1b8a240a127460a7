"""The layer below all images can be made where no image registry answers."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker.errors
import pytest

from springtide.environments.debian import make_base_image, registry_answers
from springtide.environments.engine import connect
from springtide.errors import EnvironmentsError
from tests.support.docker_engine import DockerEngine
from tests.support.need import require


@pytest.fixture
def image(docker_engine: DockerEngine) -> Iterator[str]:
    name = f"springtide-test/debian:{uuid.uuid4().hex[:8]}"
    yield name
    with suppress(docker.errors.ImageNotFound):
        docker_engine.client.images.remove(name)


def test_it_is_made_from_debians_packages_and_runs_python(docker_engine: DockerEngine, image: str) -> None:
    require("mmdebstrap", shutil.which("mmdebstrap"))
    require("root, or newuidmap", os.geteuid() == 0 or shutil.which("newuidmap"))
    lines: list[str] = []
    client = connect(timeout_s=300)
    try:
        make_base_image(client, image, lines.append)
        answer: bytes = client.containers.run(image, ["python3", "-c", "import venv, ssl; print('works')"], remove=True)
        tools: bytes = client.containers.run(image, ["which", "tini", "git"], remove=True)
    finally:
        client.close()
    assert answer.decode().strip() == "works"
    assert tools.decode().split() == ["/usr/bin/tini", "/usr/bin/git"]
    assert lines[0].startswith("no image registry answers")
    assert lines[-1] == "importing the Debian image"


def test_without_mmdebstrap_it_says_what_to_install(
    docker_engine: DockerEngine, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentsError, match="mmdebstrap is missing") as refused:
        make_base_image(docker_engine.client, image, print)
    assert "apt install mmdebstrap" in refused.value.hint


def test_without_a_debian_mirror_it_shows_why_and_leaves_no_image(
    docker_engine: DockerEngine, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("mmdebstrap", shutil.which("mmdebstrap"))
    require("root, or newuidmap", os.geteuid() == 0 or shutil.which("newuidmap"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(EnvironmentsError, match=r"127\.0\.0\.1") as failure:
        make_base_image(docker_engine.client, image, lambda line: None)
    assert "Debian mirror" in failure.value.hint
    with pytest.raises(docker.errors.ImageNotFound):
        docker_engine.client.images.get(image)


@pytest.mark.timeout(20)
def test_whether_a_registry_answers_is_known_soon(docker_engine: DockerEngine) -> None:
    assert registry_answers() in (True, False)
