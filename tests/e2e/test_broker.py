"""A session in a container, without qsub or keys, runs jobs on a real Slurm through the broker, as its user."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from springtide.environments.catalog import shipped
from springtide.jobs.remote import RemoteDesk
from springtide.jobs.transport import Transport
from springtide.ledger.store import Ledger
from tests.e2e.labs import SMALL
from tests.jobs.labs import write_lab
from tests.support.accounts import TwoUsers
from tests.support.docker_engine import DockerEngine
from tests.support.hub import RunningHub, shared_hub
from tests.support.leaks import LeakCheck
from tests.support.processes import all_processes
from tests.support.slurm import Slurm
from tests.support.waiting import wait_until

SUBMIT = """
import os, shutil, springtide
assert not any(shutil.which(name) for name in ("qsub", "sbatch", "squeue"))
with open("in.txt", "w") as file:
    file.write("from the container")
job = springtide.run("sum", first=[1, 2, 3], sleep=1, data="in.txt", site="cluster")
print(job.token)
"""
FOLLOW = """
import springtide
job = springtide.job("{token}")
result = job.result(timeout=180)
print([path.read_text() for path in result["total"]], job.progress, len(job.runs))
print("from the container" in job.log, [float(y) for y in job.plot().axes[0].lines[0].get_ydata()])
print([one.token for one in springtide.jobs()])
"""


@pytest.fixture(scope="module")
def hub(
    docker_engine: DockerEngine, two_users: TwoUsers, slurm: Slurm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningHub]:
    """Yield a platform with containers and a cluster; at its end nothing may be left of it."""
    from springtide.environments.build import build

    base = shipped()["base"]
    build(base, print)
    folder = tmp_path_factory.mktemp("broker")
    write_lab(folder)
    (folder / "mine" / "Dockerfile").touch()
    lab = {
        "springtide": 1,
        "sites": {
            "containers": {"kind": "local", "runtime": "docker"},
            "cluster": {"kind": "slurm", "commands": "/usr/bin", "accounts": "user"},
        },
        "environments": {"base": {"folder": "mine", "image": base.image}},
        "profiles": [{"name": "container", "site": "containers", **SMALL}],
    }
    for part in (folder, *(folder / "mine").rglob("*")):
        part.chmod(0o755)
    check = LeakCheck(
        folders=[tmp_path_factory.getbasetemp()],
        engine=docker_engine,
        slurm=slurm,
        uids=frozenset({two_users.alice.uid, two_users.bob.uid}),
    )
    with shared_hub(lab, folder, slurm.environment) as hub:
        yield hub
        hub.stop_all_sessions()
        slurm.cancel_all()
    instance = (hub.state / "run" / "instance").read_text().strip()
    for volume in docker_engine.client.volumes.list():
        if instance in volume.name:
            volume.remove()
    check.check()


def broker_pids(hub: RunningHub) -> list[int]:
    return [one.pid for one in hub.processes() if "springtide.broker.service" in one.command]


def desk(hub: RunningHub, user: str) -> RemoteDesk:
    return RemoteDesk(Transport(f"{hub.url}/services/springtide-broker/", hub.token_of(user)))


def test_a_container_runs_a_sweep_on_the_cluster_and_nobody_else_sees_it(hub: RunningHub, two_users: TwoUsers) -> None:
    alice, bob = two_users.alice, two_users.bob
    session = hub.start_session(alice.name, {"profile": "container"})
    token = session.run_code(SUBMIT).strip()
    kernel = session.start_kernel()
    (broker,) = broker_pids(hub)
    os.kill(broker, signal.SIGKILL)
    # The hub starts it again, and the session, which knows nothing of that, waits for it.
    said = session.run_in(kernel, FOLLOW.format(token=token), 120).splitlines()
    assert said[0] == "['3.0', '4.0', '5.0'] 1.0 3"
    assert said[1] == "True [3.0, 4.0, 5.0]"
    assert said[2] == f"['{token}']"
    folder = alice.home / "springtide" / "jobs" / f"sum-{token}"
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o777) == (alice.uid, 0o700)
    theirs = desk(hub, bob.name).transport
    for path in (f"jobs/{token}", f"jobs/{token}/log", f"jobs/{token}/outputs"):
        answer = requests.get(f"{theirs.url}v1/{path}", headers={"Authorization": f"token {theirs.token}"}, timeout=30)
        assert answer.status_code == 404
    assert requests.get(f"{theirs.url}v1/jobs", timeout=30).status_code == 401
    with Ledger.open(hub.state / "ledger.sqlite") as ledger:
        assert [row.user for row in ledger.runs()] == [alice.name]
    hub.stop_session(alice.name)


def test_a_hub_that_is_killed_takes_no_job_with_it(hub: RunningHub, two_users: TwoUsers) -> None:
    desk_of_alice = desk(hub, two_users.alice.name)
    answer = desk_of_alice.transport.call(
        "POST", "jobs", {"application": "sum", "parameters": {"sleep": 3}, "token": "abcdefgh"}
    )
    (before,) = broker_pids(hub)
    address = Path(hub.state / "run" / "broker-port").read_text()
    hub.wait_hub_restarted(hub.kill_hub())
    wait_until(lambda: broker_pids(hub) not in ([], [before]), 30, "another broker is there")
    assert before not in [process.pid for process in all_processes()]
    assert Path(hub.state / "run" / "broker-port").read_text() == address
    again = desk_of_alice.transport.call("POST", "jobs", {"application": "sum", "token": "abcdefgh"})
    assert again["parameters"]["sleep"] == 3
    look = desk_of_alice.see(answer["token"], wait_s=25)
    assert (look.view.state, look.view.exit_status) == ("finished", 0), json.dumps(again)
    # What the program printed last is read after its end is known.
    wait_until(lambda: desk_of_alice.see(answer["token"]).run.progress == 1.0, 10, "the last progress is read")


def test_an_administrators_session_sees_only_its_own_jobs(hub: RunningHub, two_users: TwoUsers) -> None:
    me = desk(hub, two_users.bob.name).transport.get("me")
    assert (me["name"], me["account"], me["sites"]) == (two_users.bob.name, two_users.bob.name, ["cluster"])
    assert me["scopes"] == ["custom:springtide:jobs:read", "custom:springtide:jobs:submit"]
    # A service's token is nobody's.
    answer = requests.get(
        f"{hub.url}/services/springtide-broker/v1/jobs",
        headers={"Authorization": f"token {hub.admin_token}"},
        timeout=30,
    )
    assert answer.status_code in (401, 403)
