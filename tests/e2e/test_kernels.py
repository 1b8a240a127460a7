"""Kernels that a session is offered by the lab file, started as the launcher does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from springtide.hub.process import unreadable_python
from tests.e2e.labs import process_lab, slurm_lab
from tests.support import logs
from tests.support.accounts import TwoUsers
from tests.support.hub import RunningHub
from tests.support.kernels import SessionClient
from tests.support.leaks import LeakCheck
from tests.support.need import require
from tests.support.slurm import Slurm


@pytest.fixture
def session(slurm: Slurm, two_users: TwoUsers) -> Iterator[SessionClient]:
    """Yield a session on the hub's machine of somebody who may submit there, and may not use its engine."""
    require("root's rights", os.geteuid() == 0, "run the tests as root")
    require("an installation that other accounts can read", not unreadable_python(), unreadable_python())
    lab = process_lab()
    machine = {"kind": "local", "runtime": "host", "accounts": "user", "environment_variables": slurm.environment}
    lab["sites"] = {"machine": machine, **slurm_lab(label="Cluster")["sites"]}
    lab["profiles"] += slurm_lab()["profiles"]
    # In a folder that other accounts may pass, unlike pytest's own.
    folder = two_users.alice.home.parent / f"{two_users.alice.name}-hub"
    folder.mkdir(mode=0o711)
    hub = RunningHub(lab, folder, slurm.environment)
    logs.show_on_failure("session", lambda: hub.logs)
    try:
        yield hub.start().start_session(two_users.alice.name, {"profile": "process", "memory": "512M"})
    finally:
        hub.stop()
        logs.forget("session")
        two_users.alice.run("rm", "-rf", ".springtide")
        shutil.rmtree(folder)


def test_a_kernel_on_a_node_is_one_of_the_launchers_kernels(
    nothing_left: LeakCheck, session: SessionClient, slurm: Slurm
) -> None:
    specs = session.request("GET", "api/kernelspecs").json()["kernelspecs"]
    assert specs["batch-job"]["spec"]["display_name"] == "Python, JupyterLab and Dask (job at Cluster)"
    assert not [name for name in specs if name.endswith("-docker")]
    said = session.run_code("import os; print(os.environ['SLURM_JOB_PARTITION'], os.getuid())", kernel="batch-job")
    assert said.split()[0] == "batch"
