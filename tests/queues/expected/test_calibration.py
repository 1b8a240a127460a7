"""How often the truth fell inside the interval."""

from __future__ import annotations

from typing import Any

from springtide.ledger.records import REFUSED, JobRecord
from springtide.queues.expected.estimate import Calibration, calibration

NOW = 10_000.0


def job(
    low: float | None = 100,
    high: float | None = 200,
    *,
    started: float | None = None,
    ended: float | None = None,
    state: str = "queued",
) -> JobRecord:
    times: dict[str, Any] = {"submitted": 0.0, "started": started, "ended": ended}
    return JobRecord("", "", "", "", "", "", state=state, expected_start_low=low, expected_start_high=high, **times)


def test_without_records_there_is_no_share() -> None:
    assert calibration([], now=NOW) == Calibration(n=0, inside=0, share=None, median_width_s=None)


def test_the_share_inside_is_counted() -> None:
    records = [job(started=100), job(started=200), job(50, 350, started=250), job(started=99), job(started=201)]
    assert calibration(records, now=NOW) == Calibration(n=5, inside=3, share=0.6, nominal=0.9, median_width_s=100)


def test_jobs_of_which_nothing_was_foreseen_do_not_count() -> None:
    assert calibration([job(None, None, started=150), job(None, started=150)], now=NOW).n == 0


def test_a_job_that_still_waits_counts_as_outside_once_its_interval_is_over() -> None:
    assert calibration([job()], now=199).n == 0
    assert calibration([job()], now=201) == Calibration(n=1, inside=0, share=0.0, median_width_s=100)


def test_a_job_cancelled_while_it_waited_counts_if_its_interval_was_over() -> None:
    assert calibration([job(ended=150, state="finished")], now=NOW).n == 0
    assert calibration([job(ended=250, state="finished")], now=NOW).n == 1


def test_a_job_that_never_was_does_not_count() -> None:
    assert calibration([job(state=REFUSED)], now=NOW).n == 0


def test_by_default_it_is_now() -> None:
    assert calibration([job()]).n == 1
