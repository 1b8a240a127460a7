"""Batch sessions on a real Slurm: they start, survive everything that happens to a hub, and leave nothing."""

import time
from collections.abc import Iterator

import pytest

from springtide.ledger.store import Ledger
from tests.conftest import StartHub
from tests.e2e.labs import slurm_lab
from tests.support.accounts import Account, TwoUsers
from tests.support.hub import RunningHub, shared_hub
from tests.support.leaks import LeakCheck
from tests.support.slurm import Slurm
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def hub(two_users: TwoUsers, slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """Yield one platform for all tests of this module; at its end nothing may be left of any of them."""
    uids = frozenset({two_users.alice.uid, two_users.bob.uid})
    check = LeakCheck(folders=[tmp_path_factory.getbasetemp()], uids=uids, slurm=slurm)
    with shared_hub(slurm_lab(), tmp_path_factory.mktemp("hub"), slurm.environment) as hub:
        yield hub
        slurm.cancel_all()
    check.check()


@pytest.fixture(autouse=True)
def sessions_end(request: pytest.FixtureRequest, slurm: Slurm) -> Iterator[None]:
    """Leave the next test an empty platform and an empty queue."""
    yield
    if "hub" in request.fixturenames:
        request.getfixturevalue("hub").stop_all_sessions()
    slurm.cancel_all()


def jobs_of(slurm: Slurm, user: str) -> list[str]:
    return [job.state for job in slurm.jobs() if job.user == user and job.state in ("PENDING", "RUNNING")]


def fill(slurm: Slurm, user: Account) -> list[str]:
    """Take all cores of the cluster; return the ids of the jobs that do."""
    command = ["sbatch", "--parsable", "-c4", "--mem=1M", "--wrap", "sleep 600"]
    jobs = [slurm.run(command, user).stdout.strip() for _ in range(2)]
    wait_until(lambda: jobs_of(slurm, user.name) == ["RUNNING"] * 2, 20, "the cluster is full")
    return jobs


def progress_message(hub: RunningHub, user: str, seconds: float = 20) -> str:
    """Return the first thing said about the job once it is in the queue."""
    with hub.login(user) as visitor:
        answer = visitor.get(
            f"/hub/api/users/{user}/server/progress",
            headers={"Authorization": f"token {hub.token_of(user)}"},
            stream=True,
            timeout=seconds,
        )
        for line in answer.iter_lines(decode_unicode=True):
            if "queue" in line or "failed" in line:
                return str(line)
    raise AssertionError("nothing was said")


def test_a_session_runs_on_a_node_as_its_user_and_leaves_nothing(
    hub: RunningHub, slurm: Slurm, two_users: TwoUsers
) -> None:
    alice = two_users.alice
    session = hub.start_session(alice.name, {"profile": "batch"})
    assert alice.name in session.run_code("import getpass; print(getpass.getuser())")
    assert jobs_of(slurm, alice.name) == ["RUNNING"]
    hub.stop_session(alice.name)
    assert jobs_of(slurm, alice.name) == []
    assert not list((alice.home / ".springtide").glob("*.log"))


def test_no_token_is_visible_to_another_user(hub: RunningHub, slurm: Slurm, two_users: TwoUsers) -> None:
    hub.start_session(two_users.alice.name, {"profile": "batch"})
    (job,) = [job for job in slurm.jobs() if job.user == two_users.alice.name and job.state == "RUNNING"]
    seen = slurm.run(["scontrol", "show", "job", job.id], two_users.bob).stdout
    seen += two_users.bob.run("ps", "axeww", check=False).stdout
    assert job.id in seen
    assert "JUPYTERHUB_API_TOKEN" not in seen
    hub.stop_session(two_users.alice.name)


def test_the_port_handler_takes_a_port_once_and_nothing_else(hub: RunningHub, two_users: TwoUsers) -> None:
    import requests

    alice = two_users.alice.name
    session = hub.start_session(alice, {"profile": "batch"})
    token = session.run_code("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    url = f"{hub.url}/hub/api/batchspawner"

    def post(body: object, token: str = token) -> int:
        return requests.post(url, json=body, headers={"Authorization": f"token {token}"}, timeout=20).status_code

    assert post({"exec_prefix": "touch /tmp/owned;", "batch_query_cmd": "id"}) == 400
    assert post({"port": 40000, "exec_prefix": "id"}) == 400
    assert [post({"port": port}) for port in (1, 70000, "40000", True, None, 1.5)] == [400] * 6
    assert post([]) == 400
    assert post({"port": 40000}) == 409
    assert post({"port": 40000}, hub.token_of(alice)) == 403
    assert post({"port": 40000}, hub.admin_token) == 403
    assert "3" in session.run_code("print(1 + 2)")
    hub.stop_session(alice)


def test_a_killed_hub_loses_no_session(hub: RunningHub, slurm: Slurm, two_users: TwoUsers) -> None:
    session = hub.start_session(two_users.alice.name, {"profile": "batch"})
    kernel = session.start_kernel()
    session.run_in(kernel, "kept = 41")
    hub.wait_hub_restarted(hub.kill_hub())
    wait_until(lambda: "42" in session.run_in(kernel, "print(kept + 1)"), 60, "the kernel answers again")
    assert jobs_of(slurm, two_users.alice.name) == ["RUNNING"]
    hub.stop_session(two_users.alice.name)
    assert jobs_of(slurm, two_users.alice.name) == []


def test_a_killed_hub_loses_no_place_in_the_queue(hub: RunningHub, slurm: Slurm, two_users: TwoUsers) -> None:
    bob, alice = two_users.bob, two_users.alice.name
    blockers = fill(slurm, bob)
    assert hub.api("POST", f"users/{alice}/server", alice, json={"profile": "batch"}).status_code == 202
    wait_until(lambda: jobs_of(slurm, alice) == ["PENDING"], 20, "the session waits")
    assert "cores are taken" in progress_message(hub, alice)
    hub.wait_hub_restarted(hub.kill_hub())
    assert "cores are taken" in progress_message(hub, alice)
    slurm.run(["scancel", *blockers], bob)
    wait_until(
        lambda: hub.api("GET", f"users/{alice}", alice).json()["servers"].get("", {}).get("ready"), 60, "it is ready"
    )
    assert "ok" in hub.session(alice).run_code("print('ok')")
    hub.stop_session(alice)
    assert jobs_of(slurm, alice) == []


def test_a_queued_session_can_be_cancelled(hub: RunningHub, slurm: Slurm, two_users: TwoUsers) -> None:
    bob, alice = two_users.bob, two_users.alice.name
    fill(slurm, bob)
    hub.api("POST", f"users/{alice}/server", alice, json={"profile": "batch"}).raise_for_status()
    wait_until(lambda: jobs_of(slurm, alice) == ["PENDING"], 20, "the session waits")
    hub.stop_session(alice)
    assert jobs_of(slurm, alice) == []


def test_a_scheduler_outage_keeps_the_session(hub: RunningHub, slurm: Slurm, two_users: TwoUsers) -> None:
    session = hub.start_session(two_users.alice.name, {"profile": "batch"})
    slurm.stop_controller()
    time.sleep(25)  # two polls of the hub and more
    assert "2" in session.run_code("print(1 + 1)")
    slurm.start_controller()
    hub.stop_session(two_users.alice.name)
    assert jobs_of(slurm, two_users.alice.name) == []


def test_a_session_stopped_during_an_outage_leaves_no_job(hub: RunningHub, slurm: Slurm, two_users: TwoUsers) -> None:
    hub.start_session(two_users.alice.name, {"profile": "batch"})
    slurm.stop_controller()
    answer = hub.api("DELETE", f"users/{two_users.alice.name}/server", two_users.alice.name)
    assert answer.status_code == 202
    slurm.start_controller()
    wait_until(lambda: jobs_of(slurm, two_users.alice.name) == [], 90, "the job is cancelled after all")


def test_the_ledger_says_what_became_of_a_session(hub: RunningHub, slurm: Slurm, two_users: TwoUsers) -> None:
    alice = two_users.alice.name
    hub.start_session(alice, {"profile": "batch", "cpus": 2})
    with Ledger.open(hub.state / "ledger.sqlite") as ledger:
        row = ledger.jobs(user=alice, kind="session", limit=1)[0]
        assert (row.state, row.site, row.cores, row.account) == ("running", "cluster", 2, alice)
        assert row.started is not None
        assert row.job_id == next(job.id for job in slurm.jobs() if job.user == alice)
        hub.stop_session(alice)
        ended = ledger.job(row.token)
    assert ended is not None
    assert (ended.state, ended.cause) == ("finished", "cancelled")


def test_a_request_no_node_can_meet_is_not_submitted(hub: RunningHub, slurm: Slurm, two_users: TwoUsers) -> None:
    # The profile allows an hour, the queue "short" ten minutes.
    alice = two_users.alice.name
    options = {"profile": "batch", "queue": "short", "walltime": "1h"}
    answer = hub.api("POST", f"users/{alice}/server", alice, json=options)
    assert answer.status_code == 400
    assert "10 min" in answer.text
    assert jobs_of(slurm, alice) == []


def test_a_job_that_no_session_explains_is_cancelled(
    nothing_left: LeakCheck, two_users: TwoUsers, slurm: Slurm, start_hub: StartHub
) -> None:
    alice = two_users.alice.name
    hub = start_hub(slurm_lab(), environment=slurm.environment)
    hub.start_session(alice, {"profile": "batch"})
    hub.kill_all()
    (hub.state / "data" / "jupyterhub.sqlite").unlink()
    assert jobs_of(slurm, alice) == ["RUNNING"]
    hub.start()
    wait_until(lambda: jobs_of(slurm, alice) == [], 60, "the forgotten session's job is cancelled")


def test_a_job_that_dies_at_once_is_shown_with_its_last_lines(
    nothing_left: LeakCheck, two_users: TwoUsers, slurm: Slurm, start_hub: StartHub
) -> None:
    hub = start_hub(slurm_lab(prologue="echo no such module >&2; exit 41"), environment=slurm.environment)
    alice = two_users.alice.name
    begun = time.monotonic()
    hub.api("POST", f"users/{alice}/server", alice, json={"profile": "batch"})
    with hub.login(alice) as visitor:
        page = ""

        def failed() -> bool:
            nonlocal page
            page = visitor.get(f"/hub/spawn-pending/{alice}").text
            return "no such module" in page

        wait_until(failed, 30, "the page says why")
    assert time.monotonic() - begun < 20
    assert "41" in page
    assert jobs_of(slurm, alice) == []


def test_options_outside_the_profile_are_refused_by_name(hub: RunningHub, two_users: TwoUsers) -> None:
    alice = two_users.alice.name
    for options, field in [
        ({"profile": "batch", "cmd": "id > ~/inj"}, "cmd"),
        ({"profile": "batch", "queue": "nowhere"}, "queue"),
        ({"profile": "batch", "cpus": 64}, "cpus"),
        ({"profile": "batch", "memory": "900G"}, "memory"),
        ({"profile": "batch", "walltime": "30d"}, "walltime"),
        ({"profile": "nope"}, "profile"),
    ]:
        answer = hub.api("POST", f"users/{alice}/server", alice, json=options)
        assert (answer.status_code, field in answer.text) == (400, True), (options, answer.text)
