"""The folder of one running kernel: its sockets, its connection file, what its companion reads and writes.

Kernels are reached by sockets in the file system, in a folder that only their account can enter. Ports would be open
to every account of the machine: the key of a kernel signs what it is told, but what it prints is there to be read.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from springtide.kernels.guard import write_whole

CHANNELS = ("shell", "iopub", "stdin", "hb", "control")
CONNECTION = "connection.json"
# A socket's path has room for 107 characters.
_LONGEST_FOLDER = 80


@dataclass(frozen=True)
class KernelFolder:
    """Where one running kernel's files lie."""

    path: Path

    @classmethod
    def made(cls) -> KernelFolder:
        """Return a new one, which only this account can enter."""
        return cls(Path(tempfile.mkdtemp(prefix="springtide-kernel-", dir=_short_folder())))

    @property
    def connection(self) -> Path:
        """The connection file that the kernel reads."""
        return self.path / CONNECTION

    @property
    def sockets(self) -> str:
        """What the names of its sockets begin with: Jupyter's ``ip`` of a kernel without network."""
        return str(self.path / "channel")

    def socket(self, port: int) -> Path:
        """Return the socket that Jupyter numbers `port`."""
        return Path(f"{self.sockets}-{port}")

    def write_connection(self, info: Mapping[str, object]) -> None:
        """Write the kernel's connection file, its key for this account's eyes only."""
        write_whole(self.connection, {name: _plain(value) for name, value in info.items()})

    def read(self, name: str) -> dict[str, object]:
        """Return what a companion has written; empty where it has not."""
        try:
            read: dict[str, object] = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return read

    def clear(self) -> None:
        """Remove what a kernel that ended has left, for the next one."""
        for entry in self.path.iterdir():
            with contextlib.suppress(OSError):
                entry.unlink()

    def remove(self) -> None:
        """Remove it with all it holds."""
        shutil.rmtree(self.path, ignore_errors=True)


def _plain(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value


def _short_folder() -> str:
    for folder in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()):
        if folder and len(folder) < _LONGEST_FOLDER - 30 and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return "/tmp"
