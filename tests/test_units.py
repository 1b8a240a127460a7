"""Quantities as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.units import describe_duration, format_memory, format_walltime, parse_memory, parse_walltime


@pytest.mark.parametrize(
    ("text", "memory_bytes"),
    [("512M", 2**29), ("2G", 2**31), ("1.5 GiB", 3 * 2**29), ("1t", 2**40), ("4096", 4096), ("1kb", 1024), (77, 77)],
)
def test_memory_is_read(text: str | int, memory_bytes: int) -> None:
    assert parse_memory(text) == memory_bytes


@pytest.mark.parametrize("text", ["", "G", "-1G", "0", "1P", "1 G G", "2,5G", "1e3", "nan", True, "none"])
def test_what_is_no_memory_is_refused(text: str | int) -> None:
    with pytest.raises(ValueError, match="a number with a unit"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h 30min", 5400),
        ("1d", 86400),
        ("01:30:00", 5400),
        ("2-00:00:10", 172810),
        ("45s", 45),
        (60, 60),
        ("60", 60),
    ],
)
def test_walltimes_are_read(text: str | int, seconds: int) -> None:
    assert parse_walltime(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1h", "0", "0h", "1:30", "two hours", "1.5h", "1h30", "1w", False])
def test_what_is_no_walltime_is_refused(text: str | int) -> None:
    with pytest.raises(ValueError, match="a duration"):
        parse_walltime(text)


@given(st.integers(2**20, 2**50))
def test_memory_is_shown_to_four_digits(memory_bytes: int) -> None:
    assert parse_memory(format_memory(memory_bytes)) == pytest.approx(memory_bytes, rel=6e-4)


@given(st.integers(1, 1023), st.sampled_from("KMGT"))
def test_round_memory_is_shown_as_it_was_written(number: int, unit: str) -> None:
    assert format_memory(parse_memory(f"{number}{unit}")) == f"{number}{unit}"


@given(st.integers(1, 3_599_999))
def test_walltimes_survive_being_shown(seconds: int) -> None:
    assert parse_walltime(format_walltime(seconds)) == seconds


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_walltimes_may_be_written_in_parts(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert parse_walltime(f"{days}d{hours}h {minutes}m {seconds}s") == total
    assert parse_walltime(f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == total


@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    for parse in (parse_memory, parse_walltime):
        try:
            quantity = parse(text)
        except ValueError:
            continue
        assert quantity > 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (45, "45 s"), (5400, "1 h 30 min"), (7200, "2 h"), (90061, "1 d 1 h"), (59.7, "1 min")],
)
def test_durations_are_said_in_two_parts_at_most(seconds: float, said: str) -> None:
    assert describe_duration(seconds) == said
