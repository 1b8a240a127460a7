"""When cron expressions are due, daylight saving included."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from springtide.errors import ParameterError
from springtide.jobs.cron import due_after, due_within, local_zone, read_cron, read_zone

PARIS = ZoneInfo("Europe/Paris")


def at(text: str, zone: ZoneInfo = PARIS) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def month(cron: str, first: str, last: str) -> list[float]:
    start = due_after(cron, "Europe/Paris", at(first))
    assert start
    return due_within(cron, "Europe/Paris", start, at(last), 100_000)


def test_a_nightly_job_comes_once_a_night_in_the_month_the_clocks_go_back() -> None:
    # The night of the 25th has two half past two: the first one counts.
    expected = [at(f"2026-10-{day:02} 02:30") for day in range(1, 32)]
    assert month("30 2 * * *", "2026-09-30 12:00", "2026-10-31 12:00") == expected
    assert expected[25] - expected[24] == 25 * 3600


def test_a_nightly_job_comes_once_a_night_in_the_month_the_clocks_go_forward() -> None:
    # The night of the 28th has no half past two: it comes as soon as the clocks have gone forward.
    expected = [at(f"2027-03-{day:02} 02:30") for day in range(1, 32)]
    expected[27] = at("2027-03-28 03:00")
    assert month("30 2 * * *", "2027-02-28 12:00", "2027-03-31 12:00") == expected


@pytest.mark.parametrize(("first", "last"), [("2026-10-01", "2026-11-01"), ("2027-03-01", "2027-04-01")])
def test_what_comes_every_quarter_of_an_hour_never_pauses_and_never_comes_twice(first: str, last: str) -> None:
    found = month("*/15 * * * *", first, last)
    assert {after - before for before, after in itertools.pairwise(found)} == {900.0}


def test_only_the_last_times_are_kept_of_a_long_pause() -> None:
    first, until = at("2026-01-01 00:00"), at("2026-12-01 00:00")
    assert due_within("0 * * * *", "UTC", first, until, 3) == [until - 7200, until - 3600, until]


def test_names_stand_for_expressions() -> None:
    assert (read_cron("@daily"), read_cron(" 0  3 * *  mon-fri ")) == ("0 0 * * *", "0 3 * * mon-fri")


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 0 30 2 *", "day of month"),
        ("0 0 31 4,6 *", "day of month"),
        ("61 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * * * funday", "day of week"),
        ("*/0 * * * *", "minute"),
        ("* * * *", "4 fields"),
        ("* * * * * *", "6 fields"),
        ("", "0 fields"),
        ("@reboot", "1 fields"),
        ("1" * 5000, "too long"),
        ("\0 * * * *", "minute"),
    ],
)
def test_impossible_expressions_are_refused_with_what_is_wrong(cron: str, words: str) -> None:
    with pytest.raises(ParameterError) as refused:
        read_cron(cron)
    assert refused.value.field == "cron"
    assert words in refused.value.message
    assert len(refused.value.message) < 200
    assert "Five fields" in refused.value.hint


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "../../etc/passwd", "/etc/passwd", "Europe", "x" * 5000, "a\0b"])
def test_zones_that_are_none_are_refused(zone: str) -> None:
    with pytest.raises(ParameterError) as refused:
        read_zone(zone)
    assert refused.value.field == "zone"


def test_this_machines_zone_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert (local_zone(), read_zone("")) == ("Asia/Tokyo", "Asia/Tokyo")
    monkeypatch.setenv("TZ", "no such zone")
    assert read_zone(local_zone()) == local_zone()


def test_what_never_comes_again_has_no_next_time() -> None:
    now = datetime.now(PARIS)
    found = due_after("0 0 29 2 *", "Europe/Paris", now.timestamp())
    assert found
    assert datetime.fromtimestamp(found, PARIS) - now < timedelta(days=8 * 366)
