"""Process sessions: whose account they run as, what they cannot reach, and what is left when they end."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from springtide.hub.process import unreadable_python
from springtide.hub.state import StateDirectory
from tests.e2e.labs import process_lab
from tests.support import logs
from tests.support.accounts import TwoUsers
from tests.support.hub import SPRINGTIDE, RunningHub
from tests.support.kernels import CodeFailed, SessionClient
from tests.support.leaks import LeakCheck
from tests.support.need import require
from tests.support.processes import Process, all_processes
from tests.support.waiting import wait_until

RESERVED_UIDS = range(61184, 65520)
PROFILE = {"profile": "process"}
# Detached from its kernel in every way a program can be without giving up its environment.
DETACH = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"


def lab() -> dict[str, Any]:
    """Return a lab with a place for everybody, and one for those who have an account."""
    lab = process_lab()
    lab["sites"]["accounts"] = {"kind": "local", "runtime": "host", "accounts": "user"}
    lab["profiles"].append({"name": "own", "site": "accounts"})
    return lab


@contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a folder that other accounts may pass, unlike pytest's own; at its end nothing that ran there is left."""
    folder = Path(tempfile.mkdtemp(prefix="springtide-processes-", dir="/tmp"))
    folder.chmod(0o711)
    check = LeakCheck(folders=[folder])
    try:
        yield folder
        check.check()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def hub() -> Iterator[RunningHub]:
    """Yield root's hub."""
    require("root's rights", os.geteuid() == 0, "run the tests as root")
    require("an installation that other accounts can read", not unreadable_python(), unreadable_python())
    with open_folder() as folder:
        hub = RunningHub(lab(), folder)
        logs.show_on_failure("hub", lambda: hub.logs)
        try:
            yield hub.start()
        finally:
            hub.stop()
            logs.forget("hub")


@pytest.fixture(scope="module")
def carol(hub: RunningHub) -> SessionClient:
    """Return a session of somebody without an account."""
    return hub.start_session("carol", {**PROFILE, "memory": "512M"})


def ask(session: SessionClient, expression: str) -> object:
    return json.loads(session.run_code(f"import json, os\nprint(json.dumps({expression}))"))


def can_list(session: SessionClient, folder: Path | str) -> bool:
    code = f"import os\ntry:\n os.listdir({str(folder)!r})\nexcept PermissionError:\n print('no')\nelse:\n print('yes')"
    return session.run_code(code).strip() == "yes"


def uid_of(session: SessionClient) -> int:
    return int(session.run_code("import os; print(os.getuid())"))


def processes_of(hub: RunningHub, uid: int) -> list[Process]:
    """Return what runs for this hub under a number, which another hub of this machine may have reserved as well."""
    return [process for process in all_processes() if process.uid == uid and process.mentions(str(hub.folder))]


def server_process(hub: RunningHub, uid: int) -> Process:
    (found,) = (process for process in processes_of(hub, uid) if "jupyterhub.singleuser" in process.command)
    return found


def test_a_user_without_account_runs_under_a_reserved_number_without_groups(carol: SessionClient) -> None:
    uid = uid_of(carol)
    assert uid in RESERVED_UIDS
    assert ask(carol, "[os.getgid(), os.getgroups(), os.environ['USER']]") == [uid, [uid], "carol"]
    with pytest.raises(KeyError):
        pwd.getpwuid(uid)


def test_it_reaches_nothing_of_the_hub(hub: RunningHub, carol: SessionClient) -> None:
    database = StateDirectory(hub.state).database
    assert database.exists()
    for folder in ("/root", hub.state, hub.state / "run", hub.state / "logs", hub.state / "homes"):
        assert not can_list(carol, folder), folder
    assert ask(carol, f"os.access({str(database)!r}, os.R_OK)") is False
    for process in hub.processes():
        if process.uid == 0:
            assert ask(carol, f"os.access('/proc/{process.pid}/environ', os.R_OK)") is False


def test_it_gets_none_of_the_hubs_variables(hub: RunningHub, carol: SessionClient) -> None:
    found = ask(carol, "dict(os.environ)")
    assert isinstance(found, dict)
    assert not {"CONFIGPROXY_AUTH_TOKEN", "SPRINGTIDE_STATE", "SPRINGTIDE_LAB", "SUDO_USER"} & found.keys()
    assert not set(found.values()) & secrets_of(hub)


def test_homes_and_sessions_are_closed_to_each_other(hub: RunningHub, carol: SessionClient) -> None:
    home = Path(str(ask(carol, "os.environ['HOME']")))
    assert home == hub.state / "homes" / "carol"
    assert home.stat().st_mode & 0o777 == 0o700
    dave = hub.start_session("dave", PROFILE)
    assert uid_of(dave) != uid_of(carol)
    assert not can_list(dave, home)
    intruder = SessionClient(carol.url, hub.token_of("dave"))
    assert intruder.request("GET", "api/contents", allow_redirects=False).status_code in (302, 403)
    hub.stop_session("dave")


def test_stopping_leaves_the_home_and_no_process(hub: RunningHub) -> None:
    session = hub.start_session("erin", PROFILE)
    uid, kernel = uid_of(session), session.start_kernel()
    session.run_in(kernel, "open('kept.txt', 'w').write('yes')")
    session.run_in(kernel, DETACH)
    assert len(processes_of(hub, uid)) >= 3
    hub.stop_session("erin")
    assert processes_of(hub, uid) == []
    again = hub.start_session("erin", PROFILE)
    assert again.run_code("print(open('kept.txt').read())").strip() == "yes"
    assert uid_of(again) == uid
    assert (hub.state / "homes" / "erin" / "kept.txt").stat().st_mode & 0o077 == 0
    hub.stop_session("erin")


