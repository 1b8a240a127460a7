"""What tests of clusters share."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from springtide.cluster import HybridCluster, LocalPool, WorkerOptions
from springtide.cluster.pools.base import Pool

WITHIN_S = 120.0
SMALL = WorkerOptions(memory="300M", death_timeout_s=WITHIN_S)


def local_pool(maximum: int = 4, **worker: Any) -> LocalPool:
    return LocalPool(worker=dataclasses.replace(SMALL, **worker), maximum=maximum)


def a_cluster(folder: Path, pools: Sequence[Pool] = (), **settings: Any) -> HybridCluster:
    """Return a cluster with all its files in `folder`; to be awaited, or entered."""
    said = {"host": "127.0.0.1", "asynchronous": True, "quiet": True, **settings}
    return HybridCluster(pools or [local_pool()], folder=folder, ledger=folder / "ledger.sqlite", **said)


async def until(check: Callable[[], Any], what: str | Callable[[], str], within_s: float = WITHIN_S) -> Any:
    """Return what `check` returns as soon as that is true."""
    give_up_at = time.monotonic() + within_s
    while not (found := check()):
        assert time.monotonic() < give_up_at, what if isinstance(what, str) else what()
        await asyncio.sleep(0.05)
    return found


def joined(cluster: HybridCluster) -> set[str]:
    """Return the names of the workers that the scheduler has."""
    return {str(worker["name"]) for worker in cluster.scheduler_info["workers"].values()}


async def joined_are(cluster: HybridCluster, *names: str) -> None:
    """Return as soon as these workers, and no others, have joined."""
    await until(lambda: joined(cluster) == set(names), f"{names} have joined, not {joined(cluster)}")


def wide(number: int) -> bytes:
    """Return a result that is worth being kept."""
    return bytes([number % 256]) * 10_000
