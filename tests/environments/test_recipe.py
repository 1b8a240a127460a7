"""What is read from a recipe's folder."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from springtide.environments.recipe import Step, arguments, build_context, fingerprint, needs_session_image, steps
from springtide.errors import EnvironmentsError

DOCKERFILE = """\
# A recipe.
ARG SESSION=somewhere/else
FROM ${SESSION}

#: installing things
RUN set -eu; \\
    # a comment between lines
    true
COPY a b
ARG PIP_INDEX_URL
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "a").write_text("content")
    return tmp_path


def test_steps_are_numbered_as_the_builder_does(folder: Path) -> None:
    assert [step.instruction.split()[0] for step in steps(folder)] == ["ARG", "FROM", "RUN", "COPY", "ARG"]


def test_a_title_belongs_to_the_instruction_below_it(folder: Path) -> None:
    assert [step.title for step in steps(folder)] == ["", "", "installing things", "", ""]


def test_an_instruction_goes_on_over_lines_and_comments(folder: Path) -> None:
    assert steps(folder)[2] == Step("RUN set -eu; true", "installing things")


def test_declared_arguments_are_found(folder: Path) -> None:
    assert arguments(folder) == {"SESSION", "PIP_INDEX_URL"}
    assert needs_session_image(folder)


def test_a_folder_without_a_dockerfile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentsError, match="has no Dockerfile"):
        steps(tmp_path)


@pytest.mark.parametrize("name", ["a", "new", "Dockerfile", "kernelspec/kernel.json"])
def test_the_fingerprint_changes_with_what_reaches_the_image(folder: Path, name: str) -> None:
    before = fingerprint(folder, "")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("changed")
    assert fingerprint(folder, "") != before


def test_the_fingerprint_changes_with_the_parent_and_with_modes(folder: Path) -> None:
    before = fingerprint(folder, "parent:1")
    assert fingerprint(folder, "parent:2") != before
    (folder / "a").chmod(0o755)
    assert fingerprint(folder, "parent:1") != before


@pytest.mark.parametrize("name", ["README.md", "requirements.in", "tests/test_a.py", "site/site-ca.crt"])
def test_the_fingerprint_ignores_what_stays_outside_the_image(folder: Path, name: str) -> None:
    before = fingerprint(folder, "")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("changed")
    assert fingerprint(folder, "") == before


def test_the_context_is_the_same_for_every_owner_time_and_umask(folder: Path) -> None:
    before = build_context(folder, {}).read()
    os.utime(folder / "a", (0, 0))
    (folder / "a").chmod(0o640)
    assert build_context(folder, {}).read() == before


def test_extra_files_replace_those_of_the_folder(folder: Path) -> None:
    with tarfile.open(fileobj=build_context(folder, {"a": b"extra", "site/b": b""})) as context:
        assert sorted(context.getnames()) == ["Dockerfile", "a", "site/b"]
        content = context.extractfile("a")
        assert content
        assert content.read() == b"extra"
