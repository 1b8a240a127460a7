"""Two ordinary accounts of this machine."""

from __future__ import annotations

import fcntl
import os
import pwd
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.support.processes import all_processes
from tests.support.waiting import wait_until

# Runs at the same time have accounts of their own: what one leaves behind is not the other's.
_PAIRS = (
    ("springtide-alice", "springtide-bob"),
    ("springtide-anna", "springtide-ben"),
    ("springtide-ada", "springtide-basil"),
)
_LOCKS = Path("/run/lock")


@dataclass(frozen=True)
class Account:
    """An account of this machine."""

    name: str
    uid: int
    gid: int
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "USER": self.name, "LOGNAME": self.name}

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program as this account, in its home."""
        return run_as(self, command, check=check)


def run_as(
    account: Account | None,
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a program as `account`, in its home; without one as oneself, here."""
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        check=check,
        cwd=account.home if account else None,
        env={**os.environ, **(account.environment if account else {}), **(environment or {})},
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


@dataclass(frozen=True)
class TwoUsers:
    """Two people who must not reach each other's things."""

    alice: Account
    bob: Account


@contextmanager
def two_accounts() -> Iterator[TwoUsers]:
    """Yield two accounts with homes that only they can read; remove both at the end. Root only."""
    with ExitStack() as stack:
        names = stack.enter_context(_free_pair())
        for name in names:
            _create(name)
            stack.callback(_remove, name)
        yield TwoUsers(*(account(name) for name in names))


@contextmanager
def _free_pair() -> Iterator[tuple[str, str]]:
    """Yield the names of a pair that no other run uses; wait for the first pair where all are taken."""
    with ExitStack() as stack:
        locks = {names: stack.enter_context((_LOCKS / f"{names[0]}-test").open("w")) for names in _PAIRS}
        free = next((names for names, lock in locks.items() if _locked(lock, fcntl.LOCK_NB)), None)
        if free is None:
            free = _PAIRS[0]
            _locked(locks[free])
        yield free


def _locked(lock: IO[str], flags: int = 0) -> bool:
    """Lock a file for this run; whether that went at once, where it must."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | flags)
    except BlockingIOError:
        return False
    return True


def account(name: str) -> Account:
    entry = pwd.getpwnam(name)
    return Account(name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))


def _create(name: str) -> None:
    with suppress(KeyError):
        pwd.getpwnam(name)
        return
    options = ("--user-group", "--create-home", "--shell", "/bin/bash", "--comment", "Springtide's tests")
    _administer("useradd", *options, name)
    account(name).home.chmod(0o700)


def _remove(name: str) -> None:
    uid = account(name).uid

    def none_left() -> bool:
        theirs = [process for process in all_processes() if process.uid == uid]
        for process in theirs:
            process.kill()
        return not theirs

    wait_until(none_left, 10, f"{name} has no process")
    _administer("userdel", "--remove", name)


def _administer(program: str, *arguments: str) -> None:
    subprocess.run([f"/usr/sbin/{program}", *arguments], check=True, capture_output=True, stdin=subprocess.DEVNULL)
