"""Traces as they are found, and as they should not be."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from springtide.cluster.simulate.swf import parse_trace, read_trace
from springtide.errors import TraceError
from tests.cluster.simulate.traces import HPC2N, job, line, trace

LINES = ["; MaxProcs: 8", line(1, 100, 60, 2, 120), line(2, 160, 30, 4, 120)]


def test_a_real_trace_is_read() -> None:
    found = read_trace(HPC2N)
    assert (len(found.jobs), found.cores, found.skipped) == (3145, 240, 25)
    assert 0.3 < found.load < 0.5


def test_time_begins_with_the_first_job() -> None:
    assert [job.submitted for job in parse_trace(LINES, "t").jobs] == [0, 60]


def test_a_trace_packed_with_gzip_is_the_same(tmp_path: Path) -> None:
    packed = tmp_path / "t.swf.gz"
    packed.write_bytes(gzip.compress("\n".join(LINES).encode()))
    assert read_trace(packed).jobs == parse_trace(LINES, "t").jobs


def test_a_packed_trace_that_is_cut_off_says_so(tmp_path: Path) -> None:
    packed = tmp_path / "t.swf.gz"
    packed.write_bytes(gzip.compress("\n".join(LINES).encode())[:-12])
    with pytest.raises(TraceError, match="damaged or cut off"):
        read_trace(packed)


def test_jobs_that_never_ran_or_do_not_fit_are_skipped_and_counted() -> None:
    found = parse_trace([*LINES, line(3, 200, -1, 2, 60), line(4, 200, 60, 9, 60)], "t")
    assert (len(found.jobs), found.skipped) == (2, 2)


def test_without_a_header_the_largest_job_is_the_cluster() -> None:
    assert parse_trace(LINES[1:], "t").cores == 4


def test_a_run_beyond_its_request_has_had_its_limit_extended() -> None:
    assert parse_trace([line(1, 0, 100, 1, 60)], "t").jobs[0].requested_s == 100


def test_jobs_out_of_order_are_sorted() -> None:
    assert [job.number for job in parse_trace(reversed(LINES), "t").jobs] == [1, 2]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("1 2 3", r"t:4: 3 fields where .* has 18"),
        (line(3, 0, 1, 1, 1).replace("-1", "x", 1), "t:4: “x” is not a number"),
        (line(3, float("nan"), 1, 1, 1), "t:4: .* finite"),
        (line(3, -5, 1, 1, 1), "t:4: .* not submitted before 0"),
    ],
)
def test_a_line_that_is_no_job_is_named(wrong: str, said: str) -> None:
    with pytest.raises(TraceError, match=said):
        parse_trace([*LINES, wrong], "t")


@pytest.mark.parametrize("lines", [[], ["; MaxProcs: 8"], ["", "  "]])
def test_a_trace_without_jobs_is_refused(lines: list[str]) -> None:
    with pytest.raises(TraceError, match="no job that ran"):
        parse_trace(lines, "t")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        read_trace(tmp_path / "none.swf")


def test_a_scaled_trace_is_submitted_faster() -> None:
    twice = trace(job(1, 0, 10), job(2, 100, 10)).scaled(2)
    assert twice.jobs[1].submitted == 50
    assert twice.load == pytest.approx(2 * trace(job(1, 0, 10), job(2, 100, 10)).load)
