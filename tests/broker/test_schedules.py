"""Schedules through the broker: kept by it, over its own restarts, for their owners alone."""

from __future__ import annotations

import os
import time

import pytest

from springtide.jobs.repeating import schedule, schedules
from tests.broker.serving import Serving
from tests.support.waiting import wait_until

NIGHTLY = {"application": "sum", "cron": "30 2 * * *", "zone": "Europe/Paris"}


def add(broker: Serving, user: str = "alice", **body: object) -> dict[str, object]:
    answer = broker.ask("POST", "schedules", user, json={**NIGHTLY, **body})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def make_due(broker: Serving, token: object, ago_s: float) -> None:
    record = broker.lab.ledger.schedule(str(token))
    assert record
    assert broker.lab.ledger.change_schedule(record, due=time.time() - ago_s)


@pytest.mark.parametrize(("missed", "count"), [("skip", 0), ("once", 1), ("all", 3)])
def test_a_broker_stopped_at_due_times_follows_the_policy(broker: Serving, missed: str, count: int) -> None:
    user = f"night-{missed}"
    # Due half an hour ago, and one and two hours before: no boundary is near.
    minute = (int(time.time() // 60) + 30) % 60
    token = add(broker, user, missed=missed, cron=f"{minute} * * * *", zone="UTC")["token"]
    broker.stop()
    make_due(broker, token, (time.time() - 60 * minute) % 3600 + 7200)
    broker.start()

    def done() -> bool:
        record = broker.lab.ledger.schedule(str(token))
        return record is not None and record.due is not None and record.due > time.time()

    wait_until(done, 20, "the schedule has moved on")
    assert len(broker.lab.ledger.runs(user=user)) == count
    for run in broker.lab.ledger.runs(user=user):
        assert broker.over(run.token, user)["exit_status"] == 0


def test_what_is_due_runs_with_the_file_that_was_sent_for_it(broker: Serving) -> None:
    sent = broker.ask("PUT", "inputs/data.txt", "carol", data=b"hers").json()["file"]
    token = add(broker, "carol", parameters={"data": sent, "first": 7})["token"]
    # What was sent long ago is cleared away, but not what a schedule needs.
    folder = broker.broker.desks.of("carol").uploads
    other = broker.ask("PUT", "inputs/data.txt", "carol", data=b"other").json()["file"]
    for name in (sent, other):
        os.utime((folder / name).parent, (0, 0))
    broker.broker.desks.clear_uploads()
    assert [(folder / name).exists() for name in (sent, other)] == [True, False]
    make_due(broker, token, 1)
    wait_until(lambda: broker.ask("GET", "jobs", "carol").json()["jobs"], 20, "the job is submitted")
    (job,) = broker.ask("GET", "jobs", "carol").json()["jobs"]
    assert broker.over(job["token"], "carol")["exit_status"] == 0
    assert "data: hers" in broker.ask("GET", f"jobs/{job['token']}/log", "carol").text
    shown = broker.ask("GET", f"schedules/{token}", "carol").json()
    assert (shown["last_job"], len(shown["due"]), shown["problem"]) == (job["token"], 5, None)


def test_another_users_schedule_is_as_if_it_were_not_there(broker: Serving) -> None:
    hers = add(broker)["token"]
    for method, path in (
        ("GET", "schedules/{}"),
        ("POST", "schedules/{}/paused"),
        ("POST", "schedules/{}/on"),
        ("POST", "schedules/{}/ended"),
    ):
        answers = [broker.ask(method, path.format(token), "bob") for token in (hers, "zzzzzzzz")]
        assert [answer.status_code for answer in answers] == [404, 404], path
        assert answers[0].text == answers[1].text, path
    assert broker.ask("GET", "schedules", "bob").json() == []
    assert broker.ask("GET", "schedules?user=alice", "bob").status_code == 404
    assert broker.ask("POST", f"schedules/{hers}/ended", "reader").status_code == 403
    assert broker.ask("POST", "schedules", "bob", json={**NIGHTLY, "token": hers}).status_code == 422
    assert hers in [one["token"] for one in broker.ask("GET", "schedules?user=*", "admin").json()]
    assert broker.ask("POST", f"schedules/{hers}/ended", "admin").json()["state"] == "ended"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"cron": "0 0 30 2 *"}, "#/cron"),
        ({"zone": "Mars"}, "#/zone"),
        ({"missed": "never"}, "#/missed"),
        ({"parameters": {"first": 1000}}, "#/parameters/first"),
        ({"site": "nowhere"}, "#/site"),
        ({"after": ["abcdefgh"]}, "#/after"),
    ],
)
def test_what_is_wrong_is_pointed_at(broker: Serving, body: dict[str, object], pointer: str) -> None:
    answer = broker.ask("POST", "schedules", "dora", json={**NIGHTLY, **body})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert broker.ask("GET", "schedules?ended=true", "dora").json() == []


def test_a_session_schedules_through_its_broker(broker: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("springtide.jobs.repeating.desk", lambda: broker.desk("erin"))
    made = schedule("sum", "30 2 * * mon", zone="Europe/Paris", first=3)
    assert made.due
    assert (made.state, made.due.hour, made.due.minute, made.due.weekday()) == ("on", 2, 30, 0)
    assert [one.token for one in schedules()] == [made.token]
    assert (made.pause().state, made.pause().due, made.resume().due is None) == ("paused", None, False)
    make_due(broker, made.token, 1)
    wait_until(lambda: schedules()[0].last_job, 20, "its job is submitted")
    job = schedules()[0].last_job
    assert job
    assert job.result(30)
    assert (made.end().state, schedules(), len(schedules(ended=True))) == ("ended", [], 1)
