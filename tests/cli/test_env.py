"""``springtide env``, called as an administrator or a pipeline calls it, with a real registry and small images."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker.errors
import pytest

from springtide.environments.registry.client import Registry
from springtide.environments.registry.reference import parse_reference
from tests.support.command_line import CommandLine
from tests.support.docker_engine import DockerEngine
from tests.support.registry import RunningRegistry, own_image, tiny_image

LAB: dict[str, Any] = {
    "springtide": 1,
    "sites": {"here": {"kind": "local"}},
    "profiles": [{"name": "small", "site": "here"}],
}
MARKS = own_image("marks:1")
DOCKERFILE = """ARG BASE
FROM ${BASE}
#: making a mark
COPY modules/ /opt/marks/
USER 1000:1000
"""
TESTS = """
import sys, unittest
sys.path.insert(0, "/opt/marks")
class Marks(unittest.TestCase):
    def test_mark(self):
        import marks
        assert marks.mark(1) == "one"
"""
MODULE = "def mark(number):\n    if number == 1:\n        return 'one'\n    return 'many'\n"


@pytest.fixture
def tiny(docker_engine: DockerEngine) -> Iterator[str]:
    with tiny_image(docker_engine.client, "cli:1", "cli") as name:
        yield name


@pytest.fixture
def line(tmp_path: Path, registry: RunningRegistry, docker_engine: DockerEngine, tiny: str) -> Iterator[CommandLine]:
    """Yield the command in a lab with a private image in the tests' registry."""
    environments = {
        "tiny": {"image": tiny},
        "lpf": {"image": f"{registry.host}/cli/lpf:1", "groups": ["lpf"]},
        "marks": {"folder": str(tmp_path / "marks"), "image": MARKS},
    }
    recipe(tmp_path / "marks")
    yield CommandLine(tmp_path, LAB | {"environments": environments, "registries": registry.lab})
    for image in (f"{registry.host}/cli/lpf:1", MARKS):
        try:
            docker_engine.client.images.remove(image, force=True)
        except docker.errors.ImageNotFound:
            continue


def recipe(folder: Path, tests: str = TESTS) -> None:
    (folder / "tests").mkdir(parents=True)
    (folder / "modules").mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "modules" / "marks.py").write_text(MODULE)
    (folder / "tests" / "test_marks.py").write_text(tests)


def test_an_image_goes_to_the_registry_and_comes_back_pinned(
    line: CommandLine, docker_engine: DockerEngine, registry: RunningRegistry, tiny: str
) -> None:
    pushed = line("env", "push", "tiny", "--to", f"{registry.host}/cli/lpf:1", "--json")
    assert pushed.status == 0, pushed.errors
    assert pushed.json["image"] == docker_engine.client.images.get(tiny).id
    assert pushed.json["reference"] == f"{registry.host}/cli/lpf:1@{pushed.json['digest']}"
    pulled = line("env", "pull", "lpf", "--json")
    assert pulled.json["reference"] == pushed.json["reference"]
    assert pulled.json["image"] == pushed.json["image"]
    assert line("env", "pull", "lpf").output.strip() == pushed.json["reference"]


def test_a_tag_that_moved_is_said(
    line: CommandLine, docker_engine: DockerEngine, registry: RunningRegistry, tiny: str
) -> None:
    target = f"{registry.host}/cli/lpf:1"
    first = line("env", "push", "tiny", "--to", target, "--json").json["digest"]
    assert line("env", "pull", "lpf").status == 0
    assert line("env", "show", "lpf", "--json").json["registry"]["standing"] == "same"
    with tiny_image(docker_engine.client, "cli:1", "another"):
        second = line("env", "push", "tiny", "--to", target, "--json").json["digest"]
    moved = line("env", "show", "lpf").output
    assert f"WARNING: {target} is another image now ({second}); {first} is still there." in moved
    with Registry(registry.host, registry.access) as there:
        there.delete(parse_reference(target))
    gone = line("env", "show", "lpf").output
    assert f"WARNING: {target} was removed; its image is still there as {first}." in gone


def test_a_password_stands_in_no_argument_variable_or_message(
    line: CommandLine, registry: RunningRegistry, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    docker_engine: DockerEngine,
) -> None:  # fmt: skip
    login = registry.access.login(registry.host)
    assert login
    real = shutil.which("skopeo")
    spy = tmp_path / "bin" / "skopeo"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\n{{ echo "$@"; env; }} > {tmp_path}/seen\nexec {real} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    pushed = line("env", "push", "tiny", "--to", f"{registry.host}/cli/lpf:secret")
    assert pushed.status == 0, pushed.errors
    seen = (tmp_path / "seen").read_text()
    assert "--authfile" in seen
    inspected = json.dumps(docker_engine.client.images.get(tiny).attrs)
    log = (registry.server.folder / "registry.log").read_text()
    ledger = b"".join(file.read_bytes() for file in (tmp_path / "state").rglob("*") if file.is_file())
    for place in (seen, pushed.output, pushed.errors, inspected, log, ledger.decode(errors="replace")):
        assert login.password not in place


