"""Names of kernels' containers: they say whose they are, so that those of a server that was killed are found."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "springtide-kernel"
_NAME = re.compile(rf"{_PREFIX}-(?P<uid>\d+)-(?P<space>\d+)-(?P<pid>\d+)-(?P<started>\d+)-[0-9a-f]+")
_ENGINE_ANSWERS_WITHIN_S = 30.0


@dataclass(frozen=True)
class Owner:
    """A process that has kernels in containers. A later one with its number is another."""

    uid: int
    space: int
    """Which processes its number counts among: containers have numbers of their own."""
    pid: int
    started: int
    """In clock ticks since this machine started."""

    @classmethod
    def of_this_process(cls) -> Owner:
        """Return this very process."""
        return cls(os.geteuid(), _space(), os.getpid(), _start_of(os.getpid()))

    @classmethod
    def of_container(cls, name: str) -> Owner | None:
        """Return whose container `name` is, None for one that is no kernel's."""
        match = _NAME.fullmatch(name)
        return cls(*(int(match[part]) for part in ("uid", "space", "pid", "started"))) if match else None

    @property
    def is_gone(self) -> bool:
        """Whether it is known to have ended; of an owner among other processes nothing is known."""
        return self.uid == os.geteuid() and self.space == _space() and _start_of(self.pid) != self.started

    def container_name(self) -> str:
        """Return a new name for a container of its."""
        return f"{_PREFIX}-{self.uid}-{self.space}-{self.pid}-{self.started}-{secrets.token_hex(4)}"


def remove_orphans(engine: str) -> list[str]:
    """Remove this account's kernel containers whose server is gone; return their names.

    A companion ends its kernel when the server dies, so there are some only where both were killed at once.

    Parameters
    ----------
    engine : str
        The engine's command.
    """
    names = _ask(engine, "ps", "--all", "--filter", f"name=^/?{_PREFIX}-", "--format", "{{.Names}}").split()
    owners = ((name, Owner.of_container(name)) for name in names)
    orphans = [name for name, owner in owners if owner and owner.is_gone]
    if orphans:
        _ask(engine, "rm", "--force", *orphans)
    return orphans


def _ask(*command: str) -> str:
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_ENGINE_ANSWERS_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""


def _space() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def _start_of(pid: int) -> int:
    """Return when a process started, -1 where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return -1
    # The command's name may hold anything, blanks and parentheses too; the fields after it are plain.
    state, *rest = stat.rpartition(")")[2].split()
    return -1 if state in "ZX" else int(rest[18])
