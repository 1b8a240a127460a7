"""Whose account submits: what each policy allows, and that system accounts never do."""

import os
import pwd
import shutil
import sys
from pathlib import Path

import pytest

from springtide.errors import QueueError, QueueUnreachable, SubmitRefused
from springtide.hub.process import unreadable_python
from springtide.queues.accounts import Account, UserQueue, account_of, is_ordinary, privileged_group
from springtide.queues.commands import run_command
from springtide.queues.slurm.queue import SlurmQueue
from tests.support.accounts import TwoUsers
from tests.support.need import require


def entry(uid: int, name: str = "x", gid: int = 60_001) -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh"))


@pytest.mark.parametrize(("uid", "ordinary"), [(0, False), (33, False), (999, False), (1000, True), (59_999, True)])
def test_accounts_below_1000_are_no_persons(uid: int, ordinary: bool) -> None:
    assert is_ordinary(entry(uid)) is ordinary


@pytest.mark.parametrize(("uid", "ordinary"), [(64_055, False), (65_534, False), (65_536, True), (1_200_000, True)])
def test_neither_are_nobody_and_those_that_services_take(uid: int, ordinary: bool) -> None:
    assert is_ordinary(entry(uid)) is ordinary


def test_a_group_through_which_one_becomes_root_is_named() -> None:
    assert privileged_group(entry(1000, gid=0)) == "root"
    assert privileged_group(entry(1000)) == ""


@pytest.fixture
def root() -> None:
    require("root's rights", os.geteuid() == 0, "run the tests as root")


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("user", ["root", "daemon", "nobody"])
@pytest.mark.parametrize("policy", ["auto", "user"])
def test_system_accounts_never_submit(user: str, policy: str) -> None:
    with pytest.raises(QueueError, match="system account"):
        account_of(user, policy)  # type: ignore[arg-type]  # one of its words, as a parameter


@pytest.mark.usefixtures("root")
def test_root_submits_for_nobody_as_itself() -> None:
    with pytest.raises(QueueError, match="runs as root"):
        account_of("carol", "hub")
    with pytest.raises(QueueError, match="no account “carol”"):
        account_of("carol", "auto")


def test_root_becomes_the_user(two_users: TwoUsers) -> None:
    alice = two_users.alice
    assert account_of(alice.name, "auto") == Account(alice.name, alice.uid, alice.gid, alice.home, "setuid")


def test_an_ordinary_hub_acts_as_itself_unless_it_may_become_the_user(two_users: TwoUsers) -> None:
    alice, bob = two_users.alice.name, two_users.bob.name
    require("an installation that other accounts can read", not unreadable_python(), unreadable_python())
    launcher = shutil.which("springtide-launch", path="/opt/springtide/bin:/usr/local/bin:/usr/bin")
    code = f"""
from springtide.queues.accounts import account_of
for user, policy in [({bob!r}, "auto"), ({bob!r}, "user"), ({alice!r}, "hub"), ("carol", "auto"), ({alice!r}, "auto"),
                     ({alice!r}, "user")]:
    account = account_of(user, policy)
    print(account.name, account.way)
"""
    shown = two_users.bob.run(sys.executable, "-c", code).stdout.splitlines()
    if_possible = f"{alice} sudo" if launcher else f"{bob} same"
    assert shown == [*[f"{bob} same"] * 4, if_possible, f"{alice} sudo"]


# --- what is made of the launcher's answers -------------------------------------------------------------------------


def queue_with(folder: Path, program: str, script: str) -> UserQueue:
    """Return oneself at a Slurm whose `program` is a shell script."""
    (folder / program).write_text(f"#!/bin/sh\n{script}\n")
    (folder / program).chmod(0o755)
    account = Account("me", os.geteuid(), os.getegid(), Path.home(), "same")
    return UserQueue(SlurmQueue(folder, run_command), account)


async def test_a_refusal_is_told_in_the_schedulers_words(tmp_path: Path) -> None:
    queue = queue_with(tmp_path, "sbatch", "echo 'sbatch: error: Invalid account' >&2; exit 1")
    with pytest.raises(SubmitRefused, match=r"refused.*Invalid account"):
        await queue.submit("#!/bin/sh")


async def test_an_outage_is_no_refusal(tmp_path: Path) -> None:
    queue = queue_with(tmp_path, "sbatch", "echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1")
    with pytest.raises(QueueUnreachable, match="does not answer"):
        await queue.submit("#!/bin/sh")


async def test_a_launcher_that_does_not_start_points_to_the_sudoers_file(tmp_path: Path) -> None:
    account = Account("me", os.geteuid(), os.getegid(), Path.home(), "same")
    queue = UserQueue(SlurmQueue(tmp_path, run_command), account, ("/bin/false",))
    with pytest.raises(QueueUnreachable, match=r"did not answer as me.*deployment/sudoers"):
        await queue.check()


async def test_neither_python_path_nor_folder_of_the_hub_reach_the_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('taken over')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert (await queue_with(tmp_path, "sbatch", "echo 1").check())["ok"] is True
