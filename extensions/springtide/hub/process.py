"""Process sessions: plain processes of this machine, for when there is nothing but Python.

Root's hub never gives anybody more rights than an ordinary account: a session runs as the user's own account where the
machine has one, else under a reserved number without name, groups or rights, in a home of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import random
import re
import resource
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jupyterhub.spawner import LocalProcessSpawner
from traitlets import Any as AnyTrait
from traitlets import Unicode

from springtide.environments.at_home import closed_folder
from springtide.errors import SpringtideError
from springtide.hub.leftovers import MARK, end_marked
from springtide.hub.words import spawn_failure
from springtide.queues.accounts import is_ordinary, privileged_group
from springtide.texts import translator

# The range that systemd sets aside for users that exist only while a service runs.
_RESERVED_UIDS = range(61184, 65520)
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
# Names of files beside the homes and of hashed homes start as no plain name does.
_REGISTER = ".reserved-accounts.json"
_HASHED = "_user-"


@dataclass(frozen=True)
class Runner:
    """Whose account a process session runs as, and where its home is."""

    uid: int
    gid: int
    name: str
    home: Path

    @property
    def changes_account(self) -> bool:
        """Whether the hub has to become somebody else."""
        return self.uid != os.geteuid()


def runner_of(user: str, policy: Literal["auto", "user", "hub"], homes: Path, *, proven: bool = True) -> Runner:
    """Return whose account runs `user`'s process sessions.

    Parameters
    ----------
    proven : bool
        Whether the login proved who the user is. Where it did not, root's hub runs nobody's own account by itself.

    Raises
    ------
    SpringtideError
        If the policy asks for an account that does not exist, is a system account, is root's, or that the hub cannot
        become.
    """
    if policy == "hub" and os.geteuid() == 0:
        raise SpringtideError(
            "The hub runs as root, and no session does.",
            "Set accounts: auto in the lab file, or run the hub as an ordinary account.",
        )
    own = _own_account(user)
    if not proven and os.geteuid() == 0 and (policy == "auto" or (own is not None and privileged_group(own))):
        own = None
    if policy != "hub" and own is not None and os.geteuid() in (0, own.pw_uid):
        return Runner(own.pw_uid, own.pw_gid, own.pw_name, Path(own.pw_dir))
    if policy == "user":
        raise SpringtideError(
            f"This machine has no ordinary account “{user}” that the hub can act as.",
            "Ask the administrator to create it, or to set accounts: auto.",
        )
    home = homes / folder_name(user)
    if policy == "hub" or os.geteuid() != 0:
        return Runner(os.geteuid(), os.getegid(), user, home)
    uid = _reserved_uid(user, homes / _REGISTER)
    return Runner(uid, uid, user, home)


def folder_name(user: str) -> str:
    """Return a folder name for `user` that is nobody else's and leads nowhere else."""
    if _PLAIN_NAME.fullmatch(user):
        return user
    return _HASHED + hashlib.sha256(user.encode()).hexdigest()[:16]


def _own_account(user: str) -> pwd.struct_passwd | None:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return entry if is_ordinary(entry) else None


def _reserved_uid(user: str, register: Path) -> int:
    """Return the number set aside for `user`: always the same one, as her files belong to it."""
    known: dict[str, int] = json.loads(register.read_text(encoding="utf-8")) if register.exists() else {}
    if user not in known:
        taken = {entry.pw_uid for entry in pwd.getpwall()} | set(known.values())
        free = next((uid for uid in _RESERVED_UIDS if uid not in taken), None)
        if free is None:
            raise SpringtideError("All reserved account numbers are taken.", "Use accounts of the machine instead.")
        known[user] = free
        written = register.with_suffix(".new")
        written.write_text(json.dumps(known, indent=1), encoding="utf-8")
        written.replace(register)
    return known[user]


def unreadable_python(python: str = sys.executable) -> str:
    """Return a folder on the way to the sessions' Python that other accounts cannot enter, "" if they can."""
    return closed_folder(Path(python).absolute()) or closed_folder(Path(python).resolve())


