"""A broker that serves over HTTP in a thread, for a lab with a queue of this machine; tokens are users' names."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
import uvicorn

from springtide.broker.app import make_app
from springtide.broker.calls import Broker
from springtide.broker.desks import Desks
from springtide.broker.identity import Who
from springtide.broker.limits import Limits
from springtide.broker.problems import Refusal
from springtide.broker.scopes import ALL, READ, SUBMIT
from springtide.broker.service import listening
from springtide.broker.sites import Sites
from springtide.jobs.remote import RemoteDesk
from springtide.jobs.transport import Transport
from springtide.lab.load import load_lab
from springtide.queues.opening import caller
from tests.jobs.labs import JobsLab
from tests.support.network import free_port
from tests.support.waiting import wait_until

PREFIX = "/services/springtide-broker/"
_SCOPES = {"admin": {READ, ALL, SUBMIT}, "reader": {READ}}


class Names:
    """Identity without a hub: a token is its owner's name."""

    async def who(self, token: str) -> Who:
        if token == "stranger":
            raise Refusal(401, "Unauthorized", "The token is not known to the hub.")
        return Who(token, frozenset(), frozenset(_SCOPES.get(token, {READ, SUBMIT})))


@dataclass
class Serving:
    """A running broker."""

    lab: JobsLab
    limits: Limits = field(default_factory=Limits)
    port: int = field(default_factory=free_port)

    def start(self) -> Serving:
        self.broker = Broker(
            Desks(load_lab(self.lab.lab_file), self.lab.ledger, self.lab.folder / "state"), Names(), self.limits
        )
        self.broker.follower.pause_s = self.broker.follower.watch_every_s = 0.1
        configuration = uvicorn.Config(
            make_app(self.broker, PREFIX), lifespan="on", log_config=None, timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(configuration)
        listener = listening("127.0.0.1", self.port)

        def serve() -> None:
            with listener:
                asyncio.run(self.server.serve([listener]))

        self.thread = threading.Thread(target=serve, name="broker")
        self.thread.start()
        wait_until(lambda: self.server.started, 20, "the broker serves")
        return self

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(15)
        assert not self.thread.is_alive()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PREFIX}"

    def desk(self, user: str = "alice") -> RemoteDesk:
        """Return what a session of `user` has."""
        return RemoteDesk(Transport(self.url, user, patience_s=5.0))

    def ask(self, method: str, path: str, user: str = "alice", **options: Any) -> requests.Response:
        headers = {"Authorization": f"token {user}", **options.pop("headers", {})}
        return requests.request(method, f"{self.url}v1/{path}", headers=headers, timeout=30, **options)

    def submit(self, user: str = "alice", application: str = "sum", **body: Any) -> dict[str, Any]:
        answer = self.ask("POST", "jobs", user, json={"application": application, **body})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def over(self, token: str, user: str = "alice") -> dict[str, Any]:
        """Return a job once it is over."""
        for _ in range(18):
            job = self.ask("GET", f"jobs/{token}?wait_s=10", user).json()
            if job["state"] == "finished":
                return dict(job)
        raise AssertionError(job)


@contextlib.contextmanager
def serving(lab: JobsLab, monkeypatch: pytest.MonkeyPatch, limits: Limits | None = None) -> Iterator[Serving]:
    """Yield a broker all of whose users share the account that runs the tests."""
    monkeypatch.setattr(Sites, "account_of", lambda self, user: caller())
    monkeypatch.setattr("springtide.broker.sites._LOCAL_INTERVAL_S", 0.1)
    monkeypatch.setattr("springtide.broker.sites.jobs_folder", jobs_folder_in(lab))
    monkeypatch.setattr("springtide.broker.desks.jobs_folder", jobs_folder_in(lab))
    (lab.folder / "state").mkdir(exist_ok=True)
    broker = Serving(lab, limits or Limits()).start()
    try:
        yield broker
    finally:
        broker.stop()


def jobs_folder_in(lab: JobsLab) -> Any:
    return lambda user, account: lab.folder / "jobs-of" / user
