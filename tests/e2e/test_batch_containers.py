"""One image everywhere: a batch session, a container session and Dask workers on nodes run in the same one."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from springtide.environments.conversions import ConversionCache
from springtide.ledger.store import Ledger
from tests.e2e.labs import container_lab, slurm_lab
from tests.support.accounts import TwoUsers, run_as
from tests.support.apptainer import apptainer_folder
from tests.support.docker_engine import DockerEngine
from tests.support.hub import RunningHub, shared_hub
from tests.support.kernel_images import CONVERTED, session_image
from tests.support.leaks import LeakCheck
from tests.support.slurm import Slurm

CELL = """
import json
from springtide.environments import this_image
here = this_image()
print(json.dumps([here.digest, here.packages.as_json()]))
"""
WHERE = """
import getpass, json, os, sys, springtide
with open("from-the-node.txt", "w") as file:
    file.write("kept")
print(json.dumps({
    "user": getpass.getuser(), "python": sys.executable, "folder": os.getcwd(), "home": os.environ["HOME"],
    "package": springtide.__file__, "umask": oct(os.umask(0)), "kernels": os.environ.get("JUPYTER_PATH", ""),
}))
"""
CLUSTER = """
import json, os
from distributed import Client
from springtide.cluster import HybridCluster
from springtide.environments import this_image

with HybridCluster() as cluster, Client(cluster) as client:
    cluster.scale(cluster=1)
    client.wait_for_workers(1, timeout=120)
    here = client.submit(this_image).result()
    print(json.dumps([here.digest, here.packages.as_json(), client.submit(os.getcwd).result()]))
"""


def the_lab(**site: Any) -> dict[str, Any]:
    program = str(apptainer_folder() / "apptainer")
    workers = {"memory": "300M", "walltime": "10m", "maximum": 2}
    lab = slurm_lab(runtime="apptainer", image_form="folder", runtime_program=program, workers=workers, **site)
    containers = container_lab()
    lab["sites"] |= containers["sites"]
    lab["profiles"] += containers["profiles"]
    lab["images"] = {"folder": str(CONVERTED), "limit": "8G"}
    return lab


@pytest.fixture(scope="module")
def image(docker_engine: DockerEngine) -> str:
    """Return the digest of the session image."""
    return session_image(docker_engine)[1]


@pytest.fixture(scope="module")
def hub(
    two_users: TwoUsers, slurm: Slurm, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningHub]:
    check = LeakCheck(folders=[tmp_path_factory.getbasetemp()], uids=frozenset({two_users.alice.uid}), slurm=slurm)
    with shared_hub(the_lab(), tmp_path_factory.mktemp("hub"), slurm.environment) as hub:
        yield hub
        slurm.cancel_all()
    check.check()


def test_a_batch_session_and_a_container_run_in_one_image(
    hub: RunningHub, slurm: Slurm, two_users: TwoUsers, image: str
) -> None:
    alice = two_users.alice
    session = hub.start_session(alice.name, {"profile": "batch"})
    on_the_node = json.loads(session.run_code(CELL))
    assert on_the_node[0] == image
    assert json.loads(session.run_code(WHERE)) == {
        "user": alice.name,
        "python": "/opt/session/bin/python",
        "folder": str(alice.home),
        "home": str(alice.home),
        "package": "/opt/springtide/python/springtide/__init__.py",
        "umask": "0o22",
        "kernels": "",
    }
    assert (alice.home / "from-the-node.txt").read_text() == "kept"

    with Ledger.open(hub.state / "ledger.sqlite") as ledger:
        (row,) = ledger.jobs(kind="session", open_only=True)
    assert row.environment == image
    (entry,) = [one for one in ConversionCache(CONVERTED).entries() if one.about.digest == image]
    assert row.token in entry.uses()

    (job,) = [job for job in slurm.jobs() if job.state == "RUNNING"]
    seen = slurm.run(["scontrol", "show", "job", job.id], two_users.bob).stdout
    seen += two_users.bob.run("ps", "axeww", check=False).stdout
    assert job.id in seen
    assert "JUPYTERHUB_API_TOKEN" not in seen
    hub.stop_session(alice.name)

    container = hub.start_session(alice.name, {"profile": "container"})
    assert json.loads(container.run_code(CELL)) == on_the_node
    with Ledger.open(hub.state / "ledger.sqlite") as ledger:
        (row,) = ledger.jobs(kind="session", open_only=True)
    assert row.environment == image
    hub.stop_session(alice.name)


@pytest.fixture
def a_lab_file(tmp_path: Path) -> Path:
    lab = tmp_path / "lab.yaml"
    lab.write_text(yaml.safe_dump(the_lab(accounts="auto")))
    for folder in (*list(tmp_path.parents)[:2], tmp_path):
        folder.chmod(folder.stat().st_mode | 0o055)
    return lab


def test_dask_workers_on_nodes_run_in_that_image_and_no_cluster_mixes_two(
    slurm: Slurm, two_users: TwoUsers, image: str, a_lab_file: Path
) -> None:
    variables = {**slurm.environment, "SPRINGTIDE_LAB": str(a_lab_file)}

    def cluster(digest: str) -> tuple[int, str, str]:
        done = run_as(
            two_users.alice,
            [sys.executable, "-c", CLUSTER],
            environment={**variables, "SPRINGTIDE_IMAGE_DIGEST": digest},
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    status, out, errors = cluster(image)
    assert status == 0, errors
    digest, packages, folder = json.loads(out)
    assert (digest, folder) == (image, str(two_users.alice.home))
    assert packages["python"]["session"]["distributed"]
    (entry,) = [one for one in ConversionCache(CONVERTED).entries() if one.about.digest == image]
    assert not [mark for mark in entry.uses() if mark.startswith("c")]

    status, _, errors = cluster(f"sha256:{os.urandom(32).hex()}")
    assert status == 1
    assert "DifferentImages: The images are not the same" in errors
    assert "Packages that differ" in errors
    assert slurm.jobs() == [] or not [job for job in slurm.jobs() if job.state in ("PENDING", "RUNNING")]
