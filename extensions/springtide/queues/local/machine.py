"""The local queue's machine and folder: how large it is, where its state lies, what its owner has set.

Nothing here depends on the caller's environment but ``SPRINGTIDE_LOCAL_QUEUE``: the hub, the launcher and a person's
shell each have another one, and must all find the same queue.
"""

from __future__ import annotations

import json
import os
import pwd
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from springtide.errors import QueueError
from springtide.units import parse_memory, parse_walltime

SPOOL_VARIABLE = "SPRINGTIDE_LOCAL_QUEUE"
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "afs", "fuse.sshfs"}
)
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_DAY_S = 86400


@dataclass(frozen=True)
class Settings:
    """What the queue gives out. ``settings.json`` in its folder may name any of the keys of `_SETTINGS`."""

    cores: int
    memory_bytes: int
    default_walltime_s: int = _DAY_S
    """Of a job that asks for none."""
    walltime_s: int | None = None
    """The longest; None: no limit."""
    grace_s: float = 10.0
    """From the first signal to the last."""
    idle_s: float = 60.0
    """How long the keeper stays when there is nothing to do."""
    kept_s: float = 30.0 * _DAY_S
    kept_jobs: int = 10_000

    def default_memory_bytes(self, cores: int) -> int:
        """Return what a job gets that asks for no memory: the share of its cores."""
        return self.memory_bytes * min(cores, self.cores) // self.cores


@dataclass(frozen=True)
class Spool:
    """The folder that holds one queue."""

    folder: Path

    @property
    def database(self) -> Path:
        """All submissions and jobs."""
        return self.folder / "queue.sqlite"

    @property
    def lock(self) -> Path:
        """Held by the keeper for as long as it lives."""
        return self.folder / "keeper.lock"

    @property
    def bell(self) -> Path:
        """Named pipe: one byte wakes the keeper."""
        return self.folder / "bell"

    @property
    def log(self) -> Path:
        """What keeper and shepherds complain about."""
        return self.folder / "keeper.log"

    def identity(self) -> tuple[int, int] | None:
        """Return what tells this database from one that was made anew in its place; None where there is none."""
        try:
            found = self.database.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def script(self, number: int) -> Path:
        """Return where the script of a submission lies until its last job is over."""
        return self.folder / "scripts" / f"{number}.sh"

    def create(self) -> None:
        """Make the folder, readable by its owner only.

        Raises
        ------
        QueueError
            If it cannot be made or belongs to somebody else.
        """
        try:
            (self.folder / "scripts").mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.folder.stat()
            if found.st_uid == os.geteuid() and found.st_mode & 0o077:
                self.folder.chmod(0o700)
        except OSError as error:
            hint = f"Set {SPOOL_VARIABLE} to a folder that can be written."
            raise QueueError(f"The queue's folder {self.folder} cannot be made: {error.strerror}.", hint) from error
        if found.st_uid != os.geteuid():
            raise QueueError(f"The queue's folder {self.folder} belongs to another account.")

    def settings(self) -> Settings:
        """Return this machine's size, changed by what ``settings.json`` says.

        Raises
        ------
        QueueError
            If that file is not understood.
        """
        path = self.folder / "settings.json"
        settings = Settings(machine_cores(), machine_memory())
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return settings
        except (OSError, ValueError) as error:
            raise QueueError(f"{path} cannot be read: {error}") from error
        if not isinstance(found, dict) or set(found) - set(_SETTINGS):
            raise QueueError(f"{path} may only hold: {', '.join(_SETTINGS)}.")
        try:
            changes = {_SETTINGS[key][0]: _SETTINGS[key][1](value) for key, value in found.items()}
        except (TypeError, ValueError) as error:
            raise QueueError(f"{path}: {error}") from error
        return replace(settings, **changes)


def find_spool() -> Spool:
    """Return the queue of the account that asks.

    Raises
    ------
    QueueError
        If the variable names a relative folder, or the account has no home.
    """
    named = os.environ.get(SPOOL_VARIABLE)
    if named:
        if not os.path.isabs(named):
            raise QueueError(f"{SPOOL_VARIABLE} must be an absolute path; it is “{named}”.")
        return Spool(Path(named))
    folder = Path(account().pw_dir) / ".local/state/springtide/queue"
    # A home that several machines share: one queue for each of them, as each only knows its own processes.
    return Spool(folder / host_name() if file_system_of(folder) in _NETWORK_FILE_SYSTEMS else folder)


def account() -> pwd.struct_passwd:
    """Return the account this process acts as.

    Raises
    ------
    QueueError
        If its number has no name on this machine.
    """
    try:
        return pwd.getpwuid(os.geteuid())
    except KeyError:
        raise QueueError(f"The account number {os.geteuid()} has no name on this machine.") from None


def host_name() -> str:
    """Return this machine's name."""
    return os.uname().nodename


def boot_id() -> str:
    """Return what tells this boot of the machine from every other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def machine_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def machine_memory() -> int:
    """Return the bytes of memory this process may use: the machine's, or less in a container."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _MEMORY_LIMITS:
        try:
            words = Path(path).read_text(encoding="ascii").strip()
        except OSError:
            continue
        limits += [int(words)] if words.isdecimal() else []
    return min(limits)


def file_system_of(path: Path) -> str:
    """Return the kind of the file system that `path` is, or will be, on; empty where it cannot be told."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    mounts = {fields[1]: fields[2] for fields in map(str.split, lines) if len(fields) > 2}
    resolved = path.resolve()
    return next((mounts[str(folder)] for folder in (resolved, *resolved.parents) if str(folder) in mounts), "")


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is not a whole number above 0")
    return value


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError(f"{value!r} is not a number of seconds")
    return float(value)


_SETTINGS: dict[str, tuple[str, Any]] = {
    "cores": ("cores", _whole),
    "memory": ("memory_bytes", parse_memory),
    "walltime": ("walltime_s", parse_walltime),
    "default_walltime": ("default_walltime_s", parse_walltime),
    "grace_s": ("grace_s", _seconds),
    "idle_s": ("idle_s", _seconds),
    "kept_days": ("kept_s", lambda days: _seconds(days) * _DAY_S),
    "kept_jobs": ("kept_jobs", _whole),
}
"""Key in the file -> field, and what reads its value."""
