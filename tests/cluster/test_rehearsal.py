"""Processes that stand in for paid machines: they boot, cost and end as machines would."""

from __future__ import annotations

import time
from pathlib import Path

from springtide.cluster import RehearsalPool
from springtide.cluster.observation import PoolKind
from tests.cluster.clusters import SMALL, a_cluster, joined, joined_are, until


def machines(**settings: float) -> RehearsalPool:
    return RehearsalPool("cloud", SMALL, **{"boot_s": 1.0, "quantum": 30, **settings})  # type: ignore[arg-type]


async def test_a_rehearsed_machine_boots_costs_whole_steps_and_stays_within_the_budget(tmp_path: Path) -> None:
    """Two would cost 2 × 900 s × 3.6/h = 1.8 at most: the budget is for one."""
    async with a_cluster(tmp_path, [machines(price_per_hour=3.6)], budget=1.0) as cluster:
        began = time.monotonic()
        cluster.scale(cloud=2)
        await joined_are(cluster, "cloud-0")
        assert time.monotonic() - began >= 1.0
        assert 0.03 <= cluster.cost <= 0.12
        assert cluster.book.count()["cloud"][1] == 1
        assert cluster.pools["cloud"].kind is PoolKind.CLOUD


async def test_a_rehearsed_machine_ends_with_its_lifetime_though_nobody_ends_it(tmp_path: Path) -> None:
    async with a_cluster(tmp_path, [machines(lifetime=10)]) as cluster:
        cluster.scale(cloud=1)
        await joined_are(cluster, "cloud-0")
        await until(lambda: "cloud-0" not in joined(cluster), "the cluster notices")
