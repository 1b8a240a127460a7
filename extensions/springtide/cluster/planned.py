"""What Dask's own code reads of a `SpecCluster` (displays, the end of the program), by our book."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection
from typing import Any

from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import ProcessInterface

from springtide.cluster.book import Book
from springtide.cluster.reconciler import Reconciler


class PlannedWorker(ProcessInterface):
    """A worker of the plan, as `SpecCluster` knows workers. What stands behind it is the reconciler's affair."""

    def __init__(self, scheduler: str = "", name: str = "", pool: str = "") -> None:
        super().__init__()
        self.scheduler, self.name, self.pool = scheduler, name, pool
        self.status = Status.running


class Planned:
    """The part of the cluster that keeps Dask's picture of it, and leaves the work to the reconciler."""

    book: Book
    loop: Any
    scheduler_info: Any
    status: Status
    worker_spec: dict[str, Any]
    workers: dict[str, PlannedWorker]
    _reconciler: Reconciler | None

    def _plan_changed(self) -> None:
        self._sync_spec()
        if self._reconciler is not None:
            self._reconciler.wake()

    def _sync_spec(self) -> None:
        """Write the plan, and who of it exists, where Dask looks for them."""
        planned = [slot for slot in self.book.slots.values() if slot.wanted]
        self.worker_spec = {
            slot.name: {"cls": PlannedWorker, "options": {"name": slot.name, "pool": slot.pool}} for slot in planned
        }
        there = {slot.name: slot.pool for slot in planned if slot.there}
        kept = {name: worker for name, worker in self.workers.items() if name in there}
        self.workers = kept | {name: PlannedWorker("", name, there[name]) for name in there if name not in kept}

    def _correct_state(self) -> Awaitable[None]:
        """Begin what the plan asks for; it is done once queue or cloud have accepted. Nothing is locked meanwhile."""
        return asyncio.ensure_future(self._reconciler.settle() if self._reconciler else _nothing())

    def _update_worker_status(self, op: str, message: Any) -> None:
        # Not SpecCluster's: it forgets a worker that is lost, and never asks for another one.
        Cluster._update_worker_status(self, op, message)
        if self._reconciler is not None:
            self._reconciler.wake(look=op == "remove")

    def _names_of(self, workers: Collection[str]) -> set[str]:
        """Return workers' names, where some may be addresses."""
        names = {address: str(worker["name"]) for address, worker in self.scheduler_info["workers"].items()}
        return {names.get(worker, str(worker)) for worker in workers}


async def _nothing() -> None:
    return None
