"""Claims: one of many processes, on one or several machines, does something; the others wait, or take over its claim.

A claim is a file that only one process can create (``O_EXCL``). That its holder lives is told in two ways:

- on the holder's own machine by a lock on the file (``flock``), which the kernel takes away when the process dies,
  however it dies: the next one takes over at once;
- from other machines by the file's time, which the holder renews every few seconds: it counts as dead after a minute
  without that. Ages are differences between times of the file system itself, so that no two clocks are compared.

What NFS has to offer is exclusive creation (version 3 or later) and that opening a file asks the server (its default;
not ``nocto``). Locks between machines are not needed: mounts with ``nolock`` or ``local_lock=flock`` will do.

A claim spares work, it does not keep data whole: a holder that was asleep for minutes may find that it has lost it.
What it does under the claim must be harmless when done twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RENEWED_EVERY_S = 5.0
DEAD_AFTER_S = 60.0
_KERNEL = Path("/proc/sys/kernel/random/boot_id")


class Claim:
    """The claim on `path`; after `take`, it is held until `release` or the end of this process.

    Parameters
    ----------
    path : Path
        The file, in a folder that all who may claim it can write to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._nonce = secrets.token_hex(8)
        self._descriptor = -1
        self._over = threading.Event()

    def take(self) -> bool:
        """Take it, from a dead holder too; return whether it is ours."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            # Whoever of those that wait is first creates it anew.
            return remove_if_dead(self._path) and self.take()
        locked = _lock(self._descriptor)
        said = {"host": platform.node(), "pid": os.getpid(), "kernel": _kernel(), "locked": locked}
        self._over.clear()
        try:
            os.write(self._descriptor, json.dumps({**said, "nonce": self._nonce}).encode())
        except OSError:
            self.release()
            raise
        threading.Thread(target=self._renew, daemon=True).start()
        return True

    def _renew(self) -> None:
        while not self._over.wait(RENEWED_EVERY_S):
            with contextlib.suppress(OSError):
                os.utime(self._descriptor)

    def release(self) -> None:
        """Give it back."""
        self._over.set()
        with contextlib.suppress(OSError):
            if os.fstat(self._descriptor).st_ino == self._path.stat().st_ino:
                self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1


def holder_of(path: Path) -> str:
    """Return the machine whose process holds the claim on `path`; empty where nobody does."""
    return str(_read(path).get("host", ""))


def remove_if_dead(path: Path) -> bool:
    """Remove the claim on `path` if its holder is dead; return whether there is none any more."""
    try:
        # Opening has NFS ask its server.
        descriptor = os.open(path, os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        said = _read(path)
        if not _is_dead(path, descriptor, said):
            return False
        return _remove(path, said)
    finally:
        os.close(descriptor)


def _is_dead(path: Path, descriptor: int, said: Mapping[str, Any]) -> bool:
    if said.get("locked") and said.get("kernel") == _kernel():
        return _lock(descriptor)
    return file_system_time(path.parent) - os.fstat(descriptor).st_mtime > DEAD_AFTER_S


def _remove(path: Path, said: Mapping[str, Any]) -> bool:
    """Remove a dead claim; one that somebody has taken meanwhile is put back."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return True
    if _read(aside).get("nonce") == said.get("nonce"):
        aside.unlink(missing_ok=True)
        return True
    with contextlib.suppress(OSError):
        os.link(aside, path)
    aside.unlink(missing_ok=True)
    return False


def file_system_time(folder: Path) -> float:
    """Return what time it is for the file system of `folder`: on NFS, its server's."""
    probe = folder / f".time-{secrets.token_hex(8)}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody holds it, or this file system has no locks
        return False
    return True


def _kernel() -> str:
    """Return what tells this running kernel from all others: containers of one machine have the same."""
    try:
        return _KERNEL.read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()
