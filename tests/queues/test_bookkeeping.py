"""Rows from what schedulers say: names that hold their token, ends and their causes, arrays as one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.ledger.records import JobRecord
from springtide.queues.bookkeeping import changes_of, event_of, name_limit, new_token, scheduler_name_of, whole_of
from springtide.queues.model import Cause, JobInfo, JobState, Used

ROW = JobRecord("abcdefgh", "cluster", "carol", "carol", "work", "work-abcdefgh", job_id="7", state="running", runs=1)


def job(state: JobState, **more: object) -> JobInfo:
    return replace(JobInfo("7", state), **more)  # type: ignore[arg-type]  # its fields, as keywords


@given(st.text(max_size=300), st.sampled_from(["torque", "pbspro", "slurm", "slurm-pbs", "local"]))
def test_a_name_always_holds_its_whole_token_and_nothing_a_scheduler_refuses(name: str, dialect: str) -> None:
    token = new_token()
    shown = scheduler_name_of(name, token, name_limit(dialect))
    assert shown.endswith(f"-{token}")
    assert len(shown) <= name_limit(dialect)
    assert shown[0].isalpha()
    assert set(shown) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def test_a_token_is_never_taken_for_an_id() -> None:
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(token[0].isalpha() and token.isalnum() and token.islower() for token in tokens)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("LISACode", "LISACode-abcdefgh"), ("Étude d'onde", "Etude_d_onde-abcdefgh"), ("7x", "job7x-abcdefgh")],
)
def test_a_name_stays_readable(name: str, shown: str) -> None:
    assert scheduler_name_of(name, "abcdefgh", 200) == shown


def test_nothing_is_changed_where_nothing_is_new() -> None:
    assert changes_of(ROW, job(JobState.RUNNING, runs=1), now=9.0) == {}


def test_an_end_is_written_with_all_that_is_known_of_it() -> None:
    end = job(JobState.FINISHED, cause=Cause.EXIT, exit_status=3, ended=5.0, started=2.0, used=Used(1.5, 100, 3.0))
    changes = changes_of(ROW, end, now=9.0)
    assert changes == {
        "state": "finished",
        "cause": "exit",
        "exit_status": 3,
        "ended": 5.0,
        "started": 2.0,
        "used_cpu_s": 1.5,
        "used_memory_bytes": 100,
        "used_walltime_s": 3.0,
    }
    assert event_of(ROW, changes) == ("state", "running -> finished: exit, exit status 3")


@pytest.mark.parametrize(
    ("said", "wish", "cause", "by"),
    [
        (Cause.CANCELLED, "alice", "cancelled", "alice"),
        (Cause.SIGNAL, "alice", "cancelled", "alice"),
        (None, "alice", "cancelled", "alice"),
        (Cause.EXIT, "alice", "exit", ""),
        (Cause.WALLTIME, "alice", "walltime", ""),
        (Cause.CANCELLED, "", "cancelled", "root"),
        (Cause.SIGNAL, "", "signal", ""),
    ],
)
def test_who_cancelled_is_known_where_it_was_done_through_us(
    said: Cause | None, wish: str, cause: str, by: str
) -> None:
    row = replace(ROW, cancelled_by=wish)
    end = job(JobState.FINISHED, cause=said, cancelled_by="root" if said is Cause.CANCELLED else "")
    after = replace(row, **changes_of(row, end, now=9.0))
    assert (after.cause, after.cancelled_by, after.ended) == (cause, by, 9.0)


def test_a_job_that_waits_again_was_requeued() -> None:
    changes = changes_of(replace(ROW, started=2.0), job(JobState.QUEUED, runs=2), now=9.0)
    assert (changes["state"], changes["cause"], changes["runs"]) == ("queued", "requeued", 2)
    assert event_of(ROW, changes) == ("requeued", "running -> queued")


def test_words_no_database_takes_are_not_written() -> None:
    changes = changes_of(ROW, job(JobState.RUNNING, runs=1, reason="a\0b\ud800\n" + 9999 * "x"), now=9.0)
    assert changes["reason"].startswith("a�b�\nx")
    assert len(changes["reason"]) == 2000


def test_an_array_is_over_when_all_its_jobs_are_and_fails_with_the_first_that_failed() -> None:
    ends = [0, 7, 0, 9]
    parts = {
        f"7_{index}": replace(
            job(JobState.FINISHED, exit_status=status, cause=Cause.EXIT, array="7", started=1.0 + index, ended=9.0),
            id=f"7_{index}",
        )
        for index, status in enumerate(ends)
    }
    whole = whole_of("7", parts)
    assert whole
    assert (whole.id, whole.state, whole.exit_status, whole.array) == ("7", JobState.FINISHED, 7, "")
    assert (whole.reason, whole.started, whole.ended) == ("2 x exit 0, 1 x exit 7, 1 x exit 9", 1.0, 9.0)
    alive = parts | {"7_1": replace(parts["7_1"], state=JobState.RUNNING)}
    assert (whole_of("7", alive) or whole).state is JobState.RUNNING
    assert whole_of("8", parts) is None


def test_a_job_that_was_started_anew_between_two_looks_says_so() -> None:
    changes = changes_of(ROW, job(JobState.RUNNING, runs=2), now=9.0)
    assert event_of(ROW, changes) == ("requeued", "running -> running, start 2")
    seen = replace(ROW, state="queued", cause="requeued")
    assert event_of(seen, changes_of(seen, job(JobState.RUNNING, runs=2), now=9.0)) == ("state", "queued -> running")
