"""What a pool of machines makes of clouds and ledgers that fail; its real machines are in tests/clouds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from springtide.cluster import CloudPool, HybridCluster
from springtide.cluster import book as book_module
from springtide.errors import LedgerError
from tests.clouds.unreal import UnrealCloud
from tests.cluster.clusters import a_cluster, until


@pytest.fixture(autouse=True)
def tried_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "_FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr("springtide.clouds.machines._SECOND_LOOK_S", 0.0)
    monkeypatch.setattr(CloudPool, "look_every_s", 0.2)


@pytest.fixture
def cloud() -> UnrealCloud:
    return UnrealCloud()


@pytest.fixture
async def cluster(tmp_path: Path, cloud: UnrealCloud) -> AsyncIterator[HybridCluster]:
    async with a_cluster(tmp_path, [CloudPool("cloud", cloud=cloud, maximum=2)], budget=100.0) as one:
        yield one
    assert cloud.there == {}


async def test_a_lost_answer_makes_no_second_machine(cluster: HybridCluster, cloud: UnrealCloud) -> None:
    cloud.answer_is_lost = True
    cluster.scale(cloud=1)
    await until(lambda: "connection was lost" in cluster.explain(), "it is said")
    cloud.answer_is_lost = False
    await until(lambda: [row.state for row in cluster.ledger.machines()] == ["running"], "it is known to run")
    assert cloud.made == 1


async def test_a_ledger_that_fails_when_the_machine_is_made_makes_no_second_one(
    cluster: HybridCluster, cloud: UnrealCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, failures = cluster.ledger.update_machine, iter([LedgerError("The disk is full.")] * 2)

    def fails_twice(token: str, **changes: Any) -> None:
        for error in failures:
            raise error
        update(token, **changes)

    monkeypatch.setattr(cluster.ledger, "update_machine", fails_twice)
    cluster.scale(cloud=1)
    await until(lambda: [row.state for row in cluster.ledger.machines()] == ["running"], "it is known to run")
    assert cloud.made == 1


async def test_a_ledger_that_cannot_be_written_makes_none(
    cluster: HybridCluster, cloud: UnrealCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise LedgerError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(cluster.ledger, "add_machine", fails)
        cluster.scale(cloud=1)
        await until(lambda: "The disk is full" in cluster.explain(), "it is said")
        assert cloud.made == 0
    await until(lambda: len(cloud.there) == 1, "the machine is made")


async def test_a_cloud_that_refuses_is_asked_again_later(cluster: HybridCluster, cloud: UnrealCloud) -> None:
    cloud.refuses = "Quota exceeded for cores."
    cluster.scale(cloud=2)
    await until(lambda: "Quota exceeded for cores." in cluster.explain(), "it is said in the cloud's words")
    cloud.refuses = ""
    await until(lambda: len(cloud.there) == 2, "both are made")


async def test_machines_that_are_gone_are_replaced_and_a_silent_cloud_is_waited_for(
    cluster: HybridCluster, cloud: UnrealCloud
) -> None:
    cluster.scale(cloud=1)
    await until(lambda: cloud.there, "the machine is made")
    cloud.down = True
    await until(lambda: cluster.book.pools["cloud"].outage == "No answer.", "it is noticed")
    cloud.there.clear()
    cloud.down = False
    await until(lambda: cloud.there, "another is made")
    assert cloud.made == 2
