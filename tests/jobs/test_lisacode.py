"""A lab's batch script for LISACode, wrapped as an application, in a container on OpenPBS.

LISACode 2 itself is not public. The image has a stand-in at its place that writes a file: what is tested is the way
from the application to a program inside an image on a node, not the program.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from springtide.share import share_path
from tests.support.accounts import Account, TwoUsers, run_as
from tests.support.hub import SPRINGTIDE
from tests.support.need import require
from tests.support.openpbs import OpenPBS

APPLICATION = share_path("hub_config", "examples", "apps", "lisacode.yaml")
CACHE = Path("/var/cache/springtide-tests")
DEBIAN = "springtide/debian:12"
STAND_IN = """\
import os, sys
print('progress 0.5 "TDI"', flush=True)
with open(sys.argv[1] + ".txt", "w") as file:
    file.write(os.environ.get("SINGULARITY_NAME", os.environ.get("APPTAINER_NAME", "")))
"""


@pytest.fixture(scope="session")
def singularity() -> Path:
    """Return a folder with the command."""
    found = shutil.which("singularity") or next(map(str, CACHE.glob("apptainer-[0-9]*/bin/singularity")), "")
    require("singularity", found, "install Apptainer, which answers to that name")
    return Path(found).parent


@pytest.fixture(scope="session")
def image() -> Path:
    """Return an unpacked image with a stand-in for LISACode; made once on a machine."""
    folder = CACHE / "lisacode.img"
    known = subprocess.run(["docker", "image", "inspect", DEBIAN], capture_output=True, check=False).returncode == 0
    require(f"the image {DEBIAN}", known or folder.exists(), "make images")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lisacode.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unpack(folder.with_suffix(".new"))
            folder.with_suffix(".new").rename(folder)
    return folder


def unpack(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    container = subprocess.run(["docker", "create", DEBIAN, "true"], check=True, capture_output=True, text=True)
    try:
        subprocess.run(
            ["sh", "-c", 'docker export "$1" | tar -x -C "$2"', "sh", container.stdout.strip(), str(folder)], check=True
        )
    finally:
        subprocess.run(["docker", "rm", container.stdout.strip()], check=True, capture_output=True)
    (folder / "usr/bin/makeTDI-lisacode2.py").write_text(STAND_IN)
    if not (folder / "usr/bin/python").exists():
        (folder / "usr/bin/python").symlink_to("python3")


def test_the_labs_script_as_an_application_runs_in_its_image_on_openpbs(
    openpbs: OpenPBS, two_users: TwoUsers, singularity: Path, image: Path
) -> None:
    home, alice = two_users.alice.home, two_users.alice
    write_lab(home, openpbs, singularity)
    command = ["run", "lisacode", "--site", "pbs", "--image", str(image), "--sweep", "simulation=mytdi,other"]
    job = springtide(alice, openpbs, *command, "--memory", "256M", "--wait", "--json")
    assert (job["state"], job["exit_status"], job["runs"], job["progress"]) == ("finished", 0, 2, 0.5)
    outputs = Path(job["folder"], "outputs")
    assert [(outputs / file).read_text() for file in ("1/mytdi.txt", "2/other.txt")] == ["lisacode.img"] * 2
    record = json.loads(Path(job["folder"], "provenance-1.json").read_text())
    assert record["command"] == f"singularity exec {image} python /usr/bin/makeTDI-lisacode2.py mytdi".split()
    assert (record["site"], record["user"]) == ("pbs", alice.name)


def write_lab(home: Path, openpbs: OpenPBS, singularity: Path) -> None:
    path = f"export PATH={singularity}:$PATH"
    lab: dict[str, Any] = {
        "springtide": 1,
        "sites": {"pbs": {"kind": "pbspro", "commands": str(openpbs.commands), "prologue": path}},
        "environments": {"base": {"folder": "recipe"}},
        "profiles": [{"name": "x", "site": "pbs"}],
    }
    (home / "recipe/apps").mkdir(parents=True)
    for name, content in (
        ("lab.yaml", yaml.safe_dump(lab)),
        ("recipe/Dockerfile", "FROM scratch\n"),
        ("recipe/apps/lisacode.yaml", APPLICATION.read_text()),
    ):
        (home / name).write_text(content)
        (home / name).chmod(0o644)
    for folder in ("recipe", "recipe/apps"):
        os.chmod(home / folder, 0o755)


def springtide(account: Account, openpbs: OpenPBS, *arguments: str) -> Any:
    command = [str(SPRINGTIDE), *arguments, "--lab", "lab.yaml", "--state", "state"]
    answer = run_as(account, command, environment=openpbs.environment, check=False)
    assert answer.stdout, answer.stderr
    return json.loads(answer.stdout)
