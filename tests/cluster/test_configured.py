"""Pools from Dask's configuration and from a lab file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import pytest

from springtide.clouds.openstack import OpenStackCloud
from springtide.cluster.configured import configured_pools, pools_of_lab
from springtide.cluster.pools.batch import BatchPool
from springtide.cluster.pools.cloud import CloudPool
from springtide.cluster.pools.local import LocalPool
from springtide.errors import SpringtideError
from springtide.lab.models import BatchSite

LAB = """
springtide: 1
profiles: [{name: x, site: laptop}]
sites:
  laptop: {kind: local, runtime: host, workers: {maximum: 3, memory: 1G}}
  big-cluster: {kind: slurm, queue: batch, workers: {cores: 4, memory: 8G, walltime: 2h, interface: ib0}}
  other: {kind: pbspro, optional: true}
  burst:
    kind: qemu
    maximum_machines: 2
    lifetime: 1h
    billing_quantum: 10m
    budget: {amount: 5, per: day}
    flavours: {small: {cores: 1, memory: 1G, price_per_hour: 0.5}}
"""


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPRINGTIDE_LAB", raising=False)


def of_dask(**pools: Any) -> Any:
    with dask.config.set({"springtide.cluster.pools": pools}):
        return configured_pools()


def test_processes_of_this_machine_where_nothing_is_said() -> None:
    assert [type(pool) for pool in configured_pools()] == [LocalPool]


def test_sites_of_the_lab_file_that_say_how_their_workers_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    monkeypatch.setenv("SPRINGTIDE_LAB", str(tmp_path / "lab.yaml"))
    laptop, cluster, cloud = configured_pools()
    assert (laptop.name, laptop.maximum, laptop.worker.memory_bytes) == ("laptop", 3, 2**30)
    assert isinstance(cluster, BatchPool)
    assert (cluster.name, cluster.site_name, cluster.walltime_s) == ("bigcluster", "big-cluster", 7200)
    assert (cluster.worker.cores, cluster.worker.interface) == (4, "ib0")
    assert isinstance(cloud, CloudPool)
    assert (cloud.name, cloud.maximum, cloud.lifetime_s, cloud.terms.quantum_s) == ("burst", 2, 3600, 600)
    assert cloud.site_terms
    assert (cloud.site_terms.budget, cloud.site_terms.period) == (5, "day")


def test_machines_of_an_openstack_cloud_run_the_python_of_their_image(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(
        "springtide: 1\nprofiles: [{name: x, site: here}]\nsites:\n  here: {kind: local, runtime: host}\n"
        "  campus: {kind: openstack, cloud: university, image: base, python: /opt/base/bin/python, network: lab,"
        " request_timeout: 10, disk: 20G, flavours: {m1.small: {cores: 1, memory: 2G}}}\n"
    )
    [pool] = pools_of_lab(tmp_path / "lab.yaml")
    assert isinstance(pool, CloudPool)
    assert pool.worker.python == "/opt/base/bin/python"
    assert isinstance(pool.cloud, OpenStackCloud)
    settings = pool.cloud.settings
    assert (settings.cloud, settings.network, settings.request_s) == ("university", "lab", 10)
    assert [flavour.name for flavour in settings.flavours] == ["m1.small"]
    assert settings.disk_bytes == 20 * 2**30


def test_pools_of_dasks_configuration() -> None:
    local, batch, cloud = of_dask(
        local={"maximum": 2},
        batch={"kind": "pbspro", "cores": 2, "memory": "4G", "walltime": "1h", "death-timeout-s": 9},
        cloud={"kind": "qemu", "lifetime": "30m"},
    )
    assert (type(local), local.maximum) == (LocalPool, 2)
    assert isinstance(cloud, CloudPool)
    assert cloud.lifetime_s == 1800
    assert isinstance(batch, BatchPool)
    assert isinstance(batch.site, BatchSite)
    assert (batch.site.kind, batch.walltime_s, batch.worker.memory_bytes) == ("pbspro", 3600, 4 * 2**30)
    assert batch.worker.death_timeout_s == 9


@pytest.mark.parametrize(
    ("pools", "words"),
    [
        ({"a": {"kind": "mainframe"}}, r"springtide\.cluster\.pools\.a: there is no kind of pool “mainframe”"),
        ({"a": {"kind": "slurm", "coers": 2}}, r"springtide\.cluster\.pools\.a .*coers"),
        ({"a": {"kind": "slurm", "cores": "many"}}, r"springtide\.cluster\.pools\.a .*many"),
    ],
)
def test_what_cannot_be_understood_is_said_with_its_place(pools: Any, words: str) -> None:
    with pytest.raises(SpringtideError, match=rf"(?s){words}"):
        of_dask(**pools)


def test_results_move_before_the_walltime_is_over() -> None:
    lifetimes = {walltime: BatchPool(walltime=walltime).lifetime_s for walltime in ("30s", "10m", "2h")}
    assert lifetimes == {"30s": 15, "10m": 540, "2h": 6900}
