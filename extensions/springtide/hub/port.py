"""How a batch session tells the hub its port: a handler that takes a port, once, from the session itself.

batchspawner 1.3 registers a handler that sets *any* attribute of a spawner from the session's JSON; with it a notebook
can change the command that the hub runs next. Ours takes ``{"port": 1024…65535}`` and nothing else.
"""

from __future__ import annotations

import json

# Imported for its side effect, which `replace_port_handler` undoes: it registers its own handler.
import batchspawner.api
from jupyterhub.apihandlers import APIHandler, default_handlers
from tornado import web

_LOWEST_PORT = 1024
_HIGHEST_PORT = 65535


class PortHandler(APIHandler):
    """Takes the port a batch session listens on."""

    def check_xsrf_cookie(self) -> None:
        """Skip the check: only a session's own token is accepted here, never a cookie."""

    def post(self) -> None:
        """Accept ``{"port": n}`` once, with the token of the session that reports."""
        token = self.get_auth_token()
        user = self.current_user
        if not token or user is None or not hasattr(user, "spawners"):
            raise web.HTTPError(403, "Only a session may report its port, with its own token.")
        spawner = next((one for one in user.spawners.values() if _owns(one, token)), None)
        if spawner is None:
            raise web.HTTPError(403, "This token belongs to no session that is starting.")
        port = self._port()
        if not spawner.report_port(port):
            raise web.HTTPError(409, "This session has already reported another port.")
        self.set_status(201)
        self.finish(json.dumps({"message": "port accepted"}))

    def _port(self) -> int:
        body = self.get_json_body()
        if not isinstance(body, dict) or set(body) != {"port"}:
            raise web.HTTPError(400, 'The body must be {"port": number} and nothing else.')
        port = body["port"]
        if type(port) is not int or not _LOWEST_PORT <= port <= _HIGHEST_PORT:
            raise web.HTTPError(400, f"“port” must be a whole number from {_LOWEST_PORT} to {_HIGHEST_PORT}.")
        return port


def _owns(spawner: object, token: str) -> bool:
    owns_token = getattr(spawner, "owns_token", None)
    return bool(owns_token and owns_token(token))


def replace_port_handler() -> None:
    """Put `PortHandler` where batchspawner put its own. May run many times."""
    ours = (r"/api/batchspawner", PortHandler)
    kept = [
        entry for entry in default_handlers if entry[1] not in (batchspawner.api.BatchSpawnerAPIHandler, PortHandler)
    ]
    default_handlers[:] = [*kept, ours]
