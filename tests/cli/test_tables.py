"""Tables for people: whatever the width of the terminal, nothing in them is half a number or half an id."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from springtide.cli.tables import JOB_COLUMNS, NODE_COLUMNS, jobs_table, table
from springtide.queues.model import JobInfo, JobState, Node
from springtide.queues.views import view_of_job
from springtide.texts import translator

SERVER = "pbs-head.cluster.example.org"
WAITS = JobInfo(f"1234567.{SERVER}", JobState.QUEUED, name="analysis-of-" + "x" * 60, owner="someone-long", cores=128)
LONG = replace(view_of_job(WAITS, "site"), queue="longqueue", expected_start=time.time() + 5000, explanation="a " * 99)
NODE = Node("a-node-with-a-long-name-0001.example.org", True, "job-exclusive,resv-exclusive", 128, 3, 2**40, 2**38)


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("language", ["en", "fr"])
def test_whatever_the_width_numbers_and_ids_are_whole(width: int, language: str) -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=width)
    columns = tuple(column for column in JOB_COLUMNS if column.key != "site")
    console.print(jobs_table(columns, [LONG], translator(language)), table(NODE_COLUMNS, [NODE], translator(language)))
    assert max(map(len, shown.getvalue().splitlines())) <= width
    words = shown.getvalue().split()
    assert {"1234567", "128", "3/128", "256G/1T"} <= set(words)
    assert "".join(word for word in words if set(word) == {"x"} or word.endswith("xx")).count("x") == 60
