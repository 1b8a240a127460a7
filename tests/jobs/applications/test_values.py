"""What people give for parameters: read, converted, or refused with one clear message."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from springtide.errors import ParameterError
from springtide.jobs.applications.command import arguments
from springtide.jobs.applications.describe import json_schema, page
from springtide.jobs.applications.files import Home
from springtide.jobs.applications.load import Offer
from springtide.jobs.applications.models import Application
from springtide.jobs.applications.values import Values, read_values
from tests.jobs.applications.make import application


@pytest.fixture
def every_kind(tmp_path: Path) -> Application:
    return application(tmp_path / "apps")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "home").mkdir()
    return Home(tmp_path / "home")


def read(every_kind: Application, home: Home, sweep: dict[str, str] | None = None, **given: Any) -> Values:
    return read_values(every_kind, given, home, sweep)


def refusal(every_kind: Application, home: Home, sweep: dict[str, str] | None = None, **given: Any) -> ParameterError:
    with pytest.raises(ParameterError) as caught:
        read(every_kind, home, sweep, **given)
    assert len(str(caught.value)) < 400
    return caught.value


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("rate", "2.5", 2.5),
        ("rate", "3 mHz", 0.003),
        ("rate", 2, 2.0),
        ("time", "2 d", 172800.0),
        ("time", "0.5min", 30.0),
        ("time", "1e3", 1000.0),
        ("count", "7", 7),
        ("count", 7, 7),
        ("seed", "12", 12),
        ("method", "exact", "exact"),
        ("title", "été", "été"),
        ("notes", "a\nb", "a\nb"),
        ("verbose", "yes", True),
        ("strict", False, False),
    ],
)
def test_what_people_type_becomes_a_value(
    every_kind: Application, home: Home, name: str, given: Any, value: object
) -> None:
    (run,) = read(every_kind, home, **{name: given}).runs
    assert run[name] == value
    assert type(run[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("rate", "11", "“11” is too large. Allowed: a number from 0.001 to 10 Hz"),
        ("rate", "0", "“0” is too small"),
        (
            "rate",
            "3 kg",
            "“3 kg” is in “kg”, which is no unit for it. Allowed: a number from 0.001 to 10 Hz in Hz, mHz",
        ),
        ("rate", "nan", "is not a number"),
        ("rate", "1e999", "is not a number"),
        ("rate", True, "is not a number"),
        ("rate", float("inf"), "is not a number"),
        ("count", "2.5", "is not a whole number"),
        ("count", 101, "is too large"),
        ("count", "9" * 5000, "is not a whole number"),
        ("seed", -1, "is no seed"),
        ("seed", 2**63, "is no seed"),
        ("method", "best", "“best” is not one of the choices. Allowed: fast, exact"),
        ("title", "x" * 10_000_000, "has 10000000 characters. Allowed: one line of at most 50 characters"),
        ("title", "a\nb", "line break"),
        ("title", "\x1b[31m", "cannot be printed"),
        ("title", "--output=/etc/passwd", "begins with “-”"),
        ("title", 5, "is not text"),
        ("word", "ABC", "has not the form"),
        ("verbose", "maybe", "is neither true nor false"),
        ("config", "none.xml", "does not exist"),
        ("config", "/etc/passwd", "lies outside your home folder"),
        ("config", "~/../../../../../../etc/passwd", "lies outside your home folder"),
        ("config", "x\0y", "is not a path"),
        ("config", ".", "is no file"),
        ("unknown", 1, "This application has no such parameter. It has: rate, time"),
    ],
)
def test_a_bad_value_is_one_clear_message_at_its_parameter(
    every_kind: Application, home: Home, name: str, given: Any, words: str
) -> None:
    error = refusal(every_kind, home, **{name: given})
    assert error.field == name
    assert words in str(error)


def test_a_link_out_of_the_home_is_followed_and_refused(every_kind: Application, home: Home, tmp_path: Path) -> None:
    (tmp_path / "secret.xml").write_text("x")
    (home.folder / "link.xml").symlink_to(tmp_path / "secret.xml")
    assert "it leads to" in str(refusal(every_kind, home, config="link.xml"))
    (home.folder / "loop.xml").symlink_to("loop.xml")
    assert "cannot be read" in str(refusal(every_kind, home, config="loop.xml"))


def test_a_file_has_its_name_its_size_and_its_kind(every_kind: Application, home: Home) -> None:
    (home.folder / "large.xml").write_bytes(bytes(1001))
    (home.folder / "other.txt").write_text("x")
    os.mkfifo(home.folder / "pipe.xml")
    assert "has 1001B, more than 1000B" in str(refusal(every_kind, home, config="large.xml"))
    assert "Allowed: a file called *.xml in your home folder" in str(refusal(every_kind, home, config="other.txt"))
    assert "is no file" in str(refusal(every_kind, home, config="pipe.xml"))
    (home.folder / "right.xml").write_text("x")
    (run,) = read(every_kind, home, config="~/right.xml").runs
    assert run["config"] == str(home.folder / "right.xml")


def test_a_required_parameter_that_is_missing_is_named(tmp_path: Path, home: Home) -> None:
    text = "springtide: 1\nlabel: X\nparameters:\n  n: {kind: integer, min: 1, label: N}\ncommand: [echo, '{n}']\n"
    error = refusal(application(tmp_path / "one", text), home)
    assert str(error) == "n: It is missing. Give a whole number of at least 1."


def test_a_seed_that_nobody_gives_is_drawn_and_known(every_kind: Application, home: Home) -> None:
    first, second = (read(every_kind, home).runs[0]["seed"] for _ in range(2))
    assert isinstance(first, int)
    assert first != second


@pytest.mark.parametrize(
    ("name", "given", "values"),
    [
        ("seed", "1..4", [1, 2, 3, 4]),
        ("count", "1..10:3", [1, 4, 7, 10]),
        ("rate", "1..3:5", [1.0, 1.5, 2.0, 2.5, 3.0]),
        ("rate", "10 mHz, 1 Hz", [0.01, 1.0]),
        ("method", "fast,exact", ["fast", "exact"]),
    ],
)
def test_a_sweep_is_one_run_for_each_value(
    every_kind: Application, home: Home, name: str, given: str, values: list[object]
) -> None:
    found = read(every_kind, home, {name: given})
    assert ([run[name] for run in found.runs], found.swept) == (values, (name,))


def test_lists_in_python_sweep_and_several_sweeps_are_crossed(every_kind: Application, home: Home) -> None:
    found = read(every_kind, home, {"method": "fast,exact"}, seed=range(3))
    assert [(run["seed"], run["method"]) for run in found.runs][:3] == [(0, "fast"), (0, "exact"), (1, "fast")]
    assert (len(found.runs), found.swept) == (6, ("seed", "method"))


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("seed", "1..2000000000000", "At most 1000."),
        ("seed", "5..1", "is an empty range"),
        ("rate", "1..2", "does not say how many numbers"),
        ("rate", "1..99:3", "is too large"),
        ("method", "a..b", "these are no numbers"),
        ("word", "a,b", "It takes one value"),
        ("seed", "", "The list of values is empty"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(
    every_kind: Application, home: Home, name: str, given: str, words: str
) -> None:
    assert words in str(refusal(every_kind, home, {name: given}))


def test_two_large_sweeps_together_are_refused(every_kind: Application, home: Home) -> None:
    assert "The sweep has 10000 runs" in str(refusal(every_kind, home, {"seed": "1..100", "count": "1..100"}))


def test_no_shell_ever_reads_a_value(every_kind: Application, home: Home) -> None:
    evil = "$(touch /tmp/x); `id` && {rate} 'q' \"q\""
    (run,) = read(every_kind, home, title=evil, seed=1, verbose=True).runs
    found = arguments(every_kind, run, {})
    assert found == [
        *["echo", "--rate=1", "60", "3", "1", "fast", "--title", evil, "", "abc", "--verbose", "true", "{literal}"]
    ]


def test_parts_without_a_value_are_left_out(every_kind: Application, home: Home) -> None:
    (run,) = read(every_kind, home, seed=1).runs
    found = arguments(every_kind, run, {})
    assert not {"--title", "--config", "--verbose"} & set(found)


def test_a_place_may_become_several_arguments(tmp_path: Path) -> None:
    text = "springtide: 1\nlabel: X\ncommand: [merge, '{upstream.outputs}', 'in={upstream.outputs}']\n"
    found = arguments(application(tmp_path, text), {}, {"upstream.outputs": ["/a", "/b"]})
    assert found == ["merge", "/a", "/b", "in=/a:/b"]


def test_the_schema_and_the_page_say_the_limits(every_kind: Application, tmp_path: Path) -> None:
    schema = json_schema(every_kind)
    one, several = schema["properties"]["rate"]["anyOf"]
    assert one == {"type": "number", "minimum": 0.001, "maximum": 10.0}
    assert several["items"] == one
    offer = Offer("every-kind", "lisa", every_kind, tmp_path)
    for language in ("en", "fr"):
        text = page(offer, language)
        assert all(f"`{name}`" in text for name in every_kind.parameters)
    assert "a number from 0.001 to 10 Hz" in page(offer)