class ProcessSession(LocalProcessSpawner):
    """A session that is a process of this machine."""

    runner = AnyTrait(help="Whose account it runs as.")
    language = Unicode("en")
    keep_state: Callable[[], None]
    _started_at = ""
    _mark = ""

    async def start(self) -> tuple[str, int]:
        """Start the session and remember at once how to find it again."""
        self.ip, self.port = "127.0.0.1", 0
        try:
            _prepare_home(self.runner)
        except OSError as error:
            text = translator(self.language)("process.no_home", home=error.filename, words=error.strerror)
            raise spawn_failure(text, reason="home") from error
        if closed := _closed_above(self.runner):
            raise spawn_failure(translator(self.language)("process.closed", folder=closed), reason="home")
        self.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
        self._mark = secrets.token_hex(8)
        ip, port = await super().start()
        self._started_at = _start_time(self.pid)
        self.keep_state()
        return ip, port

    async def poll(self) -> int | None:
        """Return None while the process lives; a later process with the same number is not taken for it."""
        if self.proc is None and self.pid and _start_time(self.pid) != self._started_at:
            self.clear_state()
            status: int | None = 0
        else:
            status = await super().poll()
        if status is not None:
            await end_marked(self._mark, self.runner.uid)
        return status

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Say what is being waited for."""
        yield {"progress": 50, "message": translator(self.language)("process.starting")}

    async def url(self) -> str:
        """Return where the session listens."""
        return f"http://{self.ip}:{self.port}"

    @property
    def last_words(self) -> str:
        """Nothing: a process leaves no reason behind."""
        return ""

    def get_state(self) -> dict[str, Any]:
        """Return the process's number and start time, and its port."""
        state: dict[str, Any] = super().get_state()
        ours = {"started_at": self._started_at, "port": self.port, "mark": self._mark}
        return {**state, **ours} if self.pid else state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a process that an earlier hub started."""
        super().load_state(state)
        self._started_at = state.get("started_at", "")
        self._mark = state.get("mark", "")
        self.ip, self.port = "127.0.0.1", state.get("port", 0)

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Set who and where the session is, without asking for an account that may not exist."""
        who = {"USER": self.runner.name, "LOGNAME": self.runner.name, "HOME": str(self.runner.home), MARK: self._mark}
        return {**env, **who, "SHELL": "/bin/bash", "PATH": f"{Path(sys.executable).parent}:{_SYSTEM_PATH}"}

    def make_preexec_fn(self, name: str) -> Callable[[], None]:
        """Return what the child does before it becomes the session: take its limits and its account."""
        runner, memory_bytes, cores = self.runner, int(self.mem_limit or 0), int(self.cpu_limit or 0)
        account = _own_account(runner.name)
        groups = os.getgrouplist(runner.name, runner.gid) if account else [runner.gid]
        umask = 0o022 if account else 0o077

        def become() -> None:
            _limit(memory_bytes, cores)
            if runner.changes_account:
                os.setgroups(groups)
                os.setgid(runner.gid)
                os.setuid(runner.uid)
            # As the user, not before: root may not enter a home on a network file system.
            os.chdir(runner.home)
            os.umask(umask)

        return become


def _limit(memory_bytes: int, cores: int) -> None:
    """Hold a process, and each of its children, to what its user asked for, as far as that goes without cgroups."""
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    usable = sorted(os.sched_getaffinity(0))
    if 0 < cores < len(usable):
        os.sched_setaffinity(0, random.sample(usable, cores))


def _prepare_home(runner: Runner) -> None:
    """Create the home of a user without an account; it is closed to everybody else."""
    if runner.home.exists():
        return
    runner.home.mkdir(parents=True, mode=0o700)
    if runner.changes_account:
        shutil.chown(runner.home, runner.uid, runner.gid)


def _closed_above(runner: Runner) -> str:
    """Return what keeps a user without an account from her home, "" if nothing does."""
    return closed_folder(runner.home) if runner.uid in _RESERVED_UIDS else ""


def _start_time(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; empty where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The command name may hold anything, blanks and parentheses too; the fields after it are numbers.
    return stat.rpartition(")")[2].split()[19]
