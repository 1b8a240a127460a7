"""What is written to a ledger is found again, in SQLite and in PostgreSQL."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from springtide.errors import LedgerError
from springtide.ledger.records import LOST, REFUSED, SUBMITTING, Event, JobRecord, MachineRecord
from springtide.ledger.store import Ledger
from tests.ledger.make import full, job, machine


def tokens(records: list[JobRecord] | list[MachineRecord]) -> list[str]:
    return [record.token for record in records]


# --- rows -----------------------------------------------------------------------------------------------------------


def test_every_field_of_a_job_comes_back(ledger: Ledger) -> None:
    written = full(JobRecord, "a")
    ledger.add_jobs([written])
    assert ledger.job("a") == written


def test_every_field_of_a_machine_comes_back(ledger: Ledger) -> None:
    written = full(MachineRecord, "a")
    ledger.add_machine(written)
    assert ledger.machine("a") == written


def test_a_row_says_when_it_was_written(ledger: Ledger) -> None:
    ledger.add_jobs([job("a")])
    ledger.add_machine(machine("b"))
    for record in (ledger.job("a"), ledger.machine("b")):
        assert record
        assert abs(record.recorded - time.time()) < 60


def test_what_is_not_there_is_none(ledger: Ledger) -> None:
    assert (ledger.job("a"), ledger.machine("a"), ledger.job_by_id("cluster", "1")) == (None, None, None)
    assert (ledger.jobs(), ledger.machines(), ledger.events(), ledger.waits("cluster")) == ([], [], [], [])


def test_changes_leave_other_fields_and_rows_alone(ledger: Ledger) -> None:
    first, second = job("a", recorded=1.0, reason="busy"), job("b", recorded=2.0)
    ledger.add_jobs([first, second])
    ledger.update_job("a", state="running", started=7.5, exit_status=None)
    assert ledger.job("a") == replace(first, state="running", started=7.5)
    assert ledger.job("b") == second


def test_many_rows_change_differently_at_once(ledger: Ledger) -> None:
    ledger.add_jobs([job(token) for token in "abc"])
    ledger.update_jobs({"a": {"state": "running"}, "b": {"job_id": "7", "state": "queued"}, "c": {"state": LOST}})
    assert [(one.token, one.state, one.job_id) for one in ledger.jobs()] == [
        ("c", LOST, ""),
        ("b", "queued", "7"),
        ("a", "running", ""),
    ]


def test_no_change_is_no_error(ledger: Ledger) -> None:
    ledger.add_jobs([job("a")])
    ledger.add_jobs([])
    ledger.update_jobs({})
    ledger.update_jobs({"a": {}})


def test_a_change_of_a_row_that_is_not_there_is_an_error_and_changes_nothing(ledger: Ledger) -> None:
    ledger.add_jobs([job("a")])
    with pytest.raises(LedgerError, match="no row"):
        ledger.update_jobs({"a": {"state": "running"}, "b": {"state": "running"}})
    with pytest.raises(LedgerError, match="no row"):
        ledger.update_machine("b", state="running")
    assert [one.state for one in ledger.jobs()] == [SUBMITTING]


def test_a_token_is_written_once_and_nothing_comes_with_a_second(ledger: Ledger) -> None:
    ledger.add_jobs([job("a")])
    with pytest.raises(LedgerError, match="such a row") as caught:
        ledger.add_jobs([job("b"), job("a")], events=[Event(1.0, "submitted", "b")])
    assert not caught.value.transient
    assert tokens(ledger.jobs()) == ["a"]
    assert ledger.events() == []


@pytest.mark.parametrize("field", ["token", "number", "walltme"])
def test_a_field_that_cannot_be_changed_is_a_mistake_of_the_code(ledger: Ledger, field: str) -> None:
    ledger.add_jobs([job("a")])
    with pytest.raises(TypeError, match=field):
        ledger.update_jobs({"a": {field: "b"}})


@pytest.mark.parametrize(
    "words", ["nul\0byte", "half \udcff of é", "🌊 marée", "x" * 100_000, "'; DROP TABLE jobs; --"]
)
def test_any_words_of_a_scheduler_can_be_kept(ledger: Ledger, words: str) -> None:
    ledger.add_jobs([job("a", name=words)])
    ledger.update_job("a", reason=words)
    kept = ledger.job("a")
    assert kept
    assert kept.name == kept.reason
    assert len(kept.reason) == len(words)
    assert kept.reason == words or "\0" in words or "\udcff" in words


def test_a_figure_beyond_all_limits_is_refused_in_words(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="cannot hold a value") as caught:
        ledger.add_jobs([job("a"), job("b", memory_bytes=2**63)])
    assert not caught.value.transient
    assert ledger.jobs() == []


@pytest.mark.parametrize("value", [None, object()])
def test_a_value_of_a_wrong_type_is_refused_in_words(ledger: Ledger, value: object) -> None:
    ledger.add_jobs([job("a")])
    with pytest.raises(LedgerError, match="cannot hold a value"):
        ledger.update_job("a", state=value)


# --- questions ------------------------------------------------------------------------------------------------------


def test_the_newest_come_first_whatever_the_clock_said(ledger: Ledger) -> None:
    ledger.add_jobs([job("a", recorded=300.0), job("b", recorded=100.0)])
    ledger.add_jobs([job("c", recorded=200.0)])
    assert tokens(ledger.jobs()) == ["c", "b", "a"]
    assert tokens(ledger.jobs(limit=2)) == ["c", "b"]


def test_jobs_are_found_by_what_they_are(ledger: Ledger) -> None:
    ledger.add_jobs(
        [
            job("a", state="running"),
            job("b", site="other", state="queued"),
            job("c", user="bob", state="finished"),
            job("d", kind="session", server="second", state="running"),
            job("e", kind="session", state=REFUSED),
        ]
    )
    assert tokens(ledger.jobs(site="other")) == ["b"]
    assert tokens(ledger.jobs(user="bob")) == ["c"]
    assert tokens(ledger.jobs(kind="session")) == ["e", "d"]
    assert tokens(ledger.jobs(states=("queued", "finished"))) == ["c", "b"]
    assert tokens(ledger.jobs(open_only=True)) == ["d", "b", "a"]
    assert tokens(ledger.jobs(user="alice", kind="session", open_only=True)) == ["d"]
    assert tokens(ledger.jobs(kind="session", server="")) == ["e"]
    assert tokens(ledger.jobs(kind="session", server="second")) == ["d"]


@pytest.mark.parametrize("state", ["finished", REFUSED, LOST])
def test_what_is_over_is_not_open(ledger: Ledger, state: str) -> None:
    ledger.add_jobs([job("a", state=state), job("b", state="a word of a later version")])
    assert tokens(ledger.jobs(open_only=True)) == ["b"]


def test_since_counts_from_when_rows_were_written(ledger: Ledger) -> None:
    ledger.add_jobs([job("a", recorded=100.0), job("b", recorded=200.0)])
    assert tokens(ledger.jobs(since=100.5)) == ["b"]
    assert tokens(ledger.jobs(since=200.0)) == ["b"]


def test_a_schedulers_id_names_the_newest_job_of_its_site(ledger: Ledger) -> None:
    ledger.add_jobs([job("a", job_id="7"), job("b", job_id="7"), job("c", job_id="7", site="other"), job("d")])
    found = ledger.job_by_id("cluster", "7")
    assert found
    assert found.token == "b"


def test_waits_are_of_jobs_that_started(ledger: Ledger) -> None:
    ledger.add_jobs(
        [
            job("a", submitted=100.0, started=160.0, queue="long"),
            job("b", submitted=50.0, started=150.0, queue="short"),
            job("c", submitted=100.0),
            job("d", started=100.0),
            job("e", site="other", submitted=1.0, started=2.0),
        ]
    )
    assert [(one.token, one.waited_s) for one in ledger.waits("cluster")] == [("a", 60.0), ("b", 100.0)]
    assert tokens(ledger.waits("cluster", queue="short")) == ["b"]
    assert tokens(ledger.waits("cluster", since=155.0)) == ["a"]
    assert tokens(ledger.waits("cluster", limit=1)) == ["a"]


def test_machines_are_found_by_what_they_are(ledger: Ledger) -> None:
    ledger.add_machine(machine("a", state="running", recorded=100.0))
    ledger.add_machine(machine("b", user="bob", recorded=200.0))
    ledger.add_machine(machine("c", site="other", recorded=300.0))
    ledger.update_machine("c", state="destroyed", destroyed=400.0)
    assert tokens(ledger.machines()) == ["c", "b", "a"]
    assert tokens(ledger.machines(open_only=True)) == ["b", "a"]
    assert tokens(ledger.machines(site="cloud", user="alice", states=["running"])) == ["a"]
    assert tokens(ledger.machines(since=150.0, limit=1)) == ["c"]


def test_events_are_told_in_order(ledger: Ledger) -> None:
    story = [
        Event(3.0, "submitted", "a"),
        Event(1.0, "state", "a", text="running"),
        Event(2.0, "lost", "b", actor="bob"),
    ]
    for event in story:
        ledger.add_event(event)
    assert ledger.events() == story
    assert ledger.events("a") == story[:2]
    assert ledger.events(limit=2) == story[1:]
    assert ledger.events(since=2.0) == [story[0], story[2]]


def test_events_are_written_with_what_they_tell(ledger: Ledger) -> None:
    ledger.add_jobs([job("a")], events=[Event(1.0, "submitted", "a")])
    ledger.update_jobs({"a": {"state": "running"}}, events=[Event(2.0, "state", "a")])
    with pytest.raises(LedgerError):
        ledger.update_jobs({"b": {"state": "running"}}, events=[Event(3.0, "state", "b")])
    assert [event.time for event in ledger.events()] == [1.0, 2.0]


@pytest.mark.parametrize("words", ["nul\0byte", "half \udcff", "'; --"])
def test_any_words_can_be_asked_for(ledger: Ledger, words: str) -> None:
    ledger.add_jobs([job("a", user=words, site=words, job_id=words)])
    assert tokens(ledger.jobs(user=words)) == ["a"]
    assert ledger.job_by_id(words, words) == ledger.job("a")
    assert (ledger.job(words), ledger.machine(words)) == (None, None)
    assert ledger.jobs(kind=words, states=[words], server=words) == ledger.waits("cluster", queue=words) == []
    assert (ledger.machines(site=words, states=[words]), ledger.events(words)) == ([], [])


# --- one of several -------------------------------------------------------------------------------------------------


def test_a_row_is_claimed_once(ledger: Ledger, place: str) -> None:
    ledger.add_jobs([job("a")])
    with Ledger.open(place) as other:
        adopted, lost = ([Event(1.0, kind, "a")] for kind in ("adopted", "lost"))
        assert other.claim_job("a", states=[SUBMITTING], events=adopted, state="queued", job_id="7")
        assert not ledger.claim_job("a", states=[SUBMITTING], events=lost, state=LOST)
        assert ledger.events() == adopted
    assert not ledger.claim_job("b", states=[SUBMITTING], state=LOST)
    claimed = ledger.job("a")
    assert claimed
    assert (claimed.state, claimed.job_id) == ("queued", "7")


def test_what_one_wrote_the_next_reads(new_place: str) -> None:
    with Ledger.open(new_place) as first:
        first.add_jobs([job("a")])
    with Ledger.open(new_place) as second:
        assert tokens(second.jobs()) == ["a"]
    first.close()


def test_a_path_may_be_a_path(file: Path) -> None:
    with Ledger.open(file) as ledger:
        ledger.add_jobs([job("a")])
        assert ledger.place == str(file)
    with Ledger.open(f"sqlite:///{file}") as ledger:
        assert tokens(ledger.jobs()) == ["a"]
