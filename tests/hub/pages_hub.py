"""A real JupyterHub with our pages and tiny sessions, for the tests of the pages."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from playwright.async_api import Page

from tests.support.hub import BrowserlessLogin
from tests.support.network import free_ports, http_status
from tests.support.processes import Daemon

GIB = 2**30
PASSWORD = "open"
LAB: dict[str, Any] = {
    "springtide": 1,
    "lab": {"name": "Laboratoire Σ"},
    "sites": {
        "here": {"kind": "local"},
        "desk": {"kind": "local", "runtime": "host", "label": {"en": "The workstation", "fr": "La station"}},
        "cluster": {"kind": "slurm", "label": {"en": "Batch cluster", "fr": "Grappe de calcul"}},
    },
    "profiles": [
        {
            "name": "small",
            "site": "here",
            "label": {"en": "Small notebook", "fr": "Petit carnet"},
            "description": {
                "en": "For tutorials and quick looks at data.",
                "fr": "Pour les tutoriels et les coups d’œil aux données.",
            },
            "cpus": {"default": 1, "min": 1, "max": 4},
            "memory": {"default": "2G", "min": "1G", "max": "8G"},
        },
        {
            "name": "node",
            "site": "cluster",
            "label": {"en": "Cluster node", "fr": "Nœud de calcul"},
            "description": {
                "en": "For analyses that need many cores for some hours.",
                "fr": "Pour les analyses qui demandent beaucoup de cœurs pendant quelques heures.",
            },
            "cpus": {"default": 4, "min": 1, "max": 16},
            "memory": {"default": "8G", "min": "1G", "max": "64G"},
            "walltime": {"default": "2h", "min": "10m", "max": "1d"},
            "queues": ["batch", "long"],
        },
        {"name": "gpu", "site": "here", "label": "GPU", "groups": ["gpu-team"]},
        {"name": "slow", "site": "desk", "label": {"en": "Long queue", "fr": "Longue file"}},
        {"name": "failing", "site": "desk", "label": {"en": "Broken disk", "fr": "Disque cassé"}},
    ],
}
ENGINE: dict[str, Any] = {
    "reachable": True,
    "images": {"base": "ready"},
    "cpus_total": 16,
    "memory_total_bytes": 32 * GIB,
    "cpus_used": 3,
    "memory_used_bytes": 6 * GIB,
    "sessions": 3,
}
QUEUE: dict[str, Any] = {"reachable": True, "cores_total": 512, "cores_free": 96, "jobs_waiting": 2}


class PagesHub:
    """The hub; `say` plays Docker and the scheduler."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"

    def say(self, name: str, facts: dict[str, Any]) -> None:
        """Let the probe of that name see `facts` from now on."""
        new = self.folder / f"{name}.json.new"
        new.write_text(json.dumps(facts))
        new.replace(self.folder / f"{name}.json")

    def let_go(self) -> None:
        """End the waiting of the profile called slow."""
        (self.folder / "go").touch()

    def hold(self) -> None:
        """Let sessions of the profile called slow wait again."""
        (self.folder / "go").unlink(missing_ok=True)

    def login(self, user: str, language: str = "en") -> BrowserlessLogin:
        """Log in without a browser."""
        visitor = BrowserlessLogin(self.url)
        visitor.headers["Accept-Language"] = language
        visitor.get("/hub/login").raise_for_status()
        answer = visitor.submit("/hub/login", {"username": user, "password": PASSWORD}, allow_redirects=False)
        assert answer.status_code == 302, answer.text
        visitor.get("/hub/home").raise_for_status()
        return visitor

    def api(self, visitor: BrowserlessLogin, method: str, path: str, body: object = None) -> requests.Response:
        """Call the hub's API as the pages do."""
        return visitor.request(method, f"/hub/api/{path}", params={"_xsrf": visitor.xsrf_token}, json=body)

    async def login_in(self, page: Page, user: str) -> None:
        """Log in with a browser."""
        await page.goto(f"{self.url}/hub/login")
        await page.fill("#username_input", user)
        await page.fill("#password_input", PASSWORD)
        await page.click("#login_submit")
        await page.wait_for_url(lambda url: "login" not in url)


@contextmanager
def running_pages_hub(folder: Path) -> Iterator[PagesHub]:
    """Yield a hub that has no sessions yet."""
    ports = free_ports(3)
    hub = PagesHub(folder, ports[0])
    (folder / "lab.json").write_text(json.dumps(LAB))
    hub.say("containers", ENGINE)
    hub.say("queue-cluster", QUEUE)
    config = Path(__file__).with_name("pages_config.py")
    environment = {"PAGES_TEST_FOLDER": str(folder), "PAGES_TEST_PORTS": " ".join(map(str, ports))}
    # The hub finds the proxy's program on the path.
    environment["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    command = [sys.executable, "-m", "jupyterhub", "-f", str(config)]
    daemon = Daemon("jupyterhub", command, folder / "hub.log", environment, folder)
    daemon.start()
    try:
        daemon.wait_ready(lambda: http_status(f"{hub.url}/hub/api/") == 200, 60)
        yield hub
    finally:
        daemon.stop(seconds=30)
