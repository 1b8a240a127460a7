"""Configuration of a small real JupyterHub with our pages, spawn form and places, for the tests of the pages.

Loaded by ``jupyterhub -f``; the folder, ports and container facts come from the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from jupyterhub.apihandlers import default_handlers
from jupyterhub.spawner import SimpleLocalProcessSpawner, SpawnException

from springtide.errors import OptionsError
from springtide.hub import pages, progress
from springtide.hub.options import as_user_options, validate_options
from springtide.hub.places import ContainerFacts, Places, QueueFacts, handlers
from springtide.hub.spawn_form import render_spawn_form
from springtide.lab.models import Lab

FOLDER = Path(os.environ["PAGES_TEST_FOLDER"])
PORT, API_PORT, PROXY_PORT = (int(number) for number in os.environ["PAGES_TEST_PORTS"].split())
LAB = Lab.model_validate(json.loads((FOLDER / "lab.json").read_text()))

SESSION = """
import http.server, os, urllib.parse
address = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
class Session(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the session")
http.server.HTTPServer((address.hostname, address.port), Session).serve_forever()
"""


def said(name: str) -> dict[str, Any]:
    """Return what the test has written to the file of that name: it plays Docker and the scheduler."""
    answer: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return answer


def look_at_containers() -> ContainerFacts:
    return ContainerFacts(**said("containers"))


async def look_at_queue(site: str) -> QueueFacts:
    return QueueFacts(**said(f"queue-{site}"))


places = Places(LAB, look_at_containers, look_at_queue)


def shown(message: str, status_code: int = 400) -> SpawnException:
    error = SpawnException(message, reason="options", status_code=status_code)
    error.jupyterhub_message = message
    return error


class TestSpawner(SimpleLocalProcessSpawner):
    """Starts tiny servers; profiles called slow wait in start, profiles called failing fail."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.apply_user_options = self._check
        self.options_from_form = self._from_form
        self.options_form = self._form
        self.home_dir_template = str(FOLDER / "homes" / "{username}")
        self.cmd = [sys.executable, "-c", SESSION]
        self.default_url = "/"

    @property
    def groups(self) -> list[str]:
        return [group.name for group in self.user.groups]

    async def _form(self, _spawner: Any) -> str:
        visit = pages.visit()
        return render_spawn_form(
            LAB,
            language=visit.language,
            groups=self.groups,
            places=await places.states(self.groups),
            defaults=visit.posted or self.user_options,
            server_name=visit.server_name,
        )

    def _from_form(self, form: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return as_user_options(validate_options(LAB, form, self.groups, language=pages.visit().language))
        except OptionsError as error:
            raise shown(str(error)) from error

    def _check(self, _spawner: Any, options: Mapping[str, Any]) -> None:
        try:
            validate_options(LAB, options, self.groups, language=pages.visit().language)
        except OptionsError as error:
            self.orm_spawner.user_options = {}
            raise shown(str(error)) from error

    async def start(self) -> Any:
        profile = str(self.user_options.get("profile"))
        if profile == "failing":
            raise shown("The node has no disk left. <b>Tell</b> the administrator.", 500)
        while profile == "slow" and not (FOLDER / "go").exists():
            await asyncio.sleep(0.1)
        return await super().start()

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        yield {"progress": 10, "message": "Waiting in the queue: all suitable cores are taken."}


pages.install()
pages.install()
default_handlers[:0] = [*handlers(places), *progress.handlers()]

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - JupyterHub defines it
c.JupyterHub.template_paths = pages.template_paths()
c.JupyterHub.template_vars = pages.template_vars(LAB)
c.JupyterHub.bind_url = f"http://127.0.0.1:{PORT}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{API_PORT}"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{PROXY_PORT}"
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.cookie_secret = os.urandom(32)
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {"boss"}
c.DummyAuthenticator.password = "open"
c.JupyterHub.allow_named_servers = True
c.JupyterHub.spawner_class = TestSpawner
c.JupyterHub.load_groups = {"gpu-team": {"users": ["gina"]}}
