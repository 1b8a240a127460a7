"""The two sides of a comparison: our platform and a plain JupyterHub, driven through the one API both have."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.support.hub import RunningHub
from tests.support.network import free_ports, http_status
from tests.support.processes import Daemon
from tests.support.waiting import wait_until

_KEEPER = "keeper"
_SCOPES = ["admin:users", "admin:servers", "list:users"]
_WITHIN_S = 180
# Finer than what is measured by far, and no load worth mentioning.
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class HubApi:
    """A hub's API with an administrator's rights."""

    url: str
    token: str

    def add_user(self, user: str) -> None:
        """Make `user` known, who may be known already."""
        if self._call("GET", f"users/{user}").status_code == 404:
            self._call("POST", f"users/{user}").raise_for_status()

    def request_start(self, user: str, options: Mapping[str, Any], name: str = "") -> bool:
        """Ask for a session; return whether it was ready when the hub answered."""
        answer = self._call("POST", f"users/{user}/servers/{name}", json=dict(options))
        answer.raise_for_status()
        return answer.status_code == 201

    def start(self, user: str, options: Mapping[str, Any]) -> float:
        """Start a session; return the seconds from the request until the hub calls it ready."""
        begun = time.monotonic()
        if not self.request_start(user, options):
            wait_until(lambda: self._is_ready(user), _WITHIN_S, f"{user}'s session is ready", _LOOK_EVERY_S)
        return time.monotonic() - begun

    def stop(self, user: str) -> float:
        """Stop a session; return the seconds from the request until the hub has none."""
        begun = time.monotonic()
        answer = self._call("DELETE", f"users/{user}/servers/")
        answer.raise_for_status()
        if answer.status_code != 204:
            wait_until(lambda: not self._servers(user), _WITHIN_S, f"{user}'s session is gone", _LOOK_EVERY_S)
        return time.monotonic() - begun

    def has_sessions(self) -> bool:
        """Whether any user has a session, one that starts or stops included."""
        return any(user["servers"] for user in self._call("GET", "users").json())

    def _is_ready(self, user: str) -> bool:
        servers = self._servers(user)
        if not servers:
            raise RuntimeError(f"the session of {user} ended before it was ready")
        return bool(servers[""]["ready"])

    def _servers(self, user: str) -> dict[str, Any]:
        servers: dict[str, Any] = self._call("GET", f"users/{user}").json()["servers"]
        return servers

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"token {self.token}"}
        return requests.request(method, f"{self.url}/hub/api/{path}", headers=headers, timeout=120, **options)


def api_of(hub: RunningHub) -> HubApi:
    return HubApi(hub.url, hub.admin_token)


class PlainHub:
    """JupyterHub as its documentation sets it up: one process, which starts its proxy itself.

    Parameters
    ----------
    folder : Path
        New folder for its files.
    configuration : Mapping
        Sections and traits beside those that say where it listens and who may ask it.
    api_ip : str
        Where sessions find it.
    environment : Mapping[str, str], optional
        Added to the tests' own.
    """

    def __init__(
        self,
        folder: Path,
        configuration: Mapping[str, Mapping[str, Any]],
        api_ip: str = "127.0.0.1",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        port, api_port, proxy_port = free_ports(3)
        self.api = HubApi(f"http://127.0.0.1:{port}", secrets.token_hex(16))
        folder.mkdir(parents=True, exist_ok=True)
        common: dict[str, dict[str, Any]] = {
            "JupyterHub": {
                "bind_url": self.api.url,
                "hub_bind_url": f"http://{api_ip}:{api_port}",
                "authenticator_class": "dummy",
                "allow_named_servers": True,
                "services": [{"name": _KEEPER, "api_token": self.api.token}],
                "load_roles": [{"name": _KEEPER, "scopes": _SCOPES, "services": [_KEEPER]}],
            },
            "Authenticator": {"allow_all": True},
            "ConfigurableHTTPProxy": {"api_url": f"http://127.0.0.1:{proxy_port}"},
        }
        sections = {name: {**common.get(name, {}), **configuration.get(name, {})} for name in {*common, *configuration}}
        file = folder / "jupyterhub_config.json"
        file.write_text(json.dumps(sections, indent=1))
        # The hub finds its proxy's program, and starts sessions' programs, by the search path.
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        command = [sys.executable, "-m", "jupyterhub", "-f", str(file)]
        self._daemon = Daemon("plain hub", command, folder / "plain.log", {**(environment or {}), "PATH": path}, folder)

    @property
    def log(self) -> Path:
        return self._daemon.log

    def start(self) -> PlainHub:
        """Start it, and return when it answers through its proxy."""
        self._daemon.start()
        self._daemon.wait_ready(lambda: http_status(f"{self.api.url}/hub/api/") == 200, 60)
        return self

    def stop(self) -> None:
        """Stop it, its proxy and its sessions."""
        self._daemon.stop(seconds=60)


@contextmanager
def plain_hub(
    folder: Path,
    configuration: Mapping[str, Mapping[str, Any]],
    api_ip: str = "127.0.0.1",
    environment: Mapping[str, str] | None = None,
) -> Iterator[PlainHub]:
    """Yield a plain hub that answers; stop it at the end."""
    hub = PlainHub(folder, configuration, api_ip, environment)
    try:
        yield hub.start()
    finally:
        hub.stop()


def in_turns(round_number: int, sides: Sequence[str]) -> Sequence[str]:
    """Return the order of a round: each side goes first in every other one."""
    return sides if round_number % 2 == 0 else sides[::-1]
