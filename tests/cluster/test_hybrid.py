"""A hybrid cluster of processes of this machine: Dask's own interface, faults, keys, displays."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from distributed import Client, Nanny
from distributed.comm import connect

from springtide.cluster import HybridCluster, LocalPool, repair
from springtide.cluster.keys import make_keys
from springtide.errors import SpringtideError
from tests.cluster.clusters import WITHIN_S, a_cluster, joined, joined_are, local_pool, until, wide
from tests.support.processes import all_processes


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[HybridCluster]:
    async with a_cluster(tmp_path) as one:
        yield one


@pytest.fixture
async def client(cluster: HybridCluster) -> AsyncIterator[Client]:
    async with Client(cluster, asynchronous=True) as one:
        yield one


def pid_of(cluster: HybridCluster, name: str) -> int:
    """Return the process that stands for a worker: its nanny, which leads a session of its own."""
    body = cluster.book.slots[name].body
    assert body is not None
    return int(body.id)


async def test_scaling_down_loses_neither_results_nor_running_tasks(cluster: HybridCluster, client: Client) -> None:
    """Retired by name, as the scheduler knows names: distributed#4069 and #8119 lose half of the results here."""
    cluster.scale(local=3)
    await client.wait_for_workers(3, timeout=WITHIN_S)
    results = client.map(wide, range(60))
    await client.gather(results)
    running = client.map(slow, range(4))
    await asyncio.sleep(0.2)
    cluster.scale(1)
    assert await client.gather(running) == [0, 1, 2, 3]
    await joined_are(cluster, "local-0")
    assert await client.gather(results) == [wide(number) for number in range(60)]
    assert await client.run_on_scheduler(computations) == 64


def computations(dask_scheduler) -> int:  # type: ignore[no-untyped-def]
    """Return how many tasks were computed, those computed twice counted twice."""
    return sum(1 for entry in dask_scheduler.transition_log if (entry[1], entry[2]) == ("processing", "memory"))


def slow(number: int) -> int:
    time.sleep(1)
    return number


async def test_lost_workers_are_replaced(cluster: HybridCluster, client: Client) -> None:
    cluster.scale(2)
    await joined_are(cluster, "local-0", "local-1")
    # The nanny, and with it all of the worker.
    os.killpg(pid_of(cluster, "local-0"), signal.SIGKILL)
    await joined_are(cluster, "local-1", "local-2")


def _status_of_worker(dask_worker: Nanny) -> str:
    return dask_worker.process.status.name if dask_worker.process else ""


async def test_a_worker_process_that_dies_is_started_again_by_its_nanny(
    cluster: HybridCluster, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long it takes on a busy machine.
    monkeypatch.setattr(repair, "LOST_AFTER_S", 2 * WITHIN_S)
    cluster.scale(1)
    await joined_are(cluster, "local-0")
    # A nanny that does not know yet that its worker has started would take the death for a failed start, and end.
    while list((await client.run(_status_of_worker, nanny=True)).values()) != ["running"]:
        await asyncio.sleep(0.05)
    (pid,) = (await client.run(os.getpid)).values()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not joined(cluster), "the worker is lost")
    await joined_are(cluster, "local-0")


async def test_what_cannot_start_is_said_and_tried_again(tmp_path: Path) -> None:
    """Neither a phantom in the plan nor an exception that nobody sees."""
    pool = local_pool(python="/nowhere/python")
    async with a_cluster(tmp_path, [pool]) as cluster, Client(cluster, asynchronous=True) as client:
        cluster.scale(1)
        await until(lambda: "No such file" in cluster.explain(), "the failure is told")
        assert "No such file" in (await cluster.get_logs())["Cluster"]
        pool.worker = local_pool().worker
        await client.wait_for_workers(1, timeout=WITHIN_S)
        await until(lambda: "No such file" not in cluster.explain(), "it is told no more")


async def test_a_worker_that_ends_before_it_joins_is_tried_again_more_and_more_slowly(tmp_path: Path) -> None:
    async with a_cluster(tmp_path, [local_pool(options=("--no-such-option",))]) as cluster:
        cluster.scale(1)
        await until(lambda: cluster.book.pools["local"].failures >= 2, "it fails twice")
        assert "exit status 2" in cluster.explain()
        page = cluster.book.pools["local"]
        first, second, *_ = page.asked_at
        assert second - first >= 2
        assert page.again_at - second >= 4


