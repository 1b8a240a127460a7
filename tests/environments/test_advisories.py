"""Known vulnerabilities are asked for once; where nobody answers, that is said and nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from springtide.environments.advisories import look_up
from springtide.environments.findings import State
from springtide.environments.packages import Package, Packages
from tests.support.network import free_port

PACKAGES = Packages({"lisa": {"jinja2": Package("2.4.1"), "numpy": Package("2.3")}}, {"libc6": "2.36-9"})
KNOWN = {("PyPI", "jinja2", "2.4.1"): ["PYSEC-2014-8", "GHSA-8r7q-cvjq-x353"], ("Debian:12", "libc6", "2.36-9"): ["X"]}


class Source(BaseHTTPRequestHandler):
    """Answers as OSV does."""

    broken = False

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        results = [_answer(query) for query in asked["queries"]]
        body = json.dumps({"results": results[1:] if self.broken else results}).encode()
        self.send_response(200 if self.path == "/v1/querybatch" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _answer(query: Any) -> dict[str, Any]:
    known = KNOWN.get((query["package"]["ecosystem"], query["package"]["name"], query["version"]))
    return {"vulns": [{"id": one, "modified": "2024-01-01T00:00:00Z"} for one in known]} if known else {}


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with HTTPServer(("127.0.0.1", 0), Source) as server:
        monkeypatch.setenv("SPRINGTIDE_ADVISORIES", f"http://127.0.0.1:{server.server_port}/")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("source")
def test_packages_with_known_vulnerabilities_are_named() -> None:
    finding = look_up(PACKAGES)
    assert finding.state is State.WARNING
    assert finding.details == ("lisa/jinja2 2.4.1: GHSA-8r7q-cvjq-x353, PYSEC-2014-8", "debian/libc6 2.36-9: X")


@pytest.mark.usefixtures("source")
def test_none_known_is_said_with_the_number_of_packages() -> None:
    finding = look_up(Packages({"lisa": {"numpy": Package("2.3")}}))
    assert finding.state is State.OK
    assert finding.message.startswith("none known of 1 packages")


@pytest.mark.usefixtures("source")
def test_an_answer_that_makes_no_sense_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "broken", True)
    finding = look_up(PACKAGES)
    assert (finding.state, "answers nonsense" in finding.message) == (State.NOT_CHECKED, True)


def test_where_nobody_answers_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINGTIDE_ADVISORIES", f"http://127.0.0.1:{free_port()}")
    finding = look_up(PACKAGES)
    assert (finding.state, "does not answer" in finding.message) == (State.NOT_CHECKED, True)
    assert finding.data == {}


def test_without_a_list_of_packages_nothing_is_asked() -> None:
    assert look_up(Packages()).state is State.NOT_CHECKED
