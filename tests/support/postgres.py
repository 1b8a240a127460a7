"""A PostgreSQL server of the tests' own, from Debian's packages, on a socket in a folder of its own."""

from __future__ import annotations

import getpass
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import Daemon

PACKAGES = Path("/usr/lib/postgresql")

_OWNER = "springtide"
# Nothing here has to survive a power cut, only kills. Each test makes a few connections.
_SETTINGS = ("listen_addresses=", "fsync=off", "autovacuum=off", "max_connections=60", "shared_buffers=16MB")


def find_programs() -> Path | None:
    """Return the folder with ``initdb`` and ``postgres``, of the newest version."""
    found = sorted(PACKAGES.glob("*/bin/postgres"), key=lambda program: float(program.parts[-3]))
    return found[-1].parent if found else None


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    programs: Path
    folder: Path
    account: str
    daemon: Daemon

    @property
    def log(self) -> Path:
        return self.daemon.log

    def start(self) -> None:
        self.daemon.start()
        self.daemon.wait_ready(self._answers, 20)

    def stop(self) -> None:
        """Stop it without waiting for its clients."""
        self.daemon.stop(signal.SIGINT)

    def new_database(self) -> str:
        """Return the URL of a new, empty database."""
        name = f"ledger_{secrets.token_hex(4)}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql://{_OWNER}@/{database}?host={self.folder}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Return what ``psql`` answers."""
        program = [str(self.programs / "psql"), "--no-psqlrc", "-qAt", "-h", str(self.folder), "-U", _OWNER]
        command = [*program, "-d", database, "-c", statement]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        return answer.stdout.strip()

    def _answers(self) -> bool:
        question = [str(self.programs / "pg_isready"), "-q", "-h", str(self.folder)]
        return subprocess.run(question, check=False).returncode == 0


@contextmanager
def running_postgres(programs: Path) -> Iterator[Postgres]:
    """Yield a server; everything of it is gone afterwards."""
    # It refuses to run as root: Debian's package brings an account for it.
    account = "postgres" if os.geteuid() == 0 else getpass.getuser()
    # A socket's path may have 107 characters, fewer than pytest's folders can have.
    folder = Path(tempfile.mkdtemp(prefix="springtide-postgres-", dir="/tmp"))
    try:
        shutil.chown(folder, account, pwd.getpwnam(account).pw_gid)
        _make_cluster(programs, folder, account)
        server = Postgres(programs, folder, account, _daemon(programs, folder, account))
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _make_cluster(programs: Path, folder: Path, account: str) -> None:
    make = [str(programs / "initdb"), "--no-sync", "--auth=trust", "--no-locale", "--encoding=UTF8", "-U", _OWNER]
    command = [*_become(account), *make, "-D", str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)


def _daemon(programs: Path, folder: Path, account: str) -> Daemon:
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    command = [str(programs / "postgres"), "-D", str(folder / "data"), "-k", str(folder), *settings]
    # Becoming another account forgets what is to happen when the tests die.
    return Daemon("PostgreSQL", [*_become(account), "--pdeathsig", "INT", *command], folder / "server.log")


def _become(account: str) -> list[str]:
    if os.geteuid() != 0:
        return ["setpriv"]
    group = str(pwd.getpwnam(account).pw_gid)
    return ["setpriv", "--reuid", account, "--regid", group, "--clear-groups"]
