"""Which account of this machine acts for a user, and how the hub becomes it."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from springtide.errors import QueueError

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
    if policy == "user" or (shutil.which("sudo") and installed_launcher()):
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


def installed_launcher() -> str | None:
    """Return the launcher that sudoers names, None where the administrator has installed none."""
    return shutil.which("springtide-launch", path="/opt/springtide/bin:/usr/local/bin:/usr/bin")
