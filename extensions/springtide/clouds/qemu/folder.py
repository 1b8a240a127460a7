"""The folder of one machine: all that is known of it, and whether it runs.

A machine's process holds a lock on the file ``alive`` in it from before it starts until its very end, however it ends.
So whether a machine runs never depends on a process number that may be another's by now.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from springtide.clouds.base import MachineInfo, MachineState
from springtide.errors import CloudError

ID = re.compile(r"vm-[0-9a-f]{16}")
_NEW, _GONE = ".new-", ".gone-"
_ABOUT = "machine.json"
_CONSOLE_BYTES = 64 * 1024
_DEATH_S = 20.0
_PAUSE_S = 0.02
_OURS = re.compile(r"^springtide: (.*) \([\d.]+ s after the kernel\)\r?$|(Kernel panic.*)", re.MULTILINE)


@dataclass(frozen=True)
class About:
    """What is known of a machine since before it started."""

    token: str
    tag: str
    name: str
    flavour: str
    cores: int
    memory_bytes: int
    address: str
    created: float


def id_of(token: str) -> str:
    """Return the id of the machine with this token: the same token is the same machine."""
    return f"vm-{sha256(token.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class MachineFolder:
    """One machine."""

    path: Path

    @property
    def id(self) -> str:
        """The machine's id."""
        return self.path.name

    @property
    def console(self) -> Path:
        """What it printed."""
        return self.path / "console.log"

    @property
    def words(self) -> Path:
        """What QEMU said."""
        return self.path / "qemu.log"

    @property
    def alive_file(self) -> Path:
        """The file whose lock its process holds."""
        return self.path / "alive"

    @property
    def pid_file(self) -> Path:
        """Where its process writes its number before anything else."""
        return self.path / "pid"

    def about(self) -> About | None:
        """Return what is known of it; None where it is not there, or its folder was spoiled."""
        try:
            return About(**json.loads((self.path / _ABOUT).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def was_started(self) -> bool:
        """Whether it ever ran."""
        return self.pid_file.exists()

    @property
    def is_alive(self) -> bool:
        """Whether its process is there."""
        try:
            with self.alive_file.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def info(self) -> MachineInfo:
        """Return it as the contract tells it."""
        about = self.about()
        state, reason = self._state()
        if about is None:
            return MachineInfo(self.id, "", "", self.id, state, reason=reason or "its folder was spoiled")
        return MachineInfo(
            id=self.id,
            token=about.token,
            tag=about.tag,
            name=about.name,
            state=state,
            flavour=about.flavour,
            address=about.address,
            created=about.created,
            reason=reason,
        )

    def _state(self) -> tuple[MachineState, str]:
        if self.is_alive:
            return MachineState.RUNNING, ""
        if not self.was_started:
            return MachineState.FAILED, "whoever made it was ended before it was started"
        said = _OURS.findall(self.console_text())
        if not said:
            return MachineState.FAILED, self.qemu_words() or "it ended before its user-data started"
        return MachineState.STOPPED, "".join(said[-1])

    def console_text(self) -> str:
        """Return the end of what it printed."""
        return _tail(self.console)

    def qemu_words(self) -> str:
        """Return the end of what QEMU said, without what it says always."""
        lines = _tail(self.words).strip().splitlines()
        return "\n".join(line for line in lines if "warning: " not in line)[-1000:]

    @contextmanager
    def life(self) -> Iterator[int]:
        """Yield the locked descriptor that the machine's process has to inherit."""
        with self.alive_file.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file.fileno()

    def kill(self) -> None:
        """End its process at once; nothing happens where there is none.

        Raises
        ------
        CloudError
            If it does not end, or its process cannot be told from another's.
        """
        until = time.monotonic() + _DEATH_S
        while self.is_alive:
            if time.monotonic() > until:
                raise CloudError(f"The process of {self.id} does not end.", transient=True)
            self._signal()
            time.sleep(_PAUSE_S)

    def _signal(self) -> None:
        try:
            pid = int(self.pid_file.read_text(encoding="ascii"))
            handle = os.pidfd_open(pid)
        except (OSError, ValueError):
            return  # not written yet, or gone by now: the lock will tell
        try:
            # While the lock is held its holder has this number; the handle stays with it when it ends.
            if self.is_alive and os.fsencode(self.path) in Path(f"/proc/{pid}/cmdline").read_bytes():
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        except OSError:
            pass
        finally:
            os.close(handle)

    def remove(self) -> None:
        """Remove the folder of a machine that does not run; a half-removed one is under a name that says so."""
        gone = self.path.with_name(f"{_GONE}{self.id}-{time.monotonic_ns()}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, gone)
        shutil.rmtree(gone, ignore_errors=True)


def all_folders(place: Path) -> list[MachineFolder]:
    """Return the folders of all machines, in the order of their ids."""
    try:
        names = sorted(os.listdir(place))
    except FileNotFoundError:
        return []
    return [MachineFolder(place / name) for name in names if ID.fullmatch(name)]


@contextmanager
def new_folder(place: Path, about: About) -> Iterator[Path]:
    """Yield a folder to fill, which becomes the machine's own at once when the block ends well."""
    new = place / f"{_NEW}{id_of(about.token)}"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    try:
        yield new
        (new / "alive").touch()
        (new / _ABOUT).write_text(json.dumps(asdict(about)), encoding="utf-8")
        os.rename(new, place / id_of(about.token))
    finally:
        shutil.rmtree(new, ignore_errors=True)


def sweep(place: Path) -> None:
    """Remove what killed processes left half made or half removed. Only called with the lock of all machines held."""
    for left in (*place.glob(f"{_NEW}*"), *place.glob(f"{_GONE}*")):
        shutil.rmtree(left, ignore_errors=True)


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _CONSOLE_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
