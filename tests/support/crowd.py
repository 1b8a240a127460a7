"""Many people who log in and start a session at the same moment, without their browsers."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

import yaml
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from springtide.hub.state import StateDirectory
from tests.support.network import free_ports, http_status
from tests.support.processes import Daemon

ProxyKind = Literal["springtide", "stock"]

PROXIES: Mapping[ProxyKind, tuple[str, ...]] = {
    "springtide": (sys.executable, "-m", "springtide.hub.proxy"),
    "stock": (str(Path(sys.executable).with_name("configurable-http-proxy")),),
}
_PROFILE = "process"
_ANSWER_WITHIN_S = 300.0
# What browsers do with a stream of events that breaks off.
_RECONNECT_AFTER_S = 1.0


class TurnedAway(Exception):
    """Somebody could not go on; the text says at which step, and what was answered."""


@dataclass(frozen=True)
class Arrival:
    """How it went for one user, in seconds since all of them began."""

    user: str
    logged_in_s: float = 0.0
    ready_s: float = 0.0
    failure: str = ""


@dataclass(frozen=True)
class CrowdHub:
    """A hub with our configuration and stub sessions, behind one of the proxies."""

    url: str
    password: str
    hub: Daemon
    logs: tuple[Path, ...]

    @property
    def memory_bytes(self) -> int:
        """What the hub's process has in memory."""
        status = Path(f"/proc/{self.hub.pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    async def receive(self, users: int) -> list[Arrival]:
        """Let `users` people log in through the form and start a session, all at once."""
        # One connection for each request, as many as there are people: nobody waits for another's.
        client = AsyncHTTPClient(force_instance=True, max_clients=2 * users)
        begun = time.monotonic()
        try:
            visits = (_Visit(self.url, f"user-{number:03}", client, begun) for number in range(users))
            return list(await asyncio.gather(*(visit.arrive(self.password) for visit in visits)))
        finally:
            client.close()


@contextmanager
def running_crowd_hub(folder: Path, proxy: ProxyKind = "springtide") -> Iterator[CrowdHub]:
    """Yield a hub that nobody has logged in to yet; stop it at the end."""
    port, api_port, proxy_api_port, session_port = free_ports(4)
    lab = {
        "springtide": 1,
        "hub": {"port": port, "api_port": api_port, "proxy_api_port": proxy_api_port},
        "sites": {"machine": {"kind": "local", "runtime": "host"}},
        "profiles": [{"name": _PROFILE, "site": "machine"}],
    }
    lab_file = folder / "lab.yaml"
    lab_file.write_text(yaml.safe_dump(lab))
    state = StateDirectory(folder / "state")
    state.prepare()
    environment = {
        "SPRINGTIDE_LAB": str(lab_file),
        "SPRINGTIDE_STATE": str(state.path),
        "CONFIGPROXY_AUTH_TOKEN": state.secret("proxy-token"),
        "CROWD_SESSION_PORT": str(session_port),
    }
    here = Path(__file__).parent
    commands = {
        "sessions": [sys.executable, str(here / "crowd_session.py"), str(session_port)],
        "proxy": [
            *PROXIES[proxy],
            *("--ip=127.0.0.1", f"--port={port}", "--api-ip=127.0.0.1", f"--api-port={proxy_api_port}"),
            f"--error-target=http://127.0.0.1:{api_port}/hub/error",
        ],
        "hub": [sys.executable, "-m", "jupyterhub", "-f", str(here / "crowd_config.py")],
    }
    daemons = {name: Daemon(name, argv, folder / f"{name}.log", environment, folder) for name, argv in commands.items()}
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        for daemon in daemons.values():
            daemon.start()
            stack.callback(daemon.stop)
        daemons["hub"].wait_ready(lambda: http_status(f"{url}/hub/api/") == 200, 60)
        logs = tuple(daemon.log for daemon in daemons.values())
        yield CrowdHub(url, state.password(), daemons["hub"], logs)


@dataclass
class _Visit:
    """One person's way from the login page to the session."""

    url: str
    user: str
    client: AsyncHTTPClient
    begun: float
    cookies: SimpleCookie = field(default_factory=SimpleCookie)

    async def arrive(self, password: str) -> Arrival:
        try:
            await self._log_in(password)
            logged_in_s = self._elapsed_s
            await self._start_session()
            await self._expect(200, "session", "GET", f"/user/{self.user}/api")
        except (TurnedAway, OSError) as failure:
            return Arrival(self.user, failure=f"{type(failure).__name__}: {failure}")
        return Arrival(self.user, logged_in_s, self._elapsed_s)

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self.begun

    async def _log_in(self, password: str) -> None:
        await self._expect(200, "login page", "GET", "/hub/login")
        fields = {"username": self.user, "password": password}
        await self._expect(302, "login", "POST", "/hub/login", fields)

    async def _start_session(self) -> None:
        await self._expect(200, "spawn page", "GET", "/hub/spawn")
        await self._expect(302, "start", "POST", "/hub/spawn", {"profile": _PROFILE})
        path = f"/hub/api/users/{self.user}/server/progress?{urlencode({'_xsrf': self._xsrf_token})}"
        while self._elapsed_s < _ANSWER_WITHIN_S:
            answer = await self._ask("GET", path)
            events = [line for line in answer.body.decode().splitlines() if line.startswith("data: ")]
            last = json.loads(events[-1].removeprefix("data: ")) if events and answer.code == 200 else {}
            if last.get("ready"):
                return
            if last.get("failed"):
                raise TurnedAway(f"start: {last.get('message')}")
            await asyncio.sleep(_RECONNECT_AFTER_S)
        raise TurnedAway("start: never ready")

    async def _expect(
        self, status: int, step: str, method: str, path: str, fields: Mapping[str, str] | None = None
    ) -> None:
        answer = await self._ask(method, path, fields)
        if answer.code != status:
            raise TurnedAway(f"{step}: HTTP {answer.code} {answer.body[:300]!r}")

    async def _ask(self, method: str, path: str, fields: Mapping[str, str] | None = None) -> HTTPResponse:
        """Return the hub's answer; a form carries the XSRF token, as the page that holds it does."""
        body = None if fields is None else urlencode({**fields, "_xsrf": self._xsrf_token})
        request = HTTPRequest(
            self.url + path,
            method,
            headers={"Cookie": "; ".join(f"{name}={one.coded_value}" for name, one in self.cookies.items())},
            body=body,
            follow_redirects=False,
            connect_timeout=_ANSWER_WITHIN_S,
            request_timeout=_ANSWER_WITHIN_S,
        )
        answer = await self.client.fetch(request, raise_error=False)
        # Refused and broken connections come as answers of 599 with what happened.
        if answer.code == 599 and answer.error is not None:
            raise TurnedAway(f"{method} {path.partition('?')[0]}: {answer.error}")
        for cookie in answer.headers.get_list("Set-Cookie"):
            self.cookies.load(cookie)
        return answer

    @property
    def _xsrf_token(self) -> str:
        return self.cookies["_xsrf"].value if "_xsrf" in self.cookies else ""
