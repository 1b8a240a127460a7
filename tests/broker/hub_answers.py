"""What the broker asks of a hub, answered: each token is its owner's name. The end-to-end tests have a real hub."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from springtide.broker.scopes import READ, SUBMIT, USE
from tests.broker.serving import PREFIX
from tests.jobs.labs import JobsLab
from tests.support.network import http_status
from tests.support.processes import Daemon


class HubAnswers(BaseHTTPRequestHandler):
    """Says of each token that its owner has its name."""

    def do_GET(self) -> None:
        name = self.headers["Authorization"].removeprefix("token ")
        body = json.dumps({"kind": "user", "name": name, "groups": [], "scopes": [USE, SUBMIT, READ]})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def hub_answers() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), HubAnswers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hub/api"
        finally:
            server.shutdown()
            thread.join()


def broker_process(lab: JobsLab, api: str, port: int) -> Daemon:
    """Return the broker's own program, to be started."""
    environment = {
        "SPRINGTIDE_LAB": str(lab.lab_file),
        "SPRINGTIDE_STATE": str(lab.folder / "state"),
        "JUPYTERHUB_API_URL": api,
        "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
        "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{port}{PREFIX}",
        "TEST_COMMANDS": str(lab.folder / "queue-of-this-machine" / "bin"),
    }
    command = [sys.executable, "-m", "tests.broker.killed_service"]
    return Daemon("broker", command, lab.folder / "broker.log", environment)


def start(broker: Daemon, port: int) -> None:
    """Start it, and return when it answers."""
    broker.start()
    broker.wait_ready(lambda: http_status(f"http://127.0.0.1:{port}{PREFIX}health") == 200, 30)
