"""A worker on a real virtual machine that Nova's API has made: it joins its cluster, works, and goes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client

from springtide.clouds.openstack import OpenStackCloud
from springtide.clouds.qemu import QemuCloud, QemuSettings
from springtide.cluster import CloudPool
from springtide.ledger.store import Ledger
from tests.cluster.clusters import a_cluster, joined, joined_are, local_pool, until
from tests.support.docker_engine import DockerEngine
from tests.support.machines import FLAVOURS, machine_settings, own_network
from tests.support.openstack.running import RunningCloud, running_cloud

# A machine boots within seconds; where the processor's own virtualisation is missing, it takes minutes.
_JOINS_WITHIN_S = 280.0
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def settings(docker_engine: DockerEngine, tmp_path: Path) -> Iterator[QemuSettings]:
    state = tmp_path / "machines"
    state.mkdir(mode=0o700)
    with own_network(replace(machine_settings(state), lifetime_s=900)) as own:
        yield own


@pytest.fixture
def running(settings: QemuSettings, tmp_path: Path) -> Iterator[RunningCloud]:
    qemu = QemuCloud(settings)
    with running_cloud(tmp_path, FLAVOURS, qemu) as one:
        yield one


async def test_a_worker_joins_computes_hands_over_its_results_and_its_machine_is_gone(
    running: RunningCloud, tmp_path: Path
) -> None:
    cloud = OpenStackCloud(running.settings)
    pools = [local_pool(maximum=1), CloudPool("campus", cloud=cloud, flavour="small", lifetime=900, maximum=1)]
    async with a_cluster(tmp_path, pools, host="", budget=1.0) as cluster, Client(cluster, asynchronous=True) as client:
        cluster.scale(local=1, campus=1)
        await until(lambda: joined(cluster) == {"local-0", "campus-0"}, cluster.explain, _JOINS_WITHIN_S)
        [machine] = [key for key, one in cluster.scheduler_info["workers"].items() if one["name"] == "campus-0"]
        results = client.map(lambda number: number * number, range(20), workers=[machine])
        await client.gather(results)
        hosts = await client.run(os.uname, workers=[machine])
        assert next(iter(hosts.values())).nodename == f"{cluster.name}-campus-0"
        [server] = running.project.servers
        assert "springtide: the worker starts at" in await cloud.console(server)
        cluster.scale(local=1, campus=0)
        await joined_are(cluster, "local-0")
        assert await client.gather(results) == [number * number for number in range(20)]
        await until(lambda: not cluster.ledger.machines(open_only=True), "its row says that it is gone", 120)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        [row] = ledger.machines()
    assert (row.state, row.site, row.flavour) == ("destroyed", "campus", "small")
    assert running.project.servers == {}
    assert running.project.count("POST", "/compute/v2.1/servers") == 1
    assert not list((running.project.qemu.settings.state / "machines").glob("vm-*"))  # type: ignore[union-attr]
