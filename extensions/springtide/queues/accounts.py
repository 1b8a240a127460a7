"""Acting as a user at a site: which account, and how the hub becomes it."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from springtide.errors import QueueError, QueueUnreachable, SubmitRefused
from springtide.queues import launcher
from springtide.queues.base import JobInfo, JobState, Queue
from springtide.queues.commands import command_environment, run_command

_LAUNCHER = Path(launcher.__file__)
_LAUNCHER_TIMEOUT_S = 70.0
# Debian's policy: below are system accounts, between are nobody and numbers that services take as they need them.
_FIRST_ORDINARY_UID = 1000
_PRIVILEGED_GROUPS = frozenset(
    {"root", "sudo", "wheel", "admin", "adm", "shadow", "disk", "docker", "lxd", "libvirt", "kvm", "staff"}
)
_NOT_ORDINARY_UIDS = range(60000, 65536)


@dataclass(frozen=True)
class Account:
    """The account that submits a user's jobs, and how the hub becomes it."""

    name: str
    uid: int
    gid: int
    home: Path
    way: Literal["same", "setuid", "sudo"]


def is_ordinary(entry: pwd.struct_passwd) -> bool:
    """Whether an account of this machine is a person's, rather than a service's."""
    return entry.pw_uid >= _FIRST_ORDINARY_UID and entry.pw_uid not in _NOT_ORDINARY_UIDS


def account_of(user: str, policy: Literal["auto", "user", "hub"], *, proven: bool = True) -> Account:
    """Return the account that acts for hub user `user` under the site's `accounts` policy.

    Parameters
    ----------
    proven : bool
        Whether the login proved who the user is. A password that all share does not: then accounts through which one
        becomes root are refused.

    Raises
    ------
    QueueError
        If the policy asks for the user's own account and there is none, or only a system account, or for root's: a
        session never has more rights than an ordinary account.
    """
    me = pwd.getpwuid(os.geteuid())
    if policy == "hub" and me.pw_uid == 0:
        raise QueueError(
            "The hub runs as root, and no session does.",
            "Set accounts: auto in the lab file, or run the hub as an ordinary account.",
        )
    try:
        own = pwd.getpwnam(user)
    except KeyError:
        own = None
    if policy == "hub" or (policy == "auto" and own is None and os.geteuid() != 0):
        return _account(me, "same")
    if own is None:
        raise QueueError(
            f"This machine has no account “{user}”.", "Ask the administrator to create it, or to set accounts: hub."
        )
    if own.pw_uid == me.pw_uid and own.pw_uid != 0:
        return _account(own, "same")
    if not is_ordinary(own):
        raise QueueError(f"“{user}” is a system account of this machine; sessions run as ordinary accounts only.")
    if not proven and os.geteuid() == 0 and (group := privileged_group(own)):
        raise QueueError(
            f"The account “{user}” is in the group {group}, and a shared password does not prove who somebody is.",
            "Ask the administrator to set authentication: {kind: pam}.",
        )
    if os.geteuid() == 0:
        return _account(own, "setuid")
    if policy == "user" or (shutil.which("sudo") and _installed_launcher()):
        return _account(own, "sudo")
    return _account(me, "same")


def privileged_group(entry: pwd.struct_passwd) -> str:
    """Return a group of the account through which one becomes root, "" where it has none."""
    groups = (grp.getgrgid(gid).gr_name for gid in os.getgrouplist(entry.pw_name, entry.pw_gid) if _known_group(gid))
    return next((name for name in groups if name in _PRIVILEGED_GROUPS), "")


def _known_group(gid: int) -> bool:
    try:
        grp.getgrgid(gid)
    except KeyError:
        return False
    return True


def _account(entry: pwd.struct_passwd, way: Literal["same", "setuid", "sudo"]) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), way)


def _installed_launcher() -> str | None:
    """Return the launcher that sudoers names, None where the administrator has installed none."""
    return shutil.which("springtide-launch", path="/opt/springtide/bin:/usr/local/bin:/usr/bin")


