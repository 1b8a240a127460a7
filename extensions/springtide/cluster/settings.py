"""How a cluster is set up where nothing else is said: names, addresses, folders, pools."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from springtide.cluster.keys import LIFETIME_S
from springtide.cluster.observation import PoolKind
from springtide.cluster.pools.base import Pool
from springtide.errors import SpringtideError
from springtide.ledger.place import own_ledger_url, state_directory

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_POOL_NAME = re.compile(r"[a-z][a-z0-9]{0,15}")
# What `scale` and `adapt` take beside pools.
_TAKEN = frozenset({"n", "memory", "cores", "minimum", "maximum", "interval", "budget", "settings", "hint", "self"})


def by_name(cluster: str, pools: Sequence[Pool]) -> dict[str, Pool]:
    """Return the pools by their names.

    Raises
    ------
    SpringtideError
        If a name cannot stand in those of jobs and machines, or two pools have the same.
    """
    if not _NAME.fullmatch(cluster):
        raise SpringtideError(
            f"“{cluster}” is no name of a cluster.", "Write up to 31 of a-z, 0-9 and -, a letter first."
        )
    for pool in pools:
        if not _POOL_NAME.fullmatch(pool.name) or pool.name in _TAKEN:
            raise SpringtideError(
                f"“{pool.name}” is no name of a pool.",
                f"Write up to 16 of a-z and 0-9, a letter first, and none of: {', '.join(sorted(_TAKEN))}.",
            )
    found = {pool.name: pool for pool in pools}
    if len(found) != len(pools):
        raise SpringtideError("Two pools have the same name.", "Give each pool a name of its own.")
    return found


def check_known(named: Collection[str], pools: Mapping[str, Pool]) -> None:
    """Refuse pools that the cluster does not have.

    Raises
    ------
    SpringtideError
        If there is one.
    """
    if unknown := sorted(set(named) - set(pools)):
        raise SpringtideError(f"There is no pool “{unknown[0]}” in this cluster.", f"It has: {', '.join(pools)}.")


def listening(host: str, interface: str, pools: Collection[Pool]) -> dict[str, str]:
    """Return where the scheduler listens: as is said, else on loopback if all workers are here."""
    if host or interface:
        return {"host": host} if host else {"interface": interface}
    return {"host": "127.0.0.1"} if all(pool.kind is PoolKind.LOCAL for pool in pools) else {}


def default_folder() -> Path:
    """Return where the folders of clusters lie; remove those whose keys have expired: their clusters were killed."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    folder = Path(base).expanduser() / "springtide" / "clusters"
    for old in folder.glob("*/authority.pem"):
        try:
            if time.time() - old.stat().st_mtime > LIFETIME_S:
                shutil.rmtree(old.parent, ignore_errors=True)
        except OSError:
            continue
    return folder


def default_ledger() -> str:
    """Return the ledger that this account can write."""
    return own_ledger_url("", state_directory(None))
