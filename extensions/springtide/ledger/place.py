"""Where the ledger of a lab lies."""

from __future__ import annotations

import os
from pathlib import Path

from springtide.ledger.engine import parse_place

_FILE = "ledger.sqlite"


def state_directory(configured: Path | None) -> Path:
    """Return the lab's state directory: what its file says, else where such things belong on Linux."""
    if configured is not None:
        return configured
    return Path("/var/lib/springtide") if os.geteuid() == 0 else _own_state()


def ledger_path(state: Path) -> Path:
    """Return the ledger's file in a state directory."""
    return state / _FILE


def ledger_url(configured: str, state: Path) -> str:
    """Return the address of the lab's ledger, for `springtide.ledger.store.Ledger.open`.

    Parameters
    ----------
    configured : str
        What the lab file says, "" where it says nothing.
    state : Path
        The hub's state directory.
    """
    return configured or str(ledger_path(state))


def own_ledger_url(configured: str, state: Path) -> str:
    """Return the ledger for what this account itself submits: the lab's if it may write there, else one of its own."""
    url = ledger_url(configured, state)
    file = file_of(url)
    if file is None or _usable(file):
        return url
    return str(ledger_path(_own_state()))


def file_of(url: str) -> Path | None:
    """Return the file in which a ledger lies, None where a server keeps it."""
    parsed = parse_place(url)
    return Path(str(parsed.database)) if parsed.get_backend_name() == "sqlite" else None


def _own_state() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "springtide"


def _usable(file: Path) -> bool:
    """Whether this account can write the file, or make it."""
    if _allows(file, os.F_OK):
        return _allows(file, os.R_OK | os.W_OK)
    nearest = next(folder for folder in file.parents if _allows(folder, os.F_OK))
    return _allows(nearest, os.W_OK | os.X_OK)


def _allows(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)
