"""A job as interfaces show it: what the scheduler and the ledger know, in one form."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from springtide.ledger.records import LOST, REFUSED, SUBMITTING, JobRecord
from springtide.queues.model import Cause, JobInfo, JobState
from springtide.queues.views import STATES, info_of_record, merged, view_of_job, view_of_record

ROW = JobRecord("abc", "cluster", "marie", "marie", "étude", "etude-abc", job_id="12", state="queued", recorded=100.0)


def test_the_states_are_those_promised() -> None:
    assert STATES == ("queued", "held", "waiting", "running", "suspended", "ending", "finished", "unknown")


@pytest.mark.parametrize(
    ("state", "shown", "cause"),
    [
        ("queued", "queued", ""),
        (SUBMITTING, "unknown", ""),
        (REFUSED, "finished", "refused"),
        (LOST, "finished", "lost"),
    ],
)
def test_a_row_of_the_ledger_is_shown_with_one_of_them(state: str, shown: str, cause: str) -> None:
    view = view_of_record(JobRecord(**{**vars(ROW), "state": state}))
    assert (view.state, view.cause, view.over) == (shown, cause, shown == "finished")


def test_the_schedulers_word_counts_and_the_ledger_fills_in() -> None:
    job = JobInfo(
        "12", JobState.FINISHED, name="etude-abc", owner="marie", exit_status=0, cause=Cause.EXIT, ended=130.0
    )
    view = merged(JobRecord(**{**vars(ROW), "started": 110.0, "exit_status": 7}), job)
    assert (view.name, view.state, view.exit_status, view.started, view.ended) == ("étude", "finished", 0, 110.0, 130.0)


def test_a_waiting_job_has_an_expected_start_and_a_running_one_has_none() -> None:
    row = JobRecord(**{**vars(ROW), "expected_start": 200.0})
    waits, runs = JobInfo("12", JobState.QUEUED), JobInfo("12", JobState.RUNNING)
    assert view_of_record(row).as_json()["expected_start"] == "1970-01-01T00:03:20Z"
    assert merged(row, waits).expected_start == 200.0
    assert merged(row, replace(waits, expected_start=300.0)).expected_start == 300.0
    assert merged(row, runs).expected_start is None


def test_json_has_iso_times_and_null_for_what_is_not_known() -> None:
    told = json.loads(json.dumps(view_of_record(ROW).as_json()))
    assert told["submitted"] == "1970-01-01T00:01:40Z"
    assert [told[key] for key in ("exit_status", "cause", "reason", "advice", "started", "ended")] == [None] * 6


def test_a_job_of_somebody_else_has_no_token() -> None:
    assert view_of_job(JobInfo("7", JobState.RUNNING, owner="paul"), "cluster").as_json()["token"] is None


def test_a_row_can_be_explained_like_a_job() -> None:
    row = JobRecord(**{**vars(ROW), "state": "finished", "cause": "walltime", "cores": 4})
    info = info_of_record(row)
    assert info
    assert (info.state, info.cause, info.cores) == (JobState.FINISHED, Cause.WALLTIME, 4)
    assert info_of_record(JobRecord(**{**vars(ROW), "state": SUBMITTING})) is None
