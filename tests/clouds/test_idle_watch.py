"""When the watch that goes with a machine's worker ends it. Over real machines: tests/clouds/qemu/test_worker.py."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from distributed.core import Status

from springtide.clouds import idle_watch

LIMIT_S = 0.2


class Worker:
    """As much of a Dask worker as the watch looks at; a real one's registration cannot be made to last."""

    def __init__(self, status: Status) -> None:
        self.status = status
        self.state = SimpleNamespace(tasks={})
        self.ended = asyncio.Event()

    async def close_gracefully(self, *, restart: bool, reason: str) -> None:
        assert (restart, reason) == (False, "springtide-idle")
        self.ended.set()


async def test_a_worker_without_anything_to_do_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINGTIDE_IDLE_S", str(LIMIT_S))
    worker = Worker(Status.running)
    await idle_watch.dask_setup(worker)
    await asyncio.wait_for(worker.ended.wait(), 10)


@pytest.mark.parametrize("registered", [True, False])
async def test_one_with_tasks_or_not_yet_registered_is_not(monkeypatch: pytest.MonkeyPatch, registered: bool) -> None:
    monkeypatch.setenv("SPRINGTIDE_IDLE_S", str(LIMIT_S))
    worker = Worker(Status.running if registered else Status.init)
    worker.state.tasks = {"a": "task"} if registered else {}
    await idle_watch.dask_setup(worker)
    await asyncio.sleep(LIMIT_S * 4)
    assert not worker.ended.is_set()
    worker.status, worker.state.tasks = Status.running, {}
    await asyncio.wait_for(worker.ended.wait(), 10)
