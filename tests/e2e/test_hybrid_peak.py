"""A peak of work while the batch queue is blocked: machines come, all is done once and right, and everything goes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client, get_worker

from springtide.clouds.qemu import QemuCloud, QemuSettings
from springtide.cluster import BatchPool, CloudPool, PolicySettings
from springtide.lab.models import BatchSite
from springtide.ledger.store import Ledger
from tests.cluster.clusters import SMALL, a_cluster, joined, until
from tests.support.accounts import TwoUsers
from tests.support.docker_engine import DockerEngine
from tests.support.leaks import LeakCheck
from tests.support.machines import machine_settings, own_network
from tests.support.slurm import Slurm

pytestmark = pytest.mark.timeout(900)

_TASKS = 200
_BUDGET = 1.0
# Without the processor's own virtualisation, a machine boots for minutes.
_JOINS_WITHIN_S = 280.0
_SETTINGS = PolicySettings(
    target_s=10, margin_s=1, least_quanta=0, idle_s=2, before_quantum_s=60, patience_s=2, lifetime_s=900
)


@pytest.fixture(scope="module")
def settings(docker_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QemuSettings]:
    state = tmp_path_factory.mktemp("peak") / "cloud"
    state.mkdir(mode=0o700)
    with own_network(replace(machine_settings(state), lifetime_s=900)) as own:
        yield own


@pytest.fixture
def queue(slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    yield slurm
    slurm.cancel_all()


async def test_a_blocked_queue_costs_no_result_and_leaves_no_machine(
    nothing_left: LeakCheck, queue: Slurm, two_users: TwoUsers, settings: QemuSettings, tmp_path: Path
) -> None:
    hog = queue.run(
        ["sbatch", "--parsable", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 3600"], two_users.bob
    ).stdout.strip()
    queue.wait_for(hog, "RUNNING")
    (tmp_path / "commands").mkdir()
    batch = BatchSite(kind="batch", commands=queue.pbs_commands(tmp_path / "commands"))
    pools = [
        BatchPool("batch", SMALL, site=batch, walltime=1800, maximum=2),
        CloudPool("cloud", cloud=QemuCloud(settings), flavour="small", lifetime=900, maximum=2, boot_s=5),
    ]
    async with (
        a_cluster(tmp_path, pools, host="", budget=_BUDGET) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):

        def observe(number: int) -> tuple[int, int, str]:
            # Defined here, as a machine has no module of these tests.
            worker = get_worker()
            worker.log_event("ran", number)
            time.sleep(0.25)
            return number, number * number, str(worker.name)

        futures = client.map(observe, range(_TASKS))
        cluster.adapt(target_duration="10s", hint="250ms", settings=_SETTINGS)
        await until(
            lambda: {name.split("-")[0] for name in joined(cluster)} == {"cloud"}, cluster.explain, _JOINS_WITHIN_S
        )
        assert "spent in the queue already" in cluster.explain() or "no queue takes" in cluster.explain()
        assert [job.id for job in queue.jobs() if job.state == "RUNNING"] == [hog]
        # The other's job ends: what was asked of the queue comes after all.
        queue.run(["scancel", hog], two_users.bob)
        results = await client.gather(futures)
        assert [(number, square) for number, square, _ in results] == [(one, one * one) for one in range(_TASKS)]
        ran = Counter(number for _, number in await client.get_events("ran"))
        assert ran == dict.fromkeys(range(_TASKS), 1)
        assert any(name.startswith("cloud") for _, _, name in results)
        del futures, results
        # The peak has passed, and the cluster is still open.
        await until(lambda: not cluster.ledger.machines(open_only=True), cluster.explain, 240)
        await until(lambda: not joined(cluster), cluster.explain, 120)
        assert 0 < cluster.cost <= cluster.book.committed <= _BUDGET
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert {row.state for row in ledger.machines()} == {"destroyed"}
        assert all(row.over for row in ledger.jobs())
    assert not list((settings.state / "machines").glob("vm-*"))
    assert queue.jobs() == []
