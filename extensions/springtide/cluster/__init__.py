"""One Dask cluster over several places: processes of this machine, batch jobs, virtual machines.

`HybridCluster` is a `distributed.SpecCluster` whose workers live in named pools (`pools`: one module for each kind of
place). What is planned and known of them stands in `book`; `repair` decides what is to be done about it, a pure
function; `reconciler` does it. How many workers each pool gets is decided by `policy`: pure functions from an
`observation` to a `decision` with its explanation, run live by `adapting` and by `simulate`, which replays workload
traces through the same code.
May import ``queues``, ``clouds``, ``environments``, ``ledger``, ``lab`` and what lies below.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from springtide.cluster.decision import PolicySettings
    from springtide.cluster.hybrid import HybridCluster
    from springtide.cluster.pools.base import WorkerOptions
    from springtide.cluster.pools.batch import BatchPool
    from springtide.cluster.pools.cloud import CloudPool
    from springtide.cluster.pools.local import LocalPool
    from springtide.cluster.pools.rehearsal import RehearsalPool

__all__ = ["BatchPool", "CloudPool", "HybridCluster", "LocalPool", "PolicySettings", "RehearsalPool", "WorkerOptions"]

# Loaded when asked for: who replays a trace needs no Dask.
_PLACES = {
    "BatchPool": "pools.batch",
    "CloudPool": "pools.cloud",
    "HybridCluster": "hybrid",
    "LocalPool": "pools.local",
    "PolicySettings": "decision",
    "RehearsalPool": "pools.rehearsal",
    "WorkerOptions": "pools.base",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
