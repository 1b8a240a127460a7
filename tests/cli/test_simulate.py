"""``springtide simulate``: table, JSON, plot, and what is said of wrong input."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from springtide.cli.simulate import simulate
from springtide.cluster.simulate.rules import DEFAULT_RULES
from springtide.errors import TraceError
from tests.cluster.simulate.traces import HPC2N, line
from tests.support.hub import SPRINGTIDE


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a trace of the real one's first lines."""
    file = tmp_path_factory.mktemp("traces") / "short.swf"
    file.write_text("".join(HPC2N.read_text().splitlines(keepends=True)[:100]))
    return str(file)


def said(*words: str) -> Result:
    return CliRunner().invoke(simulate, words, catch_exceptions=False)


def test_the_table_has_a_line_for_each_policy(short: str) -> None:
    printed = said(short, "--load", "3").stdout
    assert all(any(row.startswith(name) for row in printed.splitlines()) for name in DEFAULT_RULES)
    assert "load" in printed


def test_json_holds_trace_policies_and_bound(short: str) -> None:
    found = json.loads(said(short, "--json", "--policy", "springtide", "--policy", "waited:1h").stdout)
    assert [policy["name"] for policy in found["policies"]] == ["springtide", "waited:1h"]
    assert {"bounded_slowdown_mean", "wait_p50_s", "wait_p95_s", "cost", "vm_idle_fraction"} <= set(
        found["policies"][0]
    )
    assert found["trace"]["cores"] == 240
    assert all(found["bound"]["bounded_slowdown_mean"] <= p["bounded_slowdown_mean"] for p in found["policies"])


@pytest.mark.parametrize("more", [(), ("--price", "0"), ("--data", "0"), ("--budget", "0")])
def test_a_single_job_has_figures_that_any_json_reader_takes(tmp_path: Path, more: tuple[str, ...]) -> None:
    one = tmp_path / "one.swf"
    one.write_text("; MaxProcs: 4\n" + line(1, 0, 3600, 4, 7200))
    found = json.loads(said(str(one), "--json", *more).stdout, parse_constant=pytest.fail)
    assert (found["trace"]["jobs"], found["trace"]["load"]) == (1, None)
    assert all(policy["bounded_slowdown_mean"] >= 1 for policy in found["policies"])


@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_plot_is_a_picture(short: str, tmp_path: Path, ending: str, begins: bytes) -> None:
    picture = tmp_path / f"pareto.{ending}"
    said(short, "--policy", "springtide", "--policy", "batch-only", "--plot", str(picture))
    assert picture.read_bytes().startswith(begins)


def test_a_higher_price_and_a_budget_count(short: str) -> None:
    usual, dear, capped = (
        json.loads(said(short, "--json", "--load", "4", "--policy", "cloud-only", *more).stdout)["policies"][0]["cost"]
        for more in ((), ("--price", "0.08"), ("--budget", "10"))
    )
    assert dear == pytest.approx(2 * usual)
    assert capped <= 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--policy", "best"), "no policy “best”"),
        (("--plot", "x.doc"), "cannot be written as “x.doc”"),
        (("--plot", "/nowhere/x.png"), "no folder /nowhere"),
    ],
)
def test_a_wrong_wish_is_refused_before_anything_is_computed(short: str, words: tuple[str, str], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        said(short, *words)


@pytest.mark.parametrize(
    "words", [("--load", "0"), ("--load", "nan"), ("--price", "-1"), ("--boot", "soon"), ("--bandwidth", "0")]
)
def test_a_number_that_makes_no_sense_is_refused(short: str, words: tuple[str, str]) -> None:
    result = said(short, *words)
    assert result.exit_code == 2
    assert words[0] in result.stderr


def test_the_command_ends_with_one_sentence_on_a_wrong_trace(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.swf"
    wrong.write_text("; a trace\n1 2 3\n")
    ended = subprocess.run([SPRINGTIDE, "simulate", wrong], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("wrong.swf:2: 3 fields")
    assert "Traceback" not in ended.stderr
