"""Events as they happen, limits as they are reached, and a description that tells of both."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from springtide.broker.limits import Bucket, Limits
from tests.broker.serving import PREFIX, Serving, serving
from tests.jobs.labs import jobs_lab


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Yield a broker that allows little."""
    folder: Path = tmp_path_factory.mktemp("limits")
    limits = Limits(
        requests_per_s=5, requests_at_once=40, submissions_per_s=0.1, submissions_at_once=3, streams=2,
        upload_bytes=2**20, uploads_bytes=2**20,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, jobs_lab(folder, patch) as lab, serving(lab, patch, limits) as running:
        yield running


def events(answer: requests.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines(decode_unicode=True):
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_changes_are_pushed_to_their_owner_alone(broker: Serving) -> None:
    first = broker.submit("alice")["token"]
    seen: list[tuple[str, str]] = []
    with (
        broker.ask("GET", "events", "alice", stream=True) as hers,
        broker.ask("GET", "events", "bob", stream=True) as his,
    ):
        assert hers.headers["Content-Type"].startswith("text/event-stream")
        second = broker.submit("alice", parameters={"first": 9})["token"]
        for job in events(hers):
            seen.append((job["token"], job["state"]))
            if {(first, "finished"), (second, "finished")} <= set(seen):
                break
        his.raw._fp.fp.raw._sock.settimeout(0.3)  # type: ignore[union-attr]  # what urllib3 hides
        with pytest.raises(requests.exceptions.ConnectionError):
            next(events(his))
    # Who comes again has missed nothing.
    with broker.ask("GET", f"events?job={first}", "alice", stream=True) as again:
        job = next(events(again))
        assert (job["token"], job["state"], job["progress"]) == (first, "finished", 1.0)


def test_streams_are_counted(broker: Serving) -> None:
    with broker.ask("GET", "events", "dora", stream=True), broker.ask("GET", "events", "dora", stream=True) as second:
        token = broker.submit("dora")["token"]
        following = events(second)
        next(following)
        assert broker.ask("GET", f"jobs/{token}?wait_s=5", "dora").status_code == 429


def test_too_many_requests_are_told_when_to_come_again(broker: Serving) -> None:
    answers = [broker.ask("POST", "jobs", "eager", json={"application": "merge"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
    assert (answers[3].json()["title"], int(answers[3].headers["Retry-After"]) > 1) == ("TooManyRequests", True)
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.extend(broker.ask("GET", "me", "busy").status_code for _ in range(10)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(200) >= 40, 429 in statuses) == (True, True)
    assert broker.ask("GET", "me", "patient").status_code == 200


def test_bodies_are_not_read_beyond_their_limit(broker: Serving) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(64):
            yield b"x" * 2**16

    for data in (b"x" * 2**21, pieces()):
        answer = broker.ask("PUT", "inputs/large.txt", data=data)
        assert (answer.status_code, answer.json()["title"]) == (413, "TooLarge")
    assert broker.ask("PUT", "inputs/a.txt", data=b"a" * 2**19).status_code == 201
    assert broker.ask("PUT", "inputs/b.txt", data=b"b" * (2**19 + 1)).status_code == 413


def test_a_bucket_fills_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    bucket = Bucket(per_s=2, most=3)
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]
    now = 100.5
    assert bucket.take() == 0


def test_the_description_names_every_route_and_problem(broker: Serving) -> None:
    described = requests.get(f"{broker.url}openapi.json", timeout=10).json()
    assert described["openapi"].startswith("3.")
    for path, methods in described["paths"].items():
        assert path.startswith(f"{PREFIX}v1/")
        for operation in methods.values():
            assert {"401", "404", "422", "429"} <= set(operation["responses"]), path
            assert operation["description"], path
