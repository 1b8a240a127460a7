"""Jobs over REST: submitted, watched, listed, cancelled, run again."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import requests

from springtide.queues.bookkeeping import new_token
from tests.broker.serving import Serving


def test_who_calls_is_told_what_she_has(broker: Serving) -> None:
    me = broker.ask("GET", "me").json()
    assert (me["name"], me["sites"]) == ("alice", ["machine"])
    names = [(one["environment"], one["name"]) for one in broker.ask("GET", "applications").json()]
    assert names[:2] == [("base", "merge"), ("base", "sum")]
    declared = broker.ask("GET", "applications/base/sum").json()
    assert declared["parameters"]["properties"]["first"]["title"] == "First"
    assert declared["declaration"]["parameters"]["second"]["unit"] == "s"
    assert broker.ask("GET", "applications/base/private").status_code == 404


def test_a_job_is_estimated_submitted_and_watched_to_its_end(broker: Serving) -> None:
    body = {"application": "sum", "parameters": {"first": [1, 2]}}
    foreseen = broker.ask("POST", "estimates", json=body).json()
    assert (foreseen["runs"], foreseen["site"], foreseen["application"]) == (2, "machine", "base/sum")
    job = broker.submit(parameters={"first": 3, "seed": 5})
    assert (job["state"], job["user"]) == ("queued", "alice")
    ended = broker.over(job["token"])
    assert (ended["exit_status"], ended["parameters"]["seed"], ended["progress"]) == (0, 5, 1.0)
    assert "adding 3 2" in broker.ask("GET", f"jobs/{job['token']}/log").text
    (output,) = broker.ask("GET", f"jobs/{job['token']}/outputs").json()
    assert (output["file"], output["bytes"]) == ("total.txt", 3)
    assert broker.ask("GET", f"jobs/{job['token']}/outputs/total.txt").content == b"5.0"
    described = broker.ask("GET", f"jobs/{job['token']}/description").json()
    assert (described["runs"][0]["exit_status"], described["plots"]) == (0, {"totals": "sum_plot.py:totals"})
    picture = broker.ask("GET", f"jobs/{job['token']}/plots/totals.png")
    assert (picture.status_code, picture.content[:4]) == (200, b"\x89PNG"), picture.text


def test_a_part_of_a_log_or_output_can_be_had(broker: Serving) -> None:
    token = broker.submit()["token"]
    broker.over(token)

    def part(path: str, wanted: str) -> tuple[int, bytes, str | None]:
        answer = broker.ask("GET", f"jobs/{token}/{path}", headers={"Range": wanted})
        return answer.status_code, answer.content, answer.headers.get("Content-Range")

    assert part("outputs/total.txt", "bytes=1-1") == (206, b".", "bytes 1-1/3")
    assert part("outputs/total.txt", "bytes=-2") == (206, b".0", "bytes 1-2/3")
    assert part("outputs/total.txt", "bytes=9-") == (416, b"", "bytes */3")
    assert part("log", "bytes=0-5")[:2] == (206, b"adding")


def test_a_log_can_be_followed_until_the_end(broker: Serving) -> None:
    token = broker.submit(parameters={"sleep": 1})["token"]
    text = broker.ask("GET", f"jobs/{token}/log?follow=true").text
    assert ("adding" in text, 'progress 1 "done"' in text) == (True, True)


def test_jobs_are_listed_page_by_page(broker: Serving) -> None:
    tokens = [broker.submit("pager", "merge", name=f"n{number}", after_any=[])["token"] for number in range(3)]
    first = broker.ask("GET", "jobs?limit=2", "pager").json()
    assert [job["token"] for job in first["jobs"]] == tokens[:0:-1]
    second = broker.ask("GET", f"jobs?limit=2&before={first['next']}", "pager").json()
    assert ([job["token"] for job in second["jobs"]], second["next"]) == (tokens[:1], None)


def test_cancelling_ends_a_job_and_again_runs_it(broker: Serving) -> None:
    token = broker.submit(parameters={"sleep": 50, "first": 7})["token"]
    assert broker.ask("POST", f"jobs/{token}/cancel").json() == {"cancelled": True}
    assert broker.over(token)["cause"] == "cancelled"
    assert broker.ask("POST", f"jobs/{token}/cancel").json() == {"cancelled": False}
    again = broker.ask("POST", f"jobs/{token}/again", json={"parameters": {"sleep": 0}}).json()
    assert (again["parent"], again["parameters"]["first"]) == (token, 7)
    assert broker.over(again["token"])["exit_status"] == 0


def test_a_chain_hands_its_outputs_on(broker: Serving) -> None:
    steps = {
        "report": {"application": "merge", "after": ["simulate"]},
        "simulate": {"application": "sum", "parameters": {"first": 2}},
    }
    jobs = broker.ask("POST", "chains", json={"steps": steps}).json()
    assert broker.over(jobs["report"]["token"])["exit_status"] == 0
    assert "total.txt" in broker.ask("GET", f"jobs/{jobs['report']['token']}/log").text


def test_who_asks_twice_with_a_token_gets_one_job(broker: Serving) -> None:
    body = {"application": "merge", "token": new_token()}
    answers: list[requests.Response] = []
    threads = [
        threading.Thread(target=lambda: answers.append(broker.ask("POST", "jobs", "twice", json=body)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 5
    assert {answer.json()["token"] for answer in answers} == {body["token"]}
    assert len(broker.lab.ledger.jobs(user="twice")) == 1
    taken = broker.ask("POST", "jobs", "other", json=body)
    assert (taken.status_code, taken.json()["errors"][0]["pointer"]) == (422, "#/token")


WRONG: tuple[tuple[dict[str, Any], int, str, str, str], ...] = (
    ({"application": "nothing"}, 404, "UnknownApplication", "", "There is no application"),
    ({"application": "private"}, 404, "UnknownApplication", "", "There is no application"),
    ({"parameters": {"first": 101}}, 422, "ParameterError", "#/parameters/first", "too large"),
    ({"parameters": {"second": "1 kg"}}, 422, "ParameterError", "#/parameters/second", "no unit"),
    ({"parameters": {"a/b~": 1}}, 422, "ParameterError", "#/parameters/a~1b~0", "no such parameter"),
    ({"parameters": {"data": "/etc/passwd"}}, 422, "ParameterError", "#/parameters/data", "no file that"),
    ({"parameters": {"data": "../../etc/passwd"}}, 422, "ParameterError", "#/parameters/data", "no file that"),
    ({"parameters": {"data": f"{'0' * 32}/x.txt"}}, 422, "ParameterError", "#/parameters/data", "not exist"),
    ({"sweep": {"data": "/etc/passwd"}}, 422, "ParameterError", "#/sweep/data", "no file that"),
    ({"sweep": {"first": "1..5000"}}, 422, "ParameterError", "#/sweep/first", "At most"),
    ({"site": "moon"}, 422, "ParameterError", "#/site", "no site"),
    ({"cores": 9}, 422, "ParameterError", "#/cores", "too large"),
    ({"after": ["zzzzzzzz"]}, 422, "ParameterError", "#/after", "no job"),
    ({"walltime": "2h"}, 422, "ParameterError", "#/walltime", "too large"),
    ({"nonsense": 1}, 422, "BadRequest", "#/nonsense", "Extra"),
    ({"token": "../../x"}, 422, "BadRequest", "#/token", "pattern"),
    ({"parameters": {"first": "x" * 2**21}}, 413, "TooLarge", "", "larger"),
)


def test_bad_input_is_a_problem_document_at_its_place_and_nothing_is_submitted(broker: Serving) -> None:
    for body, status, title, pointer, words in WRONG:
        answer = broker.ask("POST", "jobs", "clumsy", json={"application": "sum", **body})
        said = answer.json()
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), said
        assert (said["title"], said["status"], said["type"]) == (title, status, f"urn:springtide:{title}")
        if pointer:
            (error,) = said["errors"]
            assert error["pointer"] == pointer, said
        assert words in json.dumps(said), said
    assert broker.lab.ledger.runs(user="clumsy") == []


def test_what_is_wrong_in_a_chain_names_its_step(broker: Serving) -> None:
    steps = {"a": {"application": "sum"}, "b": {"application": "sum", "parameters": {"first": -1}, "after": ["a"]}}
    said = broker.ask("POST", "chains", "clumsy", json={"steps": steps}).json()
    assert said["errors"][0]["pointer"] == "#/steps/b/parameters/first"
    steps["b"] = {"application": "sum", "after": ["b"]}
    assert "circle" in broker.ask("POST", "chains", "clumsy", json={"steps": steps}).json()["detail"]
    assert broker.lab.ledger.runs(user="clumsy") == []


@pytest.mark.parametrize("wait", ["", "?wait_s=0.2"])
def test_a_job_that_is_not_over_is_shown_as_it_is(broker: Serving, wait: str) -> None:
    token = broker.submit("waiter", parameters={"sleep": 30})["token"]
    assert broker.ask("GET", f"jobs/{token}{wait}", "waiter").json()["state"] in ("queued", "running")
    broker.ask("POST", f"jobs/{token}/cancel", "waiter")
