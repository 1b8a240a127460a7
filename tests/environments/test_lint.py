"""Faults of a recipe that can be read before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from springtide.environments.findings import State
from springtide.environments.lint import lint
from springtide.environments.new import make_environment
from springtide.share import share_path

KEY = "-----BEGIN " + "PRIVATE KEY-----\n"
FAULTS = [
    ("Dockerfile", "FROM ${SESSION}", "FROM debian:12", "starts from debian:12"),
    ("Dockerfile", "USER 1000:1000", "USER root", "ends as root"),
    ("Dockerfile", "--require-hashes", "", "pip install without --require-hashes"),
    ("Dockerfile", "rm -r /tmp/build", "curl https://x.fr | sh", "not compared with its checksum"),
    ("Dockerfile", "COPY requirements.lock site/site-ca.cr[t] /tmp/build/", "COPY . /tmp/build/", "copies the whole"),
    ("Dockerfile", "#: ", "# ", "no “#: title”"),
    ("requirements.in", "ipykernel", "ipykernel\nnumpy", "asks for numpy, which requirements.lock lacks"),
    ("requirements.in", "ipykernel", "ipykernel==1.0", "asks for ipykernel 1.0, requirements.lock has"),
    ("requirements.lock", "asttokens==", "# x\nextra>=1\nasttokens==", "“extra>=1” is not pinned"),
    ("requirements.lock", "asttokens==", "# https://x.fr\nasttokens==", "names a package index"),
    ("kernelspec/kernel.json", '"environment": "new"', '"environment": "old"', "is of environment “old”"),
    ("kernelspec/kernel.json", "/opt/environments/new/bin/python", "python", "from PATH"),
    ("kernelspec/kernel.json", '"metadata"', '"other"', "lacks argv, or metadata"),
    ("modules/new_tools.py", "import platform", f'KEY = """{KEY}"""', "holds a private key"),
    ("modules/new_tools.py", "import platform", 'URL = "https://ada:secret@x.fr"', "a password in a URL"),
]


@pytest.mark.parametrize(("file", "old", "new", "fault"), FAULTS, ids=[fault for *_, fault in FAULTS])
def test_a_fault_is_named_with_its_file(file: str, old: str, new: str, fault: str, tmp_path: Path) -> None:
    folder = make_environment(tmp_path, "new")
    path = folder / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    finding = lint(folder, "new")
    assert finding.state is State.FAILED
    (said,) = finding.details
    assert said.startswith(file)
    assert fault in said


@pytest.mark.parametrize("name", ["id_rsa", ".netrc", "registry-credentials.json", "server.key"])
def test_a_file_that_looks_like_a_secret_is_named(name: str, tmp_path: Path) -> None:
    folder = make_environment(tmp_path, "new")
    (folder / name).touch()
    assert lint(folder, "new").details == (f"{name}: looks like a secret: whoever has the image would have it",)


def test_missing_tests_and_locks_are_said(tmp_path: Path) -> None:
    folder = make_environment(tmp_path, "new")
    (folder / "tests" / "test_new.py").unlink()
    (folder / "requirements.lock").unlink()
    assert [fault.split(":")[0] for fault in lint(folder, "new").details] == ["requirements.lock", "tests"]


@pytest.mark.parametrize("name", sorted(file.parent.name for file in share_path("kernels").glob("*/Dockerfile")))
def test_the_shipped_recipes_have_no_fault(name: str) -> None:
    assert lint(share_path("kernels", name), name).details == ()