@dataclass(frozen=True)
class UserQueue:
    """A queue as one user: the few things that need her account."""

    queue: Queue
    account: Account
    launcher_command: tuple[str, ...] = field(default=(sys.executable, "-I", str(_LAUNCHER)))

    async def submit(self, script: str) -> str:
        """Return the id of the job that now runs `script`.

        Raises
        ------
        SubmitRefused
            If the scheduler said no.
        QueueUnreachable
            If it could not be asked; the job may exist all the same, and its name finds it.
        """
        answer = await self._ask({"verb": "submit", "dialect": self.queue.dialect, "script": script})
        return str(answer["id"])

    async def find(self, name: str) -> JobInfo | None:
        """Return this account's job called `name`, None where the scheduler has none.

        Raises
        ------
        QueueUnreachable
            If it could not be asked.
        """
        return await self.queue.find(name, self.account.name)

    async def cancel(self, job_id: str) -> None:
        """End the job; one that is ending or has ended is not an error.

        Raises
        ------
        QueueUnreachable
            If the scheduler could not be asked, or refused: then the job is still there, and it is to be tried again.
        """
        try:
            await self._ask({"verb": "cancel", "dialect": self.queue.dialect, "id": job_id})
        except SubmitRefused as refused:
            job = (await self.queue.live_jobs()).get(job_id)
            if job is not None and job.state.alive and job.state is not JobState.ENDING:
                raise QueueUnreachable(f"The job {job_id} could not be cancelled: {refused.message}") from refused

    async def log_tail(self, token: str) -> list[str]:
        """Return the last lines the session wrote."""
        answer = await self._ask({"verb": "tail", "log": f"{token}.log"})
        return [str(line) for line in answer["lines"]]

    async def remove_log(self, token: str) -> None:
        """Remove the session's log."""
        await self._ask({"verb": "remove", "log": f"{token}.log"})

    async def check(self) -> dict[str, Any]:
        """Return whom the launcher really runs as; for the doctor."""
        return await self._ask({"verb": "check"})

    async def _ask(self, request: Mapping[str, str]) -> dict[str, Any]:
        argv, popen = self._command_line()
        environment = {**command_environment(), "SPRINGTIDE_COMMANDS": str(self.queue.folder)}
        answer = await run_command(
            argv,
            stdin=json.dumps(request).encode(),
            environment=environment,
            account=popen,
            timeout_s=_LAUNCHER_TIMEOUT_S,
        )
        try:
            parsed = json.loads(answer.output)
        except ValueError:
            raise QueueUnreachable(
                f"The launcher did not answer as {self.account.name}: {answer.complaint}",
                "The administrator finds the needed sudoers lines in hub_config/deployment/sudoers.",
            ) from None
        if parsed.get("ok"):
            return dict(parsed)
        words = str(parsed.get("error", ""))
        if self.queue.is_outage(words):
            raise QueueUnreachable(f"The scheduler does not answer: {words}", "It is tried again by itself.")
        raise SubmitRefused(f"The scheduler refused: {words}")

    def _command_line(self) -> tuple[list[str], dict[str, object]]:
        """Return how the launcher is started as the account, and the keywords for Popen that make it so."""
        if self.account.way == "same":
            return list(self.launcher_command), {}
        if self.account.way == "setuid":
            groups = os.getgrouplist(self.account.name, self.account.gid)
            who = {"user": self.account.uid, "group": self.account.gid, "extra_groups": groups}
            # The hub's own Python may lie where the user cannot read it; the launcher needs only the standard library.
            return ["/usr/bin/python3", "-I", "-c", _LAUNCHER.read_text(encoding="utf-8")], who
        program = _installed_launcher() or "/usr/local/bin/springtide-launch"
        return ["sudo", "-n", "-u", self.account.name, "--", program], {}
