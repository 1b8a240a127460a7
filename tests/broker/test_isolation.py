"""Nobody sees, ends or reads what is another user's: not by ids, not by paths, not by links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import requests

from springtide.jobs.porter import BadRequest, answer_request
from tests.broker.serving import Serving


@pytest.fixture(scope="module")
def hers(broker: Serving) -> str:
    """Return the token of a job of alice's that has succeeded."""
    token = broker.submit("alice")["token"]
    assert broker.over(token)["exit_status"] == 0
    return str(token)


ROUTES = (
    ("GET", "jobs/{}"),
    ("GET", "jobs/{}?wait_s=1"),
    ("POST", "jobs/{}/cancel"),
    ("POST", "jobs/{}/again"),
    ("GET", "jobs/{}/log"),
    ("GET", "jobs/{}/log?follow=true"),
    ("GET", "jobs/{}/description"),
    ("GET", "jobs/{}/outputs"),
    ("GET", "jobs/{}/outputs/total.txt"),
    ("GET", "jobs/{}/program/sum.py"),
    ("GET", "jobs/{}/plots/totals.png"),
    ("GET", "jobs?before={}"),
)


def test_another_users_job_is_as_if_it_were_not_there(broker: Serving, hers: str) -> None:
    for method, path in ROUTES:
        answers = [
            broker.ask(method, path.format(token), "bob", json={} if method == "POST" else None)
            for token in (hers, "zzzzzzzz")
        ]
        assert [answer.status_code for answer in answers] == [404, 404], path
        assert answers[0].text == answers[1].text, path
    assert broker.ask("GET", "jobs", "bob").json()["jobs"] == []
    assert broker.ask("GET", "jobs?user=alice", "bob").status_code == 404
    assert broker.ask("GET", "jobs?user=*", "bob").status_code == 404
    followed = broker.ask("POST", "jobs", "bob", json={"application": "merge", "after_any": [hers]})
    assert followed.json()["errors"][0]["pointer"] == "#/after"


def test_who_may_see_all_sees_and_ends_but_does_not_run_as_others(broker: Serving, hers: str) -> None:
    assert broker.ask("GET", f"jobs/{hers}/log", "admin").status_code == 200
    assert hers in [job["token"] for job in broker.ask("GET", "jobs?user=*", "admin").json()["jobs"]]
    assert broker.ask("POST", f"jobs/{hers}/again", "admin", json={}).status_code == 403
    running = broker.submit("alice", parameters={"sleep": 50})["token"]
    assert broker.ask("POST", f"jobs/{running}/cancel", "admin").json() == {"cancelled": True}
    assert broker.over(running)["cause"] == "cancelled"
    row = broker.lab.ledger.job(running)
    assert row is not None
    assert row.cancelled_by == "admin"


def test_tokens_do_what_their_scopes_say(broker: Serving) -> None:
    assert broker.ask("GET", "jobs", "reader").status_code == 200
    assert broker.ask("POST", "jobs", "reader", json={"application": "sum"}).status_code == 403
    assert broker.ask("GET", "jobs", "stranger").status_code == 401
    assert requests.get(f"{broker.url}v1/jobs", timeout=10).status_code == 401
    # A cookie is no token: no page of somebody else's can send one.
    assert requests.get(f"{broker.url}v1/jobs", cookies={"token": "alice"}, timeout=10).status_code == 401


def test_no_path_leads_out_of_a_jobs_outputs(broker: Serving, hers: str) -> None:
    folder = Path(broker.ask("GET", f"jobs/{hers}").json()["folder"])
    outputs, secret = folder / "outputs", broker.lab.folder / "secret.txt"
    secret.write_text("secret")
    (outputs / "link.txt").symlink_to(secret)
    (outputs / "linked").symlink_to(broker.lab.folder)
    os.mkfifo(outputs / "pipe")
    for path in (
        "link.txt",
        "linked/secret.txt",
        "pipe",
        "..%2Fjob.json",
        "%2e%2e/job.json",
        "..%2f..%2f..%2fsecret.txt",
        "%2Fetc%2Fpasswd",
        "a%00b",
        "x//y",
    ):
        answer = broker.ask("GET", f"jobs/{hers}/outputs/{path}")
        assert (answer.status_code in (404, 409), "secret" in answer.text.replace("secret.txt", "")) == (True, False)
    assert [one["file"] for one in broker.ask("GET", f"jobs/{hers}/outputs").json()] == ["total.txt"]
    # The log itself may be made a link by whoever runs as the same account.
    (folder / "log.txt").unlink()
    (folder / "log.txt").symlink_to(secret)
    assert "secret" not in broker.ask("GET", f"jobs/{hers}/log").text.replace("secret.txt", "")


def test_a_row_whose_folder_is_elsewhere_opens_nothing(broker: Serving) -> None:
    token = broker.submit("alice")["token"]
    broker.over(token)
    broker.lab.ledger.update_run(token, folder=str(broker.lab.folder))
    for path in ("log", "outputs", "description"):
        assert broker.ask("GET", f"jobs/{token}/{path}").json()["title"] == "JobError", path


def test_what_was_sent_is_the_senders_alone(broker: Serving) -> None:
    sent = broker.ask("PUT", "inputs/data.txt", "alice", data=b"hers").json()["file"]
    taken = broker.ask("POST", "jobs", "bob", json={"application": "sum", "parameters": {"data": sent}})
    assert (taken.status_code, "not exist" in taken.text) == (422, True)
    for name in ("..", ".hidden", "a%2Fb", "x%0ay"):
        assert broker.ask("PUT", f"inputs/{name}", data=b"x").status_code in (404, 405, 422), name


@pytest.mark.parametrize(
    "request_",
    [
        {"verb": "read", "folder": "/etc", "file": "../etc/passwd", "offset": 0, "most": 10},
        {"verb": "read", "folder": "etc", "file": "passwd", "offset": 0, "most": 10},
        {"verb": "make", "folder": "/tmp/x", "files": [{"file": "../y", "mode": 0, "data": ""}], "folders": []},
        {"verb": "exec"},
        {"verb": "list"},
        {"verb": "read", "folder": "/etc", "file": "passwd", "offset": 0, "most": 10, "more": 1},
        [],
    ],
)
def test_the_porter_takes_its_own_requests_only(request_: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        answer_request(request_)