async def test_closing_returns_whatever_was_going_on(tmp_path: Path) -> None:
    cluster = await a_cluster(tmp_path, [local_pool(8)])
    cluster.scale(8)
    await asyncio.sleep(0.3)
    await asyncio.wait_for(cluster.close(), WITHIN_S)
    await cluster.close()
    await until(lambda: not any(one.mentions(cluster.name) for one in all_processes()), "no process is left")
    assert not any(path.is_dir() for path in tmp_path.iterdir())


async def test_adapts_to_the_load_and_says_why(cluster: HybridCluster, client: Client) -> None:
    cluster.adapt(maximum=2, target_duration=1, hint=1)
    assert await cluster.dry_run() == "Nothing to do: what is there suffices for the work."
    futures = client.map(slow, range(3))
    await until(lambda: "local: 2 worker(s) started on this machine" in cluster.explain(), "the decision is told")
    await client.gather(futures)
    assert "local: 2 worker(s) started on this machine" in (await cluster.get_logs())["Cluster"]
    assert cluster._adaptive is not None
    cluster.scale(0)
    assert cluster._adaptive is None
    await joined_are(cluster)


async def test_the_workers_key_is_for_its_owner_alone(cluster: HybridCluster) -> None:
    cluster.scale(1)
    await joined_are(cluster, "local-0")
    assert stat.S_IMODE(cluster.folder.stat().st_mode) == 0o700
    files = [path for path in cluster.folder.iterdir() if path.suffix in (".pem", ".key")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    written = "".join(path.read_text() for path in cluster.folder.iterdir())
    assert cluster.keys.worker.key in written
    assert cluster.keys.scheduler.key not in written
    assert cluster.keys.client.key not in written
    command = Path("/proc", str(pid_of(cluster, "local-0")), "cmdline").read_text()
    environment = Path("/proc", str(pid_of(cluster, "local-0")), "environ").read_text()
    assert "PRIVATE" not in command + environment


async def test_nobody_gets_in_without_a_key_of_this_cluster(cluster: HybridCluster) -> None:
    address = cluster.scheduler_address
    for role in ("client", "worker"):
        with pytest.raises(OSError, match=r"certificate|closed"):
            await connect(address, timeout=WITHIN_S, **make_keys("another").security.get_connection_args(role))
        with pytest.raises(OSError, match=r"closed|time"):
            await connect(address.replace("tls", "tcp"), timeout=WITHIN_S)
        await (await connect(address, timeout=WITHIN_S, **cluster.keys.security.get_connection_args(role))).close()


def test_works_in_a_plain_script(tmp_path: Path) -> None:
    with a_cluster(tmp_path, asynchronous=False) as cluster, cluster.get_client() as client:
        cluster.scale(1)
        assert client.submit(sum, [1, 2]).result(timeout=WITHIN_S) == 3
        assert "local" in cluster._repr_html_()
        assert repr(cluster).startswith("HybridCluster(")
        assert cluster.dashboard_link.startswith("http://127.0.0.1:")
        with pytest.raises(SpringtideError, match="no pool “clowd”"):
            cluster.scale(clowd=1)
        cluster.scale(cores=9)
        assert "4 workers are planned, not 9" in cluster.get_logs()["Cluster"]


@pytest.mark.parametrize(
    ("name", "pools", "words"),
    [
        ("Über", ["local"], "no name of a cluster"),
        ("c", ["a-b"], "no name of a pool"),
        ("c", ["minimum"], "no name of a pool"),
        ("c", ["local", "local"], "same name"),
    ],
)
def test_names_that_cannot_stand_in_those_of_jobs_are_refused(
    tmp_path: Path, name: str, pools: list[str], words: str
) -> None:
    with pytest.raises(SpringtideError, match=words):
        a_cluster(tmp_path, [LocalPool(pool) for pool in pools], name=name)
    assert list(tmp_path.iterdir()) == []
