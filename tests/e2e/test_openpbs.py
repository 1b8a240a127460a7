"""Batch sessions on a real OpenPBS, where one is set up by hand: two users, no token in sight, nothing lost."""

import socket
import time
from collections.abc import Iterator

import pytest

from tests.conftest import StartHub
from tests.e2e.labs import slurm_lab
from tests.support.accounts import TwoUsers
from tests.support.hub import RunningHub
from tests.support.leaks import LeakCheck
from tests.support.openpbs import OpenPBS
from tests.support.waiting import wait_until


def live_jobs(openpbs: OpenPBS, user: str) -> list[str]:
    return openpbs.run(["qselect", "-u", user]).stdout.split()


@pytest.fixture
def hub(openpbs: OpenPBS, nothing_left: LeakCheck, two_users: TwoUsers, start_hub: StartHub) -> Iterator[RunningHub]:
    server = openpbs.run(["qstat", "-B"]).stdout.splitlines()[2].split()[0]
    lab = slurm_lab(kind="pbspro", commands=str(openpbs.commands))
    lab["hub"] = {"api_address": socket.gethostbyname(server)}
    lab["profiles"][0]["queues"] = []
    yield start_hub(lab, environment=openpbs.environment)
    for user in two_users.alice.name, two_users.bob.name:
        for job in live_jobs(openpbs, user):
            openpbs.run(["qdel", job], check=False)


def test_two_users_work_on_the_nodes_and_see_no_token_of_each_other(
    hub: RunningHub, openpbs: OpenPBS, two_users: TwoUsers
) -> None:
    alice, bob = two_users.alice, two_users.bob
    sessions = {one.name: hub.start_session(one.name, {"profile": "batch"}) for one in (alice, bob)}
    for name, session in sessions.items():
        assert session.run_code("import getpass; print(getpass.getuser())").strip() == name
        assert session.run_code("import socket; print(socket.gethostname())").strip().startswith("pbsn")
    (job,) = live_jobs(openpbs, alice.name)
    seen = openpbs.run(["qstat", "-xf", job], bob).stdout
    assert "Variable_List" in seen
    assert "JUPYTERHUB" not in seen
    seen += bob.run("ps", "axeww", check=False).stdout
    token = sessions[alice.name].run_code("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    assert token not in seen
    for one in (alice, bob):
        hub.stop_session(one.name)
        assert live_jobs(openpbs, one.name) == []


def test_a_killed_hub_loses_neither_a_session_nor_a_place_in_the_queue(
    hub: RunningHub, openpbs: OpenPBS, two_users: TwoUsers
) -> None:
    alice, bob = two_users.alice, two_users.bob
    session = hub.start_session(alice.name, {"profile": "batch"})
    kernel = session.start_kernel()
    session.run_in(kernel, "kept = 41")
    fill = ["qsub", "-f", "-l", "select=1:ncpus=3", "-l", "walltime=00:10:00", "--", "/bin/sleep", "600"]
    blockers = [openpbs.run(fill, alice).stdout.strip() for _ in range(2)]
    hub.api("POST", f"users/{bob.name}/server", bob.name, json={"profile": "batch", "cpus": 4}).raise_for_status()
    wait_until(lambda: live_jobs(openpbs, bob.name), 30, "bob's session is in the queue")
    queued = live_jobs(openpbs, bob.name)
    hub.wait_hub_restarted(hub.kill_hub())
    wait_until(lambda: "42" in session.run_in(kernel, "print(kept + 1)"), 60, "the kernel answers again")
    assert live_jobs(openpbs, bob.name) == queued
    openpbs.run(["qdel", *blockers], alice)
    hub.stop_session(alice.name)
    wait_until(
        lambda: hub.api("GET", f"users/{bob.name}", bob.name).json()["servers"].get("", {}).get("ready"),
        120,
        "bob's session is ready",
    )
    assert "ok" in hub.session(bob.name).run_code("print('ok')")
    assert live_jobs(openpbs, bob.name) == queued
    hub.stop_session(bob.name)


def test_a_job_deleted_by_hand_is_noticed_and_said(hub: RunningHub, openpbs: OpenPBS, two_users: TwoUsers) -> None:
    alice = two_users.alice
    hub.start_session(alice.name, {"profile": "batch"})
    begun = time.monotonic()
    openpbs.run(["qdel", *live_jobs(openpbs, alice.name)], alice)
    with hub.login(alice.name) as visitor:
        wait_until(
            lambda: "The job of your session ended" in visitor.get("/hub/home").text, 60, "the home page says so"
        )
    assert time.monotonic() - begun < 60