def test_two_sessions_of_one_user_end_apart(hub: RunningHub, carol: SessionClient) -> None:
    second = hub.start_session("carol", PROFILE, name="second")
    assert uid_of(second) == uid_of(carol)
    hub.stop_session("carol", "second")
    assert "3" in carol.run_code("print(1 + 2)")


def test_a_site_for_accounts_runs_a_user_as_hers_at_home(hub: RunningHub, two_users: TwoUsers) -> None:
    alice = two_users.alice
    session = hub.start_session(alice.name, {"profile": "own"})
    found = ask(session, "[os.getuid(), os.getgid(), os.getgroups(), os.getcwd(), os.environ['HOME']]")
    assert found == [alice.uid, alice.gid, [alice.gid], str(alice.home), str(alice.home)]
    assert not can_list(session, two_users.bob.home)
    hub.stop_session(alice.name)
    assert [process for process in all_processes() if process.uid == alice.uid] == []


def test_a_shared_password_gives_nobody_anothers_account(hub: RunningHub, two_users: TwoUsers) -> None:
    session = hub.start_session(two_users.bob.name, PROFILE)
    assert uid_of(session) in RESERVED_UIDS
    assert not can_list(session, two_users.bob.home)
    hub.stop_session(two_users.bob.name)


def test_a_site_for_accounts_refuses_who_has_none(hub: RunningHub) -> None:
    answer = hub.api("POST", "users/carol/servers/own", "carol", json={"profile": "own"})
    assert answer.status_code == 500
    assert "no ordinary account “carol”" in answer.json()["message"]


def test_more_memory_than_asked_for_is_an_error_and_no_crash(carol: SessionClient) -> None:
    kernel = carol.start_kernel()
    with pytest.raises(CodeFailed, match="MemoryError"):
        carol.run_in(kernel, "data = bytearray(700 * 2**20)")
    assert "2" in carol.run_in(kernel, "print(1 + 1)")


@pytest.mark.parametrize("name", ["../../etc", "a b", ".", "-rf", "_user-x", "a\nb", "x" * 65])
def test_a_name_that_could_lead_elsewhere_is_refused(hub: RunningHub, name: str) -> None:
    with pytest.raises(RuntimeError, match="403"):
        hub.login(name)
    assert hub.api("POST", "users", json={"usernames": [name]}).status_code == 400


@pytest.mark.parametrize("name", ["root", "nobody"])
def test_a_name_of_a_system_account_gives_none_of_its_rights(hub: RunningHub, name: str) -> None:
    session = hub.start_session(name, PROFILE)
    assert uid_of(session) in set(RESERVED_UIDS)
    assert ask(session, "os.environ['HOME']") == str(hub.state / "homes" / name)
    hub.stop_session(name)


def test_a_killed_hub_loses_no_session(hub: RunningHub) -> None:
    session = hub.start_session("henry", PROFILE)
    uid, kernel = uid_of(session), session.start_kernel()
    session.run_in(kernel, "kept = 41")
    session.run_in(kernel, DETACH)
    hub.wait_hub_restarted(hub.kill_hub())
    wait_until(lambda: "42" in session.run_in(kernel, "print(kept + 1)"), 60, "the kernel answers again")
    hub.stop_session("henry")
    assert processes_of(hub, uid) == []


@pytest.mark.parametrize("hub_restarted", [False, True], ids=["same hub", "next hub"])
def test_a_killed_session_is_noticed_and_leaves_no_process(hub: RunningHub, hub_restarted: bool) -> None:
    user = f"ivy{hub_restarted:d}"
    session = hub.start_session(user, PROFILE)
    uid = uid_of(session)
    session.run_in(session.start_kernel(), DETACH)
    if hub_restarted:
        hub.wait_hub_restarted(hub.kill_hub())
    server_process(hub, uid).kill(signal.SIGKILL)
    wait_until(lambda: hub.api("GET", f"users/{user}").json()["servers"] == {}, 30, "the hub has noticed")
    assert processes_of(hub, uid) == []


def test_an_ordinary_users_hub_runs_sessions_as_itself(two_users: TwoUsers) -> None:
    bob = two_users.bob
    become = ("setpriv", f"--reuid={bob.uid}", f"--regid={bob.gid}", "--clear-groups")
    with open_folder() as folder:
        os.chown(folder, bob.uid, bob.gid)
        hub = RunningHub(process_lab(), folder, bob.environment, (*become, SPRINGTIDE, "up"))
        hub.lab_file.chmod(0o644)
        try:
            session = hub.start().start_session("carol", PROFILE)
            assert ask(session, "[os.getuid(), os.environ['HOME']]") == [bob.uid, str(hub.state / "homes" / "carol")]
            session.run_in(session.start_kernel(), DETACH)
            hub.stop_session("carol")
            left = [process.command for process in all_processes() if process.uid == bob.uid]
            assert not [one for one in left if any(word in one for word in ("singleuser", "ipykernel", "sleep"))]
        finally:
            assert hub.stop() == 0


def secrets_of(hub: RunningHub) -> set[str]:
    public = ("instance", "up.lock", "up.json")
    return {file.read_text().strip() for file in (hub.state / "run").iterdir() if file.name not in public}
