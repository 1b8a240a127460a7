"""A cluster whose workers are real virtual machines of this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from distributed import Client

from springtide.cli.machines import machines
from springtide.clouds.qemu import QemuCloud, QemuSettings
from springtide.cluster import CloudPool
from springtide.ledger.store import Ledger
from tests.cluster.clusters import a_cluster, joined, joined_are, local_pool, until
from tests.support.docker_engine import DockerEngine
from tests.support.machines import machine_settings, own_network
from tests.support.waiting import wait_until

# A machine boots within seconds; where the processor's own virtualisation is missing, it takes minutes.
_JOINS_WITHIN_S = 280.0
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def settings(docker_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QemuSettings]:
    state = tmp_path_factory.mktemp("machines") / "cloud"
    state.mkdir(mode=0o700)
    with own_network(replace(machine_settings(state), lifetime_s=900)) as own:
        yield own


def a_pool(settings: QemuSettings, **options: Any) -> CloudPool:
    return CloudPool("cloud", cloud=QemuCloud(settings), flavour="small", lifetime=900, **options)


async def test_machines_take_work_hand_over_their_results_and_are_gone(settings: QemuSettings, tmp_path: Path) -> None:
    pools = [local_pool(maximum=1), a_pool(settings, maximum=1)]
    async with a_cluster(tmp_path, pools, host="", budget=1.0) as cluster, Client(cluster, asynchronous=True) as client:
        cluster.scale(local=1, cloud=1)
        await until(lambda: joined(cluster) == {"local-0", "cloud-0"}, cluster.explain(), _JOINS_WITHIN_S)
        (machine,) = [address for address, one in workers(cluster) if one["name"] == "cloud-0"]
        # No function of a module: the machine has none of these tests.
        results = client.map(lambda number: bytes([number]) * 10_000, range(20), workers=[machine])
        await client.gather(results)
        hosts = await client.run(os.uname, workers=[machine])
        assert next(iter(hosts.values())).nodename == f"{cluster.name}-cloud-0"
        assert 0 < cluster.cost <= cluster.book.committed <= 0.25 * 900 / 3600 + 1e-9
        cluster.scale(local=1, cloud=0)
        await joined_are(cluster, "local-0")
        assert await client.gather(results) == [bytes([number]) * 10_000 for number in range(20)]
        await until(lambda: not cluster.ledger.machines(open_only=True), "its row says that it is gone", 120)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        (row,) = ledger.machines()
    assert (row.state, row.flavour) == ("destroyed", "small")
    # A retired worker ends, and its machine with it, unless it is ended before.
    assert row.reason in ("it is not needed any more", "user-data ended with 0")
    assert not list((settings.state / "machines").glob("vm-*"))


_KILLED = """
import asyncio, os, sys
from pathlib import Path
from distributed import Client
from springtide.clouds.qemu import QemuCloud, QemuSettings
from springtide.cluster import CloudPool
from tests.cluster.clusters import a_cluster, joined
from tests.support.machines import FLAVOURS

async def run():
    folder, state, image, images, network = sys.argv[1:]
    settings = QemuSettings(Path(state), image, Path(images), FLAVOURS, network, lifetime_s=900)
    pool = CloudPool("cloud", cloud=QemuCloud(settings), flavour="small", lifetime=900)
    cluster = await a_cluster(Path(folder), [pool], host="")
    cluster.scale(cloud=1)
    while not joined(cluster):
        await asyncio.sleep(0.1)
    os.kill(os.getpid(), 9)

asyncio.run(run())
"""


def test_machines_of_a_notebook_that_was_killed_end_and_are_swept(settings: QemuSettings, tmp_path: Path) -> None:
    values = [str(settings.state), settings.image, str(settings.images), settings.network]
    root = Path(__file__).parents[2]
    killed = [sys.executable, "-c", _KILLED, str(tmp_path), *values]
    assert subprocess.run(killed, cwd=root, timeout=_JOINS_WITHIN_S).returncode == -signal.SIGKILL
    lab = tmp_path / "lab.yaml"
    lab.write_text(
        "springtide: 1\nprofiles: [{name: x, site: here}]\nsites:\n  here: {kind: local, runtime: host}\n"
        f"  cloud: {{kind: qemu, directory: {settings.state.parent}, network: {settings.network}, lifetime: 15m,"
        " flavours: {small: {cores: 1, memory: 640M, price_per_hour: 0.25}}}\n"
    )
    where = ["--lab", str(lab), "--ledger", str(tmp_path / "ledger.sqlite")]
    (line,) = command(*where).splitlines()[1:]
    assert line.split("\t")[1:5] == ["cloud", "root", "small", "running"]
    assert command("sweep", *where) == ""
    # Its worker loses its scheduler, and the machine ends with it (see test_worker.py); it shall not take so long.
    (machine,) = (settings.state / "machines").glob("vm-*/pid")
    os.kill(int(machine.read_text(encoding="ascii")), signal.SIGKILL)
    wait_until(lambda: "; ended" in command("sweep", *where), 60, "it is swept")
    command("sweep", *where)
    assert command(*where).splitlines()[1:] == []
    (over,) = command("--all", *where).splitlines()[1:]
    assert over.split("\t")[4] == "destroyed"
    assert not list((settings.state / "machines").glob("vm-*"))


def command(*arguments: str) -> str:
    answer = CliRunner().invoke(machines, arguments, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.output


def workers(cluster: Any) -> list[tuple[str, Any]]:
    return list(cluster.scheduler_info["workers"].items())