def test_the_list_says_what_is_here_and_for_whom(line: CommandLine, docker_engine: DockerEngine, tiny: str) -> None:
    rows = {row["name"]: row for row in line("env", "list", "--json").json}
    assert rows["tiny"]["digest"] == docker_engine.client.images.get(tiny).id
    assert (rows["lpf"]["digest"], rows["lpf"]["groups"]) == ("", ["lpf"])
    assert {"base", "lisa"} <= rows.keys()
    assert line("env", "show", "tiny").status == 0
    assert not (line.folder / "state").exists()
    assert "for lpf only" in line("env", "list").output


def test_a_check_runs_the_tests_in_the_image_and_measures_them(line: CommandLine) -> None:
    answer = line("env", "check", "marks", "--json")
    findings = {finding["subject"]: finding for finding in answer.json["findings"]}
    assert (answer.status, answer.json["ok"]) == (0, True), findings
    assert findings["tests"]["run"] == 1
    assert findings["coverage"]["files"] == {"modules/marks.py": {"reached": 3, "lines": 4}}
    assert findings["packages"]["packages"]["debian"]["tini"]
    assert findings["vulnerabilities"]["state"] in ("not checked", "ok", "warning")


def test_a_check_fails_with_its_tests_and_shows_their_words(line: CommandLine, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "marks")
    recipe(tmp_path / "marks", TESTS.replace('"one"', '"two"'))
    answer = line("env", "check", f"{tmp_path}/marks/")
    assert answer.status == 1
    assert "failed      tests: 1 of 1 failed" in answer.output
    assert "AssertionError" in answer.output


def test_a_recipe_that_does_not_build_shows_the_end_of_its_log(line: CommandLine, tmp_path: Path) -> None:
    with (tmp_path / "marks" / "Dockerfile").open("a") as file:
        file.write("#: counting\nRUN seq 1 40; exit 3\n")
    answer = line("env", "check", "marks", "--json")
    (image,) = (finding for finding in answer.json["findings"] if finding["subject"] == "image")
    assert (answer.status, image["state"]) == (1, "failed")
    assert "counting failed" in image["message"]
    assert "40" in image["details"]
    built = line("env", "build", "marks")
    assert built.status == 1
    assert "\n40\n" in built.errors


def test_the_difference_of_two_images_is_named(line: CommandLine, docker_engine: DockerEngine, tiny: str) -> None:
    same = line("env", "diff", "tiny", tiny)
    assert (same.status, same.output.startswith(f"tiny and {tiny} are one image")) == (0, True)
    assert line("env", "build", "marks").status == 0
    digest = str(docker_engine.client.images.get(MARKS).id)
    other = line("env", "diff", "tiny", digest, "--json")
    assert (other.status, other.json["same"]) == (1, False)
    assert {one["name"] for one in other.json["differences"]} >= {"tini", "python3.11"}


def test_an_environment_is_removed_from_this_machine(line: CommandLine, docker_engine: DockerEngine) -> None:
    assert line("env", "build", "marks").status == 0
    assert line("env", "remove", "marks", "--yes").output == f"{MARKS} is removed from this machine.\n"
    with pytest.raises(docker.errors.ImageNotFound):
        docker_engine.client.images.get(MARKS)
    assert "is not on this machine" in line("env", "remove", "marks", "--yes").output


BAD = [
    (("show", "nope"), "There is no environment “nope”."),
    (("build", "nowhere/"), "There is no recipe in nowhere/."),
    (("push", "tiny", "--to", "A B"), "is no image reference"),
    (("push", "tiny", "--to", f"r.fr/x@sha256:{'0' * 64}"), "cannot be sent to a digest"),
    (("pull", "tiny"), "names no registry for tiny"),
    (("pull", "lpf"), "has no image cli/lpf:1"),
    (("diff", "tiny", "absent:1"), "no image absent:1 on this machine"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(words)[:30] for words, _ in BAD])
def test_a_mistake_is_one_clear_line(
    arguments: tuple[str, ...], message: str, line: CommandLine, registry: RunningRegistry
) -> None:
    with Registry(registry.host, registry.access) as there:
        lpf = parse_reference(f"{registry.host}/cli/lpf:1")
        if there.digest(lpf):
            there.delete(lpf)
    answer = line("env", *arguments)
    assert answer.status == 1
    assert message in answer.errors
    assert len(answer.errors.splitlines()) == 1
