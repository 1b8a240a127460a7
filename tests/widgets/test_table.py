"""The table of jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from springtide.jobs import loop
from springtide.widgets.table import PAGE, JobsTable
from tests.jobs.labs import JobsLab
from tests.support.waiting import wait_until


@pytest.fixture
def table(lab: JobsLab) -> Iterator[JobsTable]:
    table = JobsTable(lab.desk)
    yield table
    table.close()
    wait_until(lambda: table._follower.closed, 5, "nothing follows jobs any more")


def test_a_job_is_followed_to_its_figure(lab: JobsLab, table: JobsTable) -> None:
    run = loop.call(lab.submit())
    wait_until(lambda: run.token in table.looks and table.looks[run.token].view.over, 20, "the job is over")
    assert "<progress" in table._table.value
    table._plot.click()
    wait_until(lambda: "data:image/png" in table._detail.value, 20, "the figure is there")
    table._log.click()
    wait_until(lambda: "adding 1 2" in table._detail.value, 5, "the log is there")


def test_what_goes_wrong_is_said_in_the_widget(lab: JobsLab, table: JobsTable) -> None:
    run = loop.call(lab.submit("merge"))
    wait_until(lambda: table._chosen.value == run.token, 20, "the job is shown")
    table._plot.click()
    wait_until(lambda: "has no figure" in table._message.value, 5, "the error is shown")


def test_two_thousand_jobs_are_shown_a_page_at_a_time(lab: JobsLab, table: JobsTable) -> None:
    run = loop.call(lab.submit())
    wait_until(lambda: run.token in table.looks and table.looks[run.token].view.over, 20, "the job is over")
    look = table.looks[run.token]
    many = [replace(look, run=replace(look.run, token=f"t{number}", recorded=number)) for number in range(2000)]
    begin = time.perf_counter()
    table.update(many)
    assert time.perf_counter() - begin < 0.2
    assert table._table.value.count("<tr>") == PAGE + 1
    table._later.click()
    assert table.page == 1
