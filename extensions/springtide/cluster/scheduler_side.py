"""The part of a hybrid cluster that lives in its scheduler, wherever that runs: it answers through Dask's own RPC."""

from __future__ import annotations

import itertools
import time
from typing import Any

from distributed.core import Status
from distributed.diagnostics.plugin import SchedulerPlugin

NAME = "springtide"
# Of huge graphs not all results are looked at: what is moved is known well enough from these.
_RESULTS_LOOKED_AT = 5000
# What is heard of a worker so soon after an order may have been said before the order came.
_ON_THE_WAY_S = 0.2
_READY = ("no-worker", "queued", "processing")
_UNFINISHED = (*_READY, "waiting")


class SchedulerSide(SchedulerPlugin):
    """Tells what workers do and what waits, and lets workers finish what they do."""

    name = NAME

    def __init__(self) -> None:
        self._scheduler: Any = None
        self._draining_since: dict[str, float] = {}
        self._idle_since: dict[str, float] = {}

    async def start(self, scheduler: Any) -> None:
        """Add our questions to those the scheduler answers. Called by Dask when the plugin is registered."""
        self._scheduler = scheduler
        scheduler.handlers.update(
            springtide_look=self.look,
            springtide_load=self.load,
            springtide_drain=self.drain,
        )

    def remove_worker(self, scheduler: Any, worker: str, *, stimulus_id: str, **kwargs: Any) -> None:
        """Forget a worker that has left. Called by Dask."""
        self._draining_since.pop(worker, None)
        self._idle_since.pop(worker, None)

    async def look(self) -> dict[str, Any]:
        """Return what each worker does, by name, and how long the longest kind of task that waits takes."""
        prefixes = self._prefixes()
        return {
            "workers": {str(worker.name): self._worker(worker) for worker in self._scheduler.workers.values()},
            "unfinished": sum(_count(prefix, _UNFINISHED) for prefix in prefixes),
            "longest_s": max((prefix.duration_average for prefix in prefixes), default=0.0),
        }

    async def load(self) -> dict[str, Any]:
        """Return what there is to do, as the policy asks: `look`, the ready tasks by kind, the data they need."""
        kinds = ((_count(prefix, _READY), prefix.duration_average) for prefix in self._prefixes())
        return {
            **await self.look(),
            # Tasks and the mean duration of each kind; below 0: none has ended yet.
            "ready": [kind for kind in kinds if kind[0]],
            "bytes": self._bytes_needed(),
        }

    def _prefixes(self) -> list[Any]:
        return [prefix for prefix in self._scheduler.task_prefixes.values() if _count(prefix, _UNFINISHED)]

    def _worker(self, worker: Any) -> dict[str, Any]:
        since = self._draining_since.get(worker.address)
        # What it executes is told with its heartbeats: only one that came after the order counts.
        heard = since is None or worker.last_seen > since + _ON_THE_WAY_S
        return {
            "executing": len(worker.executing),
            "processing": len(worker.processing),
            "drained": heard and not worker.executing,
            "only_copies": any(len(task.who_has) == 1 for task in worker.has_what),
            "expected_s": worker.occupancy / max(1, worker.nthreads),
            "idle_since": self._idle_of(worker),
        }

    def _idle_of(self, worker: Any) -> float | None:
        if worker.processing:
            self._idle_since.pop(worker.address, None)
            return None
        return self._idle_since.setdefault(worker.address, time.time())

    def _bytes_needed(self) -> int:
        """Return the size of the results that unfinished tasks need."""
        results = (task for worker in self._scheduler.workers.values() for task in worker.has_what)
        needed = {task: max(0, task.nbytes) for task in itertools.islice(results, _RESULTS_LOOKED_AT) if task.waiters}
        return sum(needed.values())

    async def drain(self, names: list[str]) -> None:
        """Let workers finish what they execute, and begin nothing new: what they have not begun goes elsewhere."""
        wanted = set(names)
        for worker in [one for one in self._scheduler.workers.values() if str(one.name) in wanted]:
            self._draining_since.setdefault(worker.address, time.time())
            self._set_status(worker, Status.closing_gracefully)

    def _set_status(self, worker: Any, status: Status) -> None:
        stimulus = f"springtide-{status.name}-{time.time()}"
        self._scheduler.handle_worker_status_change(status, worker, stimulus)
        message = {"op": "worker-status-change", "status": status.name, "stimulus_id": stimulus}
        self._scheduler.worker_send(worker.address, message)


def _count(prefix: Any, states: tuple[str, ...]) -> int:
    return int(sum(prefix.states[name] for name in states))
