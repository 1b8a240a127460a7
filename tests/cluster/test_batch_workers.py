"""Workers that are batch jobs, on a real Slurm cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from springtide.cluster import BatchPool, HybridCluster, closing, repair
from springtide.cluster.bodies import Body, BodyState
from springtide.lab.models import BatchSite
from springtide.ledger.store import Ledger
from tests.cluster.clusters import SMALL, WITHIN_S, a_cluster, joined, joined_are, until
from tests.support.accounts import TwoUsers
from tests.support.slurm import Slurm


@pytest.fixture(autouse=True)
def queue(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    yield
    slurm.cancel_all()


def a_pool(**settings: Any) -> BatchPool:
    site = BatchSite(kind="slurm", commands=Path("/usr/bin"))
    return BatchPool("batch", SMALL, site=site, walltime=1800, **settings)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[HybridCluster]:
    async with a_cluster(tmp_path, [a_pool()]) as one:
        yield one


def body_of(cluster: HybridCluster, name: str) -> Body:
    body = cluster.book.slots[name].body
    assert body is not None
    return body


async def test_workers_are_jobs_that_are_gone_at_the_end(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By themselves, however long that takes on a busy machine.
    monkeypatch.setattr(closing, "LEAVES_WITHIN_S", WITHIN_S)
    async with a_cluster(tmp_path, [a_pool()]) as cluster, Client(cluster, asynchronous=True) as client:
        cluster.scale(batch=2)
        await client.wait_for_workers(2, timeout=WITHIN_S)
        assert await client.gather(client.map(pow, range(20), [2] * 20)) == [number**2 for number in range(20)]
        assert joined(cluster) == {"batch-0", "batch-1"}
        running = slurm.jobs()
        assert [job.name.startswith(f"{cluster.name}-batch-") for job in running] == [True, True]
        log = (await cluster.get_logs())["batch-0"]
        assert "Registered to" in log
    assert slurm.jobs() == []
    assert not any(path.is_dir() for path in tmp_path.iterdir())
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert [(row.kind, row.over, row.exit_status) for row in ledger.jobs()] == [("worker", True, 0)] * 2


async def test_a_job_that_is_deleted_in_the_queue_is_replaced(slurm: Slurm, cluster: HybridCluster) -> None:
    cluster.scale(2)
    await joined_are(cluster, "batch-0", "batch-1")
    slurm.run(["scancel", body_of(cluster, "batch-0").id])
    await joined_are(cluster, "batch-1", "batch-2")
    await until(lambda: len(slurm.jobs()) == 2, "the deleted job is gone, and one has come for it")


async def test_a_job_that_is_requeued_is_the_same_worker(
    slurm: Slurm, cluster: HybridCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long the queue takes to say so on a busy machine.
    monkeypatch.setattr(repair, "LOST_AFTER_S", 2 * WITHIN_S)
    cluster.scale(1)
    await joined_are(cluster, "batch-0")
    job = body_of(cluster, "batch-0").id
    slurm.requeue(job)
    await until(lambda: body_of(cluster, "batch-0").state is BodyState.WAITING, "it is seen to wait again")
    await asyncio.sleep(2)
    assert [(slot.name, slot.wanted) for slot in cluster.book.slots.values()] == [("batch-0", True)]
    assert [each.id for each in slurm.jobs()] == [job]


async def test_what_waits_is_told_in_the_queues_own_words(
    slurm: Slurm, cluster: HybridCluster, two_users: TwoUsers
) -> None:
    slurm.run(["sbatch", "--exclusive", "--nodes=2", "--mem=0", "--wrap=sleep 1000"], two_users.alice)
    await until(lambda: [job.state for job in slurm.jobs()] == ["RUNNING"], "all nodes are taken")
    cluster.scale(1)
    await until(lambda: "Resources" in cluster.explain() or "Priority" in cluster.explain(), "the reason is told")
    cluster.scale(0)
    await until(lambda: len(slurm.jobs()) == 1, "its job is cancelled")


async def test_a_refusal_is_told_and_closing_still_returns(slurm: Slurm, tmp_path: Path) -> None:
    """dask-jobqueue tells nobody, and close() raises an AssertionError."""
    async with a_cluster(tmp_path, [a_pool(queue="nowhere")]) as cluster:
        cluster.scale(2)
        await until(lambda: "invalid partition" in cluster.explain(), "the refusal is told")
        assert cluster.book.pools["batch"].failures == 1
    assert slurm.jobs() == []


async def test_neither_the_script_nor_the_queue_shows_a_key(slurm: Slurm, cluster: HybridCluster) -> None:
    cluster.scale(1)
    await joined_are(cluster, "batch-0")
    job = body_of(cluster, "batch-0").id
    shown = (
        slurm.run(["scontrol", "show", "job", job]).stdout
        + slurm.run(["scontrol", "write", "batch_script", job, "-"]).stdout
    )
    assert str(cluster.folder) in shown
    assert "PRIVATE" not in shown
