"""The whole platform as its users get it: ``springtide up`` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
import yaml

from tests.support import logs
from tests.support.kernels import SessionClient
from tests.support.network import free_ports, http_status
from tests.support.processes import Daemon, Process, descendants, process
from tests.support.waiting import wait_until

SPRINGTIDE = str(Path(sys.executable).with_name("springtide"))
READY_S = 120


class BrowserlessLogin(requests.Session):
    """Someone who is logged in: paths are relative to the hub's address, forms carry the XSRF token."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def request(self, method: str | bytes, url: str | bytes, *arguments: Any, **options: Any) -> requests.Response:
        path = url.decode() if isinstance(url, bytes) else url
        options.setdefault("timeout", 60)
        return super().request(method, self.url + path if path.startswith("/") else path, *arguments, **options)

    def submit(self, path: str, fields: Mapping[str, str], **options: Any) -> requests.Response:
        """Post a form of the hub, as the page that holds it would."""
        return self.post(path, data={**fields, "_xsrf": self.xsrf_token}, **options)

    @property
    def xsrf_token(self) -> str:
        tokens = [cookie.value for cookie in self.cookies if cookie.name == "_xsrf" and cookie.path == "/hub/"]
        return (tokens[0] if tokens else "") or ""


class RunningHub:
    """A platform started from a lab file, in a folder of its own and on free ports.

    Parameters
    ----------
    lab : Mapping
        The lab file's content. Ports that its ``hub`` section does not give are chosen free.
    folder : Path
        Receives lab file, state and logs. A second hub on the same folder finds the first one's state.
    environment : Mapping[str, str], optional
        Added to the tests' own, e.g. that of the Slurm cluster.
    command : Sequence[str], optional
        What starts the platform: gets ``--lab FILE --state FOLDER``.
    """

    def __init__(
        self,
        lab: Mapping[str, Any],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = (SPRINGTIDE, "up"),
    ) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.lab_file = folder / "lab.yaml"
        self.lab_file.write_text(yaml.safe_dump(_with_free_ports(lab), sort_keys=False, allow_unicode=True))
        options = ("--lab", str(self.lab_file), "--state", str(self.state))
        self._supervisor = Daemon("springtide up", [*command, *options], folder / "up.log", environment, folder)
        self._tokens: dict[str, str] = {}

    # -- life -------------------------------------------------------------------------------------

    def start(self, seconds: float = READY_S) -> RunningHub:
        """Start the platform, and return when its hub answers through the proxy."""
        # What a killed predecessor on this folder wrote says nothing about this one.
        self._ready_file.unlink(missing_ok=True)
        self._supervisor.start()
        self._supervisor.wait_ready(self._is_ready, seconds)
        return self

    def stop(self, seconds: float = 60) -> int:
        """Press Ctrl-C, wait until all has ended, and return the exit status."""
        return self._supervisor.stop(signal.SIGINT, seconds, group=True)

    def kill_all(self) -> None:
        """Kill every process of the platform at once, as a power cut does."""
        processes = self.processes()
        self._supervisor.stop(signal.SIGKILL)
        for one in processes:
            one.kill()

    def kill_hub(self) -> int:
        """Kill the hub's process, and nothing else; return its pid, for `wait_hub_restarted`."""
        pid = self.hub_pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: process(pid) is None, 10, "the hub is dead")
        return pid

    def wait_hub_restarted(self, former_pid: int, seconds: float = READY_S) -> None:
        """Return when another hub than `former_pid` answers."""
        wait_until(lambda: self.hub_pid != former_pid and self._is_ready(), seconds, "the hub is back", interval=0.2)

    def processes(self) -> set[Process]:
        """Return every process below ``springtide up``."""
        return descendants(self._supervisor.pid)

    @property
    def is_running(self) -> bool:
        return self._supervisor.is_running

    @property
    def output(self) -> str:
        """What ``springtide up`` has written so far."""
        return self._supervisor.log.read_text(errors="replace")

    @property
    def logs(self) -> list[Path]:
        # The platform's own, not those in the users' homes below.
        return [self._supervisor.log, *sorted(self.state.glob("*.log")), *sorted(self.state.glob("*/*.log"))]

    # -- what `springtide up` says about itself ---------------------------------------------------

    @property
    def _ready_file(self) -> Path:
        return self.state / "run" / "up.json"

    def _is_ready(self) -> bool:
        return self._ready_file.exists() and http_status(f"{self.url}/hub/api/") == 200

    def _said(self, key: str) -> Any:
        return json.loads(self._ready_file.read_text())[key]

    @property
    def url(self) -> str:
        """Address for browsers, without a slash at its end."""
        return str(self._said("url")).rstrip("/")

    @property
    def password(self) -> str:
        return str(self._said("password"))

    @property
    def hub_pid(self) -> int:
        return int(self._said("hub_pid"))

    @property
    def proxy_pid(self) -> int:
        return int(self._said("proxy_pid"))

    @property
    def admin_token(self) -> str:
        return (self.state / "run" / "admin-token").read_text().strip()

    # -- what users do ----------------------------------------------------------------------------

    def login(self, user: str, password: str | None = None) -> BrowserlessLogin:
        """Log in through the form; RuntimeError when the hub refuses."""
        visitor = BrowserlessLogin(self.url)
        visitor.get("/hub/login").raise_for_status()
        fields = {"username": user, "password": self.password if password is None else password}
        answer = visitor.submit("/hub/login", fields, allow_redirects=False)
        if answer.status_code != 302:
            visitor.close()
            raise RuntimeError(f"{user} cannot log in: HTTP {answer.status_code}")
        return visitor

    def api(self, method: str, path: str, user: str = "", json: Any = None) -> requests.Response:
        """Call the hub's API (`path` below ``/hub/api/``), as an administrator or with the token of `user`."""
        token = self.token_of(user) if user else self.admin_token
        headers = {"Authorization": f"token {token}"}
        return requests.request(
            method, f"{self.url}/hub/api/{path.lstrip('/')}", headers=headers, json=json, timeout=60
        )

    def token_of(self, user: str) -> str:
        """Return a token with all of the rights of `user`, who is made known to the hub if need be."""
        if user not in self._tokens:
            if self.api("GET", f"users/{user}").status_code == 404:
                self.api("POST", f"users/{user}").raise_for_status()
            answer = self.api("POST", f"users/{user}/tokens", json={"note": "tests"})
            answer.raise_for_status()
            self._tokens[user] = answer.json()["token"]
        return self._tokens[user]

    def start_session(
        self, user: str, options: Mapping[str, Any], name: str = "", seconds: float = READY_S
    ) -> SessionClient:
        """Start a session of `user` as the API does, and return it when it is ready."""
        answer = self.api("POST", f"users/{user}/servers/{name}", user, json=dict(options))
        if answer.status_code not in (201, 202):
            raise RuntimeError(f"no session for {user}: HTTP {answer.status_code} {answer.text}")

        def ready_or_gone() -> str:
            server = self._server(user, name)
            if server is None:
                return "gone"
            return "ready" if server["ready"] else ""

        if wait_until(ready_or_gone, seconds, f"session {name!r} of {user} is ready", interval=0.2) == "gone":
            raise RuntimeError(f"the session {name!r} of {user} ended before it was ready")
        return self.session(user, name)

    def session(self, user: str, name: str = "") -> SessionClient:
        path = f"/user/{quote(user)}/" + (f"{quote(name)}/" if name else "")
        return SessionClient(self.url + path, self.token_of(user))

    def stop_session(self, user: str, name: str = "", seconds: float = 60) -> None:
        """Stop a session of `user`, and return when the hub has forgotten it."""
        answer = self.api("DELETE", f"users/{user}/servers/{name}", user)
        if answer.status_code not in (202, 204):
            raise RuntimeError(f"session {name!r} of {user} not stopped: HTTP {answer.status_code} {answer.text}")
        what = f"session {name!r} of {user} is gone"
        wait_until(lambda: self._server(user, name) is None, seconds, what, interval=0.2)

    def stop_all_sessions(self, seconds: float = 90) -> None:
        """Stop every session of everybody, and return when the hub has forgotten them."""

        def none_left() -> bool:
            users = self.api("GET", "users?state=active").json()
            active = [(user["name"], name) for user in users for name in user["servers"]]
            for user, name in active:
                self.api("DELETE", f"users/{user}/servers/{name}")
            return not active

        wait_until(none_left, seconds, "no session is left", interval=0.5)

    def _server(self, user: str, name: str) -> dict[str, Any] | None:
        answer = self.api("GET", f"users/{user}")
        answer.raise_for_status()
        server: dict[str, Any] | None = answer.json()["servers"].get(name)
        return server


@contextmanager
def shared_hub(
    lab: Mapping[str, Any], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[RunningHub]:
    """Yield a running platform whose logs are shown with a failing test; stop it at the end."""
    hub = RunningHub(lab, folder, environment)
    logs.show_on_failure("hub", lambda: hub.logs)
    try:
        yield hub.start()
    finally:
        hub.stop()
        logs.forget("hub")


def _with_free_ports(lab: Mapping[str, Any]) -> dict[str, Any]:
    ports = dict(zip(("port", "api_port", "proxy_api_port"), free_ports(3), strict=True))
    return {**lab, "hub": {**ports, **lab.get("hub", {})}}
