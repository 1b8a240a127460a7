"""Loaded by a Dask worker on a machine of its own: ends it when it has had nothing to do, and holds nothing, for long.

Stands alone: it is copied to the machine, whose environment need not have Springtide.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

_LOOKS_PER_LIMIT = 20
_tasks: set[asyncio.Task[None]] = set()


async def dask_setup(worker: Any) -> None:
    """Called by Dask when the worker has started."""
    task = asyncio.create_task(_watch(worker, float(os.environ["SPRINGTIDE_IDLE_S"])))
    # Nobody else keeps it.
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _watch(worker: Any, limit_s: float) -> None:
    busy = time.monotonic()
    while time.monotonic() - busy < limit_s:
        await asyncio.sleep(limit_s / _LOOKS_PER_LIMIT)
        # Until the scheduler has it, nobody could give it any. Then tasks of any kind: what waits, runs, moves, or lies
        # there as a result that somebody wants.
        if worker.status.name == "init" or worker.state.tasks:
            busy = time.monotonic()
    print(f"springtide: nothing to do for {limit_s:g} s", flush=True)
    await worker.close_gracefully(restart=False, reason="springtide-idle")
