"""A Dockerfile said as an Apptainer definition: the same steps in the same order, or a refusal."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from springtide.environments.catalog import EnvironmentRecipe
from springtide.environments.definition import CONTEXT, SCRATCH_MARK, definition
from springtide.environments.unprivileged import build_sif
from springtide.errors import EnvironmentsError
from springtide.lab.models import Text
from springtide.share import share_path

DOCKERFILE = """ARG BASE
FROM ${BASE}
ENV GREETING="a b" HOME=/home/x
COPY note.txt more* /tmp/build/
#: making a mark
RUN cat /tmp/build/note.txt; \\
    rm -r /tmp/build
COPY modules/ /opt/modules/
COPY note.txt /opt/renamed.txt
EXPOSE 80
USER 1000:1000
CMD ["cat", "/mark"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    (folder / "modules").mkdir(parents=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "note.txt").write_text("hello\n")
    (folder / "modules" / "m.py").write_text("x = 1\n")
    return folder


def made(folder: Path) -> str:
    return definition(folder, folder.name, Path("/sif/debian-12"), Path("/build/context"))


def section(text: str, title: str) -> list[str]:
    return [line.strip() for line in text.split(f"\n%{title}\n", 1)[1].split("\n%", 1)[0].strip().splitlines()]


def test_it_starts_from_what_was_built_before_and_keeps_the_order_of_the_steps(folder: Path) -> None:
    text = made(folder)
    assert "\nBootstrap: localimage\nFrom: /sif/debian-12\n" in text
    assert section(text, "files")[0] == f"/build/context {CONTEXT}"
    steps = [line for line in section(text, "post") if line.startswith(("copy /", "cd ", "echo '#:"))]
    assert steps == [
        "copy /tmp/build/ note.txt 'more*'",
        "echo '#: making a mark'",
        "cd \"$workdir\"; /bin/sh -c 'cat /tmp/build/note.txt; rm -r /tmp/build'",
        "copy /opt/modules/ modules/",
        "copy /opt/renamed.txt note.txt",
    ]
    assert section(text, "runscript") == ["[ $# -gt 0 ] || set -- cat /mark", 'exec env "$@"']


def test_everyone_keeps_a_home_of_their_own(folder: Path) -> None:
    assert section(made(folder), "environment")[0] == 'export GREETING="a b"'
    assert "HOME" not in "".join(section(made(folder), "environment"))


def test_its_steps_are_shell_and_do_nothing_outside_a_build(folder: Path) -> None:
    post = "\n".join(section(made(folder), "post"))
    assert subprocess.run(["sh", "-n", "-c", post], check=False).returncode == 0
    assert not Path("/tmp", SCRATCH_MARK).exists()
    answer = subprocess.run(["sh", "-c", post], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (1, "Build it with: springtide env build --with apptainer\n")


def test_the_clusters_own_steps_come_last(folder: Path) -> None:
    (folder / "apptainer.post").write_text("echo post\n")
    assert section(made(folder), "post")[-2:] == [f"/bin/sh -eu {CONTEXT}/apptainer.post", f"rm -rf {CONTEXT}"]


def test_a_value_that_may_be_secret_is_not_in_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://ada:secret@mirror.lab.fr")
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nARG PIP_INDEX_URL\nARG SIZE=3\nRUN true\n")
    text = made(folder)
    assert "secret" not in text
    assert ': "${SIZE:=3}"; [ -z "$SIZE" ] || export SIZE' in text


@pytest.mark.parametrize(
    "instruction",
    [
        "FROM other",
        "FROM other AS stage",
        "COPY --from=stage /a /b",
        "COPY a relative",
        'RUN ["exec", "form"]',
        "RUN --mount=type=cache,target=/x true",
        "ADD https://x.fr/y /y",
        "VOLUME /data",
        "ENV A b",
        "ENTRYPOINT [broken",
    ],
)
def test_what_cannot_be_said_is_refused_with_its_line(instruction: str, folder: Path) -> None:
    with (folder / "Dockerfile").open("a") as file:
        file.write(f"{instruction}\n")
    with pytest.raises(EnvironmentsError, match="cannot be said in an Apptainer definition") as refused:
        made(folder)
    assert instruction in refused.value.message


@pytest.mark.parametrize("name", sorted(file.parent.name for file in share_path("kernels").glob("*/Dockerfile")))
def test_every_shipped_recipe_can_be_said(name: str) -> None:
    folder = share_path("kernels", name)
    post = "\n".join(section(definition(folder, name, Path("/x"), Path("/c")), "post"))
    assert subprocess.run(["sh", "-n", "-c", post], check=False).returncode == 0


def test_without_apptainer_that_is_said(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    recipe = EnvironmentRecipe("tiny", "tiny:1", folder, Text(en="Tiny"))
    with pytest.raises(EnvironmentsError, match="Apptainer is not on this machine"):
        build_sif(recipe, tmp_path / "sif", lambda line: None)
    assert not (tmp_path / "sif").exists()
