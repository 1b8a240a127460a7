"""What runs have taken of a quota, counted by either database; of several that want the last of it, one has it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from springtide.errors import QuotaExceeded
from springtide.ledger.charges import Spent
from springtide.ledger.records import LOST, REFUSED, ChargeRecord, RunRecord
from springtide.ledger.store import Ledger
from tests.ledger.make import job

HOUR = 3600.0
ALICE = "user alice"


def add(ledger: Ledger, token: str, *, ago_s: float = 0.0, holder: str = ALICE) -> None:
    """Write down a run of two jobs with two cores each, for an hour."""
    now = time.time() - ago_s
    run = RunRecord(token, token, "alice", "base/sum", "cluster", "/", "{}", recorded=now)
    ledger.add_run(run, charges=[ChargeRecord(token, holder, 2, 4, 4 * HOUR, now)])


def spent(ledger: Ledger) -> tuple[int, int, float]:
    found = ledger.spent({ALICE: time.time() - 10 * HOUR})[ALICE]
    return found.jobs, found.cores, round(found.core_s / HOUR, 6)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"state": "running"}, (2, 4, 4.0)),
        ({"state": "finished", "used_walltime_s": 900.0}, (0, 0, 1.0)),
        ({"state": "finished", "started": 1000.0, "ended": 2800.0}, (0, 0, 2.0)),
        ({"state": LOST, "started": 1000.0}, (0, 0, 4.0)),
        ({"state": "finished", "cause": "cancelled", "ended": 5.0}, (0, 0, 0.0)),
        ({"state": REFUSED}, (0, 0, 0.0)),
        ({"state": "finished", "walltime_s": 0}, (0, 0, 0.0)),
    ],
)
def test_what_is_open_counts_as_asked_and_what_is_over_as_used(
    ledger: Ledger, changes: Mapping[str, object], expected: tuple[int, int, float]
) -> None:
    add(ledger, "a")
    ledger.add_jobs([job("a", **{"walltime_s": 3600, "array_size": 2, **changes})])
    assert spent(ledger) == expected


def test_what_was_promised_counts_for_a_day(ledger: Ledger) -> None:
    add(ledger, "a")
    add(ledger, "b", ago_s=25 * HOUR)
    add(ledger, "c", holder="group lisa")
    assert spent(ledger) == (2, 4, 4.0)
    ledger.drop_charges("a")
    assert spent(ledger) == (0, 0, 0.0)


def test_core_hours_are_forgotten_and_open_jobs_are_not(ledger: Ledger) -> None:
    add(ledger, "a", ago_s=11 * HOUR)
    ledger.add_jobs([job("a", state="running", walltime_s=3600)])
    assert spent(ledger) == (2, 4, 0.0)


def test_of_many_that_want_the_last_place_one_has_it(place: str, ledger: Ledger) -> None:
    def check(found: Mapping[str, Spent]) -> None:
        if found[ALICE].jobs:
            raise QuotaExceeded("full")

    def submit(token: str) -> bool:
        run = RunRecord(token, token, "alice", "base/sum", "cluster", "/", "{}")
        charge = ChargeRecord(token, ALICE, 1, 1, HOUR, time.time())
        try:
            with Ledger.open(place) as mine:
                mine.add_run(run, charges=[charge], since={ALICE: 0.0}, check=check)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(submit, "abcdef")) == [False] * 5 + [True]
    assert len(ledger.runs()) == 1
