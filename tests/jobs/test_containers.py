"""Jobs in containers: an ordinary user's job runs in its environment's image, and its record says in which."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from springtide.environments.conversions import ConversionCache
from springtide.environments.registry.reference import Reference
from springtide.environments.registry.transfer import push
from springtide.jobs.software import objection_to
from springtide.lab.load import load_lab
from tests.support.accounts import Account, TwoUsers, run_as
from tests.support.apptainer import apptainer_folder
from tests.support.docker_engine import DockerEngine
from tests.support.registry import RunningRegistry, tiny_image
from tests.support.slurm import Slurm

APPLICATION = """\
springtide: 1
label: Look around
parameters:
  word: {kind: text, default: nothing, label: Word}
program: look.sh
command: [sh, "{program}", "{word}"]
resources: {memory: 64M, walltime: 1m}
outputs: [{name: found, files: found.txt}]
"""
PROGRAM = """\
read mark </mark
echo "$mark|$PWD|$HOME|$WORD|$OMP_NUM_THREADS|$1" >found.txt
echo hello
"""
FOLLOWS = """\
springtide: 1
label: Follow
command: [cat, "{upstream.outputs}/found.txt"]
resources: {memory: 64M, walltime: 1m}
"""


@dataclass
class Login:
    """An ordinary user at a login machine."""

    account: Account
    lab: Path
    cache: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, check: bool = True) -> tuple[int, str, str]:
        done = run_as(
            self.account,
            [str(Path(sys.executable).with_name("springtide")), *arguments, "--lab", str(self.lab)],
            environment=self.environment,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.returncode, done.stdout, done.stderr

    def record(self, token: str) -> tuple[Path, dict[str, Any]]:
        """Return the folder of a job and what is written down of it."""
        (folder,) = (self.account.home / "springtide" / "jobs").glob(f"*-{token}")
        return folder, json.loads((folder / "provenance.json").read_text())


@pytest.fixture(scope="module")
def image(docker_engine: DockerEngine, registry: RunningRegistry) -> tuple[str, str]:
    """Return the reference of an image that has no more than a shell, and its digest."""
    with tiny_image(docker_engine.client, "jobs:1", "in the image\n") as name:
        place = Reference(registry.host, "test/jobs", "1")
        sent = push(docker_engine.client, name, place, registry.access, lambda line: None)
    return str(sent.reference), sent.image


@pytest.fixture
def login(
    tmp_path: Path, slurm: Slurm, registry: RunningRegistry, image: tuple[str, str], two_users: TwoUsers
) -> Login:
    apps = tmp_path / "recipe" / "apps"
    apps.mkdir(parents=True)
    for name, text in (("look.yaml", APPLICATION), ("look.sh", PROGRAM), ("follow.yaml", FOLLOWS)):
        (apps / name).write_text(text)
    (tmp_path / "recipe" / "Dockerfile").write_text("FROM scratch\n")
    site = {"kind": "slurm", "commands": str(slurm.commands), "runtime": "apptainer"}
    # The tests' machine gives ordinary accounts no /dev/fuse: Apptainer unpacks a SIF before it starts.
    variables = {"WORD": "said", "APPTAINER_UNSQUASH": "1", "PATH": os.environ["PATH"]}
    sites = {
        "sif": {**site, "environment_variables": variables},
        "folder": {**site, "image_form": "folder"},
        "without": {**site, "runtime": "udocker"},
        "elsewhere": {**site, "image_form": "folder", "runtime_program": "/nowhere/apptainer-of-nodes"},
    }
    lab = tmp_path / "lab.yaml"
    lab.write_text(
        yaml.safe_dump(
            {
                "springtide": 1,
                "sites": sites,
                "environments": {"tools": {"image": image[0], "folder": "recipe"}},
                # Whoever may convert into the lab's own cache needs the login, others do not.
                "registries": registry.lab,
                "images": {"folder": "images"},
                "profiles": [{"name": "x", "site": "sif"}],
            }
        )
    )
    for folder in (*list(tmp_path.parents)[:2], tmp_path):
        folder.chmod(folder.stat().st_mode | 0o055)
    path = f"{apptainer_folder()}{os.pathsep}{os.environ['PATH']}"
    return Login(two_users.alice, lab, tmp_path / "images", {**slurm.environment, "PATH": path})


@pytest.fixture
def filled(login: Login, monkeypatch: pytest.MonkeyPatch) -> Login:
    """Return the user of a lab whose administrator has converted the image."""
    monkeypatch.setenv("PATH", login.environment["PATH"])
    for form in ("sif", "folder"):
        command = [str(Path(sys.executable).with_name("springtide")), "env", "convert", "tools", "--form", form]
        run_as(None, [*command, "--lab", str(login.lab)])
    return login


@pytest.mark.parametrize("site", ["sif", "folder"])
def test_an_ordinary_users_job_runs_in_the_image_and_the_record_holds_its_digest(
    filled: Login, image: tuple[str, str], site: str
) -> None:
    login, (reference, digest) = filled, image
    _, out, _ = login("run", "look", "--site", site, "--word", "é x", "--wait")
    token = out.split()[0]
    folder, record = login.record(token)
    outputs = folder / "outputs"
    said = "said" if site == "sif" else ""
    assert (outputs / "found.txt").read_text() == f"in the image|{outputs}|{folder}|{said}|1|é x\n"
    assert [path.name for path in outputs.iterdir()] == ["found.txt"]
    known = record["environment"]
    assert (known["runtime"], known["digest"], known["image"]) == ("apptainer", digest, reference)
    assert record["exit_status"] == 0
    assert record["command"] == ["sh", str(folder / "program" / "look.sh"), "é x"]

    _, rows, _ = login("ledger", "--json")
    assert [row["environment"] for row in json.loads(rows) if row["token"] == token] == [digest]
    assert [entry.uses() for entry in ConversionCache(login.cache).entries()] == [[], []]

    _, out, _ = login("run", "follow", "--after", token, "--site", site, "--wait")
    follower, record = login.record(out.split()[0])
    assert (record["exit_status"], record["environment"]["digest"]) == (0, digest)
    assert "in the image|" in (follower / "log.txt").read_text()


def test_a_site_without_its_runtime_is_said_in_a_sentence(filled: Login) -> None:
    status, _, errors = filled("run", "look", "--site", "without", check=False)
    assert status == 1
    assert errors.startswith("The site “without” has containers of udocker, which cannot be used here: ")
    assert len(errors.strip().splitlines()) == 1


def test_a_job_that_may_go_anywhere_goes_where_its_image_can_run(filled: Login) -> None:
    filled.lab.write_text(filled.lab.read_text().replace("  elsewhere:", "  folder-too:"))
    lab = load_lab(filled.lab)
    assert objection_to(lab, "tools", "local") == (
        "The environment “tools” is only an image, and this site runs no containers."
    )
    assert objection_to(lab, "tools", "without").startswith("The site “without” has containers of udocker")
    assert objection_to(lab, "tools", "folder-too") == ""


def test_a_node_without_the_runtime_says_so_in_the_jobs_log(filled: Login) -> None:
    status, out, _ = filled("run", "look", "--site", "elsewhere", "--wait", check=False)
    folder, record = filled.record(out.split()[0])
    assert (status, record["exit_status"]) == (127, 127)
    assert (folder / "log.txt").read_text().startswith("This node has no apptainer, in which its site runs jobs: ")


def test_a_user_who_may_not_fetch_the_image_is_told(login: Login) -> None:
    status, _, errors = login("run", "look", "--site", "sif", check=False)
    assert status == 1
    assert "credentials" in errors
