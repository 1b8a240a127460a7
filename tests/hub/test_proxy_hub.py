"""A real JupyterHub and its sessions behind the proxy."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hub.proxy_target import TOKEN, RunningProxy, running_proxy
from tests.support.hub import BrowserlessLogin
from tests.support.kernels import SessionClient
from tests.support.network import free_port, http_status
from tests.support.processes import Daemon
from tests.support.waiting import wait_until

CONFIGURATION = """
c.JupyterHub.bind_url = {url!r}
c.JupyterHub.hub_bind_url = {hub_url!r}
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {homes!r} + "/{{username}}"
c.Spawner.default_url = "/api"
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.last_activity_interval = 2
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = {api_url!r}
c.ConfigurableHTTPProxy.auth_token = {token!r}
c.Spawner.args = ["--allow-root", "--ZMQChannelsWebsocketConnection.iopub_data_rate_limit=1e9"]
# Starting a session answers at once, and its progress is read while it starts.
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 0}}
"""


@dataclass
class HubBehindProxy:
    proxy: RunningProxy
    daemon: Daemon

    def login(self, user: str) -> BrowserlessLogin:
        visitor = BrowserlessLogin(self.proxy.url)
        visitor.get("/hub/login").raise_for_status()
        answer = visitor.submit("/hub/login", {"username": user, "password": "any"}, allow_redirects=False)
        assert answer.status_code == 302
        visitor.get("/hub/home").raise_for_status()
        return visitor


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubBehindProxy]:
    folder = tmp_path_factory.mktemp("hub")
    hub_url = f"http://127.0.0.1:{free_port()}"
    with running_proxy(folder, f"--error-target={hub_url}/hub/error") as proxy:
        configuration = folder / "jupyterhub_config.py"
        configuration.write_text(
            CONFIGURATION.format(
                url=proxy.url,
                hub_url=hub_url,
                homes=str(folder),
                api_url=f"http://127.0.0.1:{proxy.api_port}",
                token=TOKEN,
            )
        )
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
        command = [sys.executable, "-m", "jupyterhub", "-f", str(configuration)]
        daemon = Daemon("jupyterhub", command, folder / "hub.log", environment, folder)
        daemon.start()
        try:
            daemon.wait_ready(lambda: http_status(f"{proxy.url}/hub/api/") == 200, 60)
            yield HubBehindProxy(proxy, daemon)
        finally:
            daemon.stop(seconds=30)


def test_a_kernel_runs_in_a_session_behind_the_proxy(hub: HubBehindProxy) -> None:
    visitor = hub.login("alice")
    own = {"_xsrf": visitor.xsrf_token}
    token = visitor.post("/hub/api/users/alice/tokens", json={}, params=own).json()["token"]
    visitor.post("/hub/api/users/alice/server", params=own).raise_for_status()

    # The spawn page reads its progress while the session starts: no event may wait for the last.
    shown = []
    with visitor.get("/hub/api/users/alice/server/progress", stream=True, params=own) as progress:
        started = time.monotonic()
        for line in progress.iter_lines():
            if line.startswith(b"data: "):
                shown.append((time.monotonic() - started, json.loads(line.removeprefix(b"data: "))))
    assert shown[-1][1]["ready"]
    assert shown[0][0] < shown[-1][0] - 0.2

    session = SessionClient(f"{hub.proxy.url}/user/alice/", token)
    assert session.run_code("print(6 * 7)") == "42\n"
    # Beyond what the stock proxy carries in one message.
    assert len(session.run_code("print('x' * 15_000_000)")) == 15_000_001

    used = hub.proxy.last_activity("/user/alice")[:19]

    def hub_knows() -> bool:
        user = visitor.get("/hub/api/users/alice", params=own).json()
        return str(user["servers"][""]["last_activity"])[:19] >= used

    wait_until(hub_knows, 10, "the hub has read the session's activity from the proxy")
    assert "Traceback" not in hub.proxy.log


def test_a_dead_session_gives_the_hubs_page(hub: HubBehindProxy) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    hub.proxy.lead("/user/bob", nobody)
    answer = hub.login("bob").get("/user/bob/lab?token=c0nf1dential")
    assert answer.status_code == 503
    assert "Your server appears to be down" in answer.text
    assert "c0nf1dential" not in hub.proxy.log + hub.daemon.log.read_text()


def test_a_login_goes_on_after_an_error_page(hub: HubBehindProxy) -> None:
    hub.proxy.lead("/user/carol", f"http://127.0.0.1:{free_port()}")
    visitor = hub.login("carol")
    before = visitor.xsrf_token
    assert visitor.get("/user/carol/lab").status_code == 503
    assert visitor.xsrf_token == before


def test_a_stopped_hub_is_excused(hub: HubBehindProxy) -> None:
    hub.daemon.stop(signal.SIGTERM, 30)
    assert http_status(f"{hub.proxy.url}/hub/home") == 503
