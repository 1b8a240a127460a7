"""The desk of the account that runs this process: its lab, its ledger, its folders."""

from __future__ import annotations

import grp
import os
from collections.abc import Callable
from pathlib import Path

from springtide.jobs.desk import Desk
from springtide.lab.load import load_lab
from springtide.lab.models import Lab
from springtide.ledger.place import own_ledger_url, state_directory
from springtide.ledger.store import Ledger
from springtide.queues.opening import caller
from springtide.share import share_path

LAB_VARIABLE = "SPRINGTIDE_LAB"
"""Environment variable that names the lab file."""
_ENVIRONMENTS = "environments"


def own_lab(path: Path | None = None) -> Lab:
    """Return the lab: of a file, else of that which the environment names, else the one shipped."""
    return load_lab(path or Path(os.environ.get(LAB_VARIABLE) or share_path("hub_config", "lab.yaml")))


def own_ledger(lab: Lab, state: Path | None = None, place: str = "") -> Ledger:
    """Return the open ledger of this account, or of the lab where its file names a database for all."""
    state = state or state_directory(lab.hub.state_directory)
    return Ledger.open(place or own_ledger_url(lab.hub.ledger, state.absolute()))


def own_desk(
    lab: Lab,
    ledger: Ledger,
    *,
    state: Path | None = None,
    language: str = "en",
    say: Callable[[str], None] = lambda words: None,
) -> Desk:
    """Return the desk of this account."""
    account = caller()
    home = Path(os.path.expanduser("~"))
    state = (state or state_directory(lab.hub.state_directory)).absolute()
    return Desk(
        lab=lab,
        ledger=ledger,
        folder=own_jobs_folder(),
        home=home,
        environments=_environments(state),
        state=state,
        groups=_groups(),
        language=language,
        user=account.name,
        say=say,
    )


def own_jobs_folder() -> Path:
    """Return where the caller's jobs have their folders."""
    return Path(os.environ.get("SPRINGTIDE_JOBS") or Path.home() / "springtide" / "jobs").absolute()


def _environments(state: Path) -> Path:
    """Return where virtual environments lie: the hub's, where this account may use them, else its own."""
    shared = state.absolute() / _ENVIRONMENTS
    nearest = next(folder for folder in (shared, *shared.parents) if folder.exists())
    if os.access(nearest, os.W_OK | os.X_OK):
        return shared
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "springtide" / _ENVIRONMENTS


def _groups() -> frozenset[str]:
    """Return the names of this account's groups; a number without a name is none."""
    known = {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}
    return frozenset(known[gid] for gid in {os.getegid(), *os.getgroups()} if gid in known)
