"""The benchmarks' figures reach BENCHMARKS.md, each at its place."""

from pathlib import Path

import pytest

from tests.benches.report import BENCHMARKS, Table, ratio, replaced, spread

BENCHES = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
DOCUMENT = "# Title\n<!-- begin one -->\nold\n<!-- end one -->\n<!-- begin two -->\nkept\n<!-- end two -->\n"


def test_a_section_is_replaced_and_the_rest_kept() -> None:
    new = replaced(DOCUMENT, "one", r"new \1")
    assert new == DOCUMENT.replace("old", r"new \1")
    assert replaced(new, "one", "old") == DOCUMENT


def test_a_missing_section_is_an_error() -> None:
    with pytest.raises(ValueError, match="begin three"):
        replaced(DOCUMENT, "three", "")


@pytest.mark.parametrize("name", BENCHES)
def test_every_benchmark_has_a_section_with_figures(name: str) -> None:
    text = BENCHMARKS.read_text(encoding="utf-8")
    assert replaced(text, name, "").count("\n") < text.count("\n")


def test_samples_are_shown_as_median_and_spread() -> None:
    assert spread([3, 1, 2]) == "2.00 (1.00–3.00)"


def test_a_ratio_compares_neighbours() -> None:
    assert ratio([1, 10, 3], [2, 10, 2]) == "1.00 (0.50–1.50)"


def test_a_table_aligns_its_numbers() -> None:
    assert str(Table(("what", "s"), [("start", "1")])) == "| what | s |\n| --- | ---: |\n| start | 1 |"
