"""The hub's state directory: secrets, homes, logs, and what lets a second start find the first one's sessions."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from springtide.errors import SpringtideError
from springtide.lab.models import Lab
from springtide.ledger.place import state_directory

# Words one can read out over a desk: no vowels, no look-alikes, so that no word comes out by accident.
_PASSWORD_LETTERS = "bcdfghjkmnpqrstvwxz23456789"
_PASSWORD_GROUPS, _PASSWORD_GROUP_LENGTH = 4, 4


@dataclass(frozen=True)
class StateDirectory:
    """Paths inside the state directory, and the secrets kept there."""

    path: Path

    @property
    def run(self) -> Path:
        """Short-lived files: who runs, what is being built, secrets."""
        return self.path / "run"

    @property
    def logs(self) -> Path:
        """What hub and proxy wrote."""
        return self.path / "logs"

    @property
    def database(self) -> Path:
        """The hub's default database."""
        return self.path / "data" / "jupyterhub.sqlite"

    @property
    def lock(self) -> Path:
        """Locked by the platform that runs."""
        return self.run / "up.lock"

    def prepare(self) -> None:
        """Create what is missing. May run many times.

        Raises
        ------
        SpringtideError
            If it cannot be written.
        """
        try:
            # Homes of users without an account lie below: they must be able to pass, and see nothing on the way.
            for folder, mode in (
                (self.path, 0o711),
                (self.path / "homes", 0o711),
                (self.database.parent, 0o700),
                (self.run, 0o700),
                (self.logs, 0o700),
            ):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(mode)
            (self.path / "environments").mkdir(exist_ok=True, mode=0o755)
        except OSError as error:
            raise SpringtideError(
                f"The state directory {self.path} cannot be used: {error.strerror}.",
                "Name another with --state, or with hub.state_directory in the lab file.",
            ) from error

    def protect_database(self) -> None:
        """Have the default database readable by its owner only. SQLite gives its journal the same mode."""
        self.database.touch(mode=0o600)
        self.database.chmod(0o600)

    def in_use(self) -> bool:
        """Whether a platform runs with this directory: it holds the lock for as long as it lives."""
        try:
            with self.lock.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def secret(self, name: str, length_bytes: int = 32) -> str:
        """Return the secret called `name`, made at first use and readable by its owner only."""
        return self._kept(name, lambda: secrets.token_hex(length_bytes))

    def password(self) -> str:
        """Return the password all users share, made at first use."""
        return self._kept("password", _new_password)

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        path = self.run / name
        if not path.exists():
            written = path.with_name(f".{name}.{os.getpid()}")
            descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(make() + "\n")
            written.replace(path)
        return path.read_text(encoding="utf-8").strip()


def default_state_directory(lab: Lab) -> Path:
    """Return where the lab keeps its state: as its file says, else where such things belong on Linux."""
    return state_directory(lab.hub.state_directory)


def _new_password() -> str:
    groups = (
        "".join(secrets.choice(_PASSWORD_LETTERS) for _ in range(_PASSWORD_GROUP_LENGTH))
        for _ in range(_PASSWORD_GROUPS)
    )
    return "-".join(groups)
