"""Process sessions, without a hub: whose account, which home, and what is taken for the session's process."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.environments.at_home import closed_folder
from springtide.errors import SpringtideError
from springtide.hub.leftovers import MARK, end_marked
from springtide.hub.process import (
    ProcessSession,
    Runner,
    _start_time,
    folder_name,
    runner_of,
    unreadable_python,
)
from tests.support.accounts import TwoUsers
from tests.support.need import require
from tests.support.processes import process
from tests.support.waiting import wait_until


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as running:
        yield running
        running.kill()


def session_of(pid: int, started_at: str) -> ProcessSession:
    """Return a session as a new hub takes it up from what the last one has stored."""
    session = ProcessSession(runner=Runner(os.geteuid(), os.getegid(), "me", Path.home()))
    session.load_state({"pid": pid, "started_at": started_at, "port": 4711, "mark": ""})
    return session


# --- which process is the session -----------------------------------------------------------------------------------


async def test_a_process_with_the_stored_start_time_is_the_session(sleeper: subprocess.Popen[bytes]) -> None:
    session = session_of(sleeper.pid, _start_time(sleeper.pid))
    assert await session.poll() is None
    assert await session.url() == "http://127.0.0.1:4711"
    assert session.get_state() == {
        "pid": sleeper.pid, "started_at": _start_time(sleeper.pid), "port": 4711, "mark": "",
    }  # fmt: skip


async def test_a_later_process_with_the_same_number_is_neither_taken_for_it_nor_stopped(
    sleeper: subprocess.Popen[bytes],
) -> None:
    session = session_of(sleeper.pid, str(int(_start_time(sleeper.pid)) - 1))
    await session.stop(now=True)
    assert await session.poll() == 0
    assert sleeper.poll() is None
    assert session.get_state() == {}


async def test_a_state_without_start_time_finds_no_session(sleeper: subprocess.Popen[bytes]) -> None:
    assert await session_of(sleeper.pid, "").poll() == 0


async def test_a_process_that_is_gone_is_no_session() -> None:
    gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True)
    pid = int(gone.stdout)
    assert _start_time(pid) == ""
    assert await session_of(pid, "").poll() == 0


def test_a_start_time_is_read_past_any_command_name(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as running:
        wait_until(lambda: b"a) R 1" in Path(f"/proc/{running.pid}/stat").read_bytes(), 5, "the program runs")
        found = process(running.pid)
        assert found
        assert _start_time(running.pid) == str(found.start_time)
        running.kill()


# --- what a session leaves behind -----------------------------------------------------------------------------------


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"], ids=["willing", "unwilling"])
async def test_what_carries_the_mark_is_ended_and_nothing_else(sleeper: subprocess.Popen[bytes], trap: str) -> None:
    command = ["setsid", "sh", "-c", f"{trap} sleep 61 & wait; sleep 61"]
    with subprocess.Popen(command, env={**os.environ, MARK: "0123"}) as marked:
        await asyncio.sleep(0.3)
        await end_marked("0123", os.geteuid())
        assert marked.wait(5) != 0
    assert sleeper.poll() is None


async def test_neither_a_part_of_the_mark_nor_another_account_is_enough() -> None:
    with subprocess.Popen(["sleep", "60"], env={MARK: "0123"}) as marked:
        await end_marked("012", os.geteuid())
        await end_marked("", os.geteuid())
        await end_marked("0123", os.geteuid() + 1)
        assert marked.poll() is None
        marked.kill()


# --- whose account, which home --------------------------------------------------------------------------------------


@given(st.text(min_size=1, max_size=80))
def test_a_home_is_one_folder_below_the_homes(user: str) -> None:
    name = folder_name(user)
    assert Path("/homes", name).resolve().parent == Path("/homes")
    assert not name.startswith(".")


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_no_two_users_share_a_home(one: str, other: str) -> None:
    assert (folder_name(one) == folder_name(other)) == (one == other)


def test_nobody_can_choose_the_name_that_anothers_home_has() -> None:
    assert folder_name(folder_name("Marie Curie")) != folder_name("Marie Curie")


@pytest.fixture
def root() -> None:
    require("root's rights", os.geteuid() == 0, "run the tests as root")


@pytest.mark.usefixtures("root")
def test_each_user_keeps_a_number_of_her_own(tmp_path: Path) -> None:
    first = {user: runner_of(user, "auto", tmp_path).uid for user in ("carol", "dave", "erin")}
    assert len(set(first.values())) == 3
    assert set(first.values()) <= set(range(61184, 65520))
    assert {user: runner_of(user, "auto", tmp_path).uid for user in reversed(first)} == first


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("user", ["root", "daemon", "nobody", ".reserved-accounts.json", "reserved-accounts.json"])
def test_no_name_gives_more_rights_than_any_other(tmp_path: Path, user: str) -> None:
    runner_of("carol", "auto", tmp_path)
    runner = runner_of(user, "auto", tmp_path)
    assert runner.uid in range(61184, 65520)
    assert runner.home.parent == tmp_path
    assert not runner.home.exists()
    with pytest.raises(SpringtideError, match="no ordinary account"):
        runner_of(user, "user", tmp_path)


@pytest.mark.usefixtures("root")
def test_numbers_that_accounts_of_the_machine_have_are_left_to_them(tmp_path: Path) -> None:
    taken = dict.fromkeys((f"user{number}" for number in range(3)), 0) | {"a": 61184, "b": 61186}
    (tmp_path / ".reserved-accounts.json").write_text(json.dumps(taken))
    assert [runner_of(user, "auto", tmp_path).uid for user in ("carol", "dave")] == [61185, 61187]


@pytest.mark.usefixtures("root")
def test_when_all_numbers_are_taken_it_is_said(tmp_path: Path) -> None:
    taken = {f"user{uid}": uid for uid in range(61184, 65520)}
    (tmp_path / ".reserved-accounts.json").write_text(json.dumps(taken))
    with pytest.raises(SpringtideError, match="All reserved account numbers are taken"):
        runner_of("carol", "auto", tmp_path)


@pytest.mark.usefixtures("root")
def test_roots_hub_runs_nothing_as_itself(tmp_path: Path) -> None:
    with pytest.raises(SpringtideError, match="runs as root"):
        runner_of("carol", "hub", tmp_path)


def test_an_account_of_the_machine_is_used_where_the_login_has_proven_it(tmp_path: Path, two_users: TwoUsers) -> None:
    alice = two_users.alice
    assert runner_of(alice.name, "auto", tmp_path) == Runner(alice.uid, alice.gid, alice.name, alice.home)
    assert runner_of(alice.name, "auto", tmp_path, proven=False).uid in range(61184, 65520)


def test_an_ordinary_hub_runs_all_as_itself_and_becomes_nobody_else(tmp_path: Path, two_users: TwoUsers) -> None:
    alice, bob = two_users.alice, two_users.bob
    code = (
        "from pathlib import Path; from springtide.hub.process import runner_of\n"
        f"for user in ('carol', {alice.name!r}, {bob.name!r}): print(runner_of(user, 'auto', Path('/homes')))"
    )
    require("an installation that other accounts can read", not unreadable_python(), unreadable_python())
    shown = bob.run(sys.executable, "-c", code).stdout.splitlines()
    itself = f"uid={bob.uid}, gid={bob.gid}"
    assert shown == [
        f"Runner({itself}, name='carol', home={Path('/homes/carol')!r})",
        f"Runner({itself}, name={alice.name!r}, home={Path('/homes', alice.name)!r})",
        f"Runner({itself}, name={bob.name!r}, home={bob.home!r})",
    ]


# --- folders that others cannot enter -------------------------------------------------------------------------------


def test_the_folder_that_others_cannot_enter_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed" / "open").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    assert closed_folder(tmp_path / "closed" / "open" / "python") == str(tmp_path / "closed")
    assert closed_folder(Path("/usr/bin/python3")) == ""
    (tmp_path / "closed" / "python").symlink_to("/usr/bin/python3")
    assert unreadable_python(str(tmp_path / "closed" / "python")) == str(tmp_path / "closed")
