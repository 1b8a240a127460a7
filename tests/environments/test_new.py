"""A new environment works as it is, and a change of its code rebuilds in seconds."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import docker.errors
import pytest
import yaml

from springtide.environments.build import build
from springtide.environments.catalog import EnvironmentRecipe, find
from springtide.environments.check import check
from springtide.environments.findings import State
from springtide.environments.new import make_environment
from springtide.errors import EnvironmentsError
from springtide.lab.models import Lab
from tests.support.docker_engine import DockerEngine
from tests.support.registry import own_image

LAB = Lab.model_validate({"springtide": 1, "sites": {"a": {"kind": "local"}}, "profiles": [{"name": "a", "site": "a"}]})


@pytest.fixture
def recipe(docker_engine: DockerEngine, tmp_path: Path) -> Iterator[EnvironmentRecipe]:
    found = find(LAB, f"{make_environment(tmp_path, 'new-one', 'A “new” one')}/")
    images = [own_image(f"new-one:{number}") for number in (1, 2)]
    yield replace(found, image=images[0])
    for image in images:
        with suppress(docker.errors.ImageNotFound):
            docker_engine.client.images.remove(image, force=True)


# The first run builds the session image.
@pytest.mark.timeout(1200)
def test_a_new_environment_passes_its_check_and_a_change_of_code_rebuilds_in_seconds(
    recipe: EnvironmentRecipe, docker_engine: DockerEngine
) -> None:
    findings = {finding.subject: finding for finding in check(docker_engine.client, recipe, lambda line: None)}
    failed = [finding for finding in findings.values() if finding.state is State.FAILED]
    assert failed == []
    assert findings["tests"].data["run"] == 4
    assert findings["coverage"].data["reached"] == findings["coverage"].data["lines"] > 0
    before = docker_engine.client.images.get(recipe.image).attrs["RootFS"]["Layers"]

    assert recipe.folder
    module = recipe.folder / "modules" / "new_one_tools.py"
    module.write_text(module.read_text() + "\nANSWER = 42\n")
    changed = replace(recipe, image=own_image("new-one:2"))
    started = time.monotonic()
    build(changed, lambda line: None)
    assert time.monotonic() - started < 10
    after = docker_engine.client.images.get(changed.image).attrs["RootFS"]["Layers"]
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]


def test_its_files_know_its_name(tmp_path: Path) -> None:
    folder = make_environment(tmp_path, "x-ray", 'The "X" desk')
    kernel = json.loads((folder / "kernelspec" / "kernel.json").read_text())
    assert kernel["display_name"] == 'The "X" desk'
    assert kernel["argv"][0] == "/opt/environments/x-ray/bin/python"
    pipeline = yaml.safe_load((folder / ".gitlab-ci.yml").read_text())
    assert pipeline["check-x-ray"]["script"] == [f"springtide env check {folder} --json > x-ray-check.json"]
    assert any("env push" in line for line in pipeline["publish-x-ray"]["script"])
    jenkins = (folder / "Jenkinsfile").read_text()
    assert f"springtide env check {folder} --json" in jenkins
    assert jenkins.count("{") == jenkins.count("}")
    assert not [file for file in folder.rglob("*") if file.is_file() and "@NAME@" in file.read_text()]
    for file in folder.rglob("*.py"):
        compile(file.read_text(), str(file), "exec")


def test_the_shell_lines_of_its_pipelines_are_shell(tmp_path: Path) -> None:
    pipeline = yaml.safe_load((make_environment(tmp_path, "x") / ".gitlab-ci.yml").read_text())
    lines = [line for job in ("check-x", "publish-x") for line in pipeline[job]["script"]]
    assert subprocess.run(["sh", "-n", "-c", "\n".join(lines)], check=False).returncode == 0


@pytest.mark.parametrize("name", ["", "a b", "..", "../x", "Lisa", "a/b", "1a", "a" * 31, "x\n", "é"])
def test_a_name_that_cannot_be_used_is_one_clear_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentsError, match="is no name for an environment") as refused:
        make_environment(tmp_path, name)
    assert "lower-case letters" in refused.value.hint
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_written_over(tmp_path: Path) -> None:
    folder = make_environment(tmp_path, "x")
    (folder / "Dockerfile").write_text("mine")
    with pytest.raises(EnvironmentsError, match="is there already, with a Dockerfile"):
        make_environment(tmp_path, "x")
    assert (folder / "Dockerfile").read_text() == "mine"


@pytest.mark.parametrize("label", ["two\nlines", " ", "x" * 81])
def test_a_label_is_one_line(label: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentsError, match="not one printable line"):
        make_environment(tmp_path, "x", label)


def test_a_folder_that_pipelines_cannot_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentsError, match="characters that pipelines cannot take"):
        make_environment(tmp_path / "my images", "x")
