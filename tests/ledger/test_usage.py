"""What was asked for against what was used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from springtide.ledger.records import LOST, REFUSED
from springtide.ledger.usage import has_failed, totals, usage_of
from tests.ledger.make import job

HOUR = 3600
DONE = replace(
    job("a", state="finished", cause="exit", exit_status=0),
    cores=4,
    memory_bytes=8 * 2**30,
    walltime_s=2 * HOUR,
    used_cpu_s=2.0 * HOUR,
    used_memory_bytes=2 * 2**30,
    used_walltime_s=1.0 * HOUR,
    submitted=100.0,
    started=160.0,
)


def test_a_job_is_measured_by_what_it_asked_for() -> None:
    shares = usage_of(DONE).named
    assert {name: share.percent for name, share in shares.items()} == {"cpu": 25.0, "memory": 25.0, "walltime": 50.0}
    assert shares["cpu"].asked == 8 * HOUR


def test_a_job_may_use_more_than_it_asked_for() -> None:
    assert usage_of(replace(DONE, used_memory_bytes=16 * 2**30)).memory_bytes.percent == 200.0


def test_how_long_it_ran_may_be_told_by_the_clock() -> None:
    clocked = replace(DONE, used_walltime_s=None, started=1000.0, ended=1000.0 + HOUR)
    assert usage_of(clocked).walltime_s.percent == 50.0
    assert usage_of(replace(clocked, ended=900.0)).walltime_s.used == 0.0


def test_an_array_asks_for_all_its_jobs() -> None:
    assert usage_of(replace(DONE, array_size=10)).core_s.asked == 80 * HOUR


def test_what_nobody_said_has_no_share() -> None:
    usage = usage_of(job("a", memory_bytes=0, walltime_s=0, used_cpu_s=5.0, used_memory_bytes=5))
    assert [share.percent for share in usage.named.values()] == [None, None, None]
    assert usage_of(replace(DONE, used_cpu_s=None)).core_s.percent is None


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, False),
        ({"exit_status": 3}, True),
        ({"exit_status": 143, "cause": "cancelled"}, False),
        ({"exit_status": None, "cause": "walltime"}, True),
        ({"exit_status": None, "cause": ""}, False),
        ({"state": REFUSED, "exit_status": None, "cause": ""}, True),
        ({"state": LOST, "exit_status": None, "cause": ""}, True),
        ({"state": "running", "exit_status": None, "cause": "requeued"}, False),
    ],
)
def test_what_failed_is_told_from_what_was_wished(changes: dict[str, object], failed: bool) -> None:
    assert has_failed(replace(DONE, **changes)) is failed  # type: ignore[arg-type]


def test_a_users_jobs_are_counted_together() -> None:
    rows = [
        DONE,
        replace(DONE, token="b", used_cpu_s=6.0 * HOUR, submitted=None),
        replace(DONE, token="c", state="running", used_cpu_s=None, exit_status=None, started=400.0),
        replace(DONE, token="d", state=REFUSED, used_cpu_s=None, started=None),
        job("e", user="bob"),
    ]
    alice, bob = totals(rows)
    assert (alice.user, alice.jobs, alice.open, alice.failed) == ("alice", 4, 1, 1)
    assert (alice.asked_core_s, alice.used_core_s) == (24 * HOUR, 8 * HOUR)
    assert alice.usage.core_s.percent == 50.0
    assert alice.median_wait_s == 180.0
    assert (bob.jobs, bob.open, bob.usage.core_s.percent, bob.median_wait_s) == (1, 1, None, None)


def test_nobody_has_no_total() -> None:
    assert totals([]) == []
