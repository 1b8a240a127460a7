"""The proxy's routes, and the API by which the hub sets them: those of configurable-http-proxy, with three repairs.

The stock package stamps activity with the local time and without a zone, which the hub reads as UTC: measured in
Paris, sessions look active two hours longer than they were. It compares the token in time that depends on the token,
and writes a wrong one to the log.
"""

from __future__ import annotations

import hmac
import logging
from datetime import UTC, datetime
from typing import Any

from configurable_http_proxy.configproxy import PythonProxy
from configurable_http_proxy.handlers import APIHandler
from tornado.web import Application, HTTPError

log = logging.getLogger("springtide.proxy")


class RouteTable(PythonProxy):
    """Which path leads to which target, and when each was last used."""

    def __init__(self, auth_token: str) -> None:
        # The package says each change twice.
        quiet = logging.getLogger("springtide.proxy.routes")
        quiet.setLevel(logging.WARNING)
        super().__init__({"auth_token": auth_token, "log": quiet})
        self.api_app = Application([(r"^/api/routes(/.*)?$", RoutesHandler, {"proxy": self})])

    def add_route(self, path: str, data: dict[str, Any]) -> None:
        """Lead `path` and all below it to ``data["target"]``."""
        super().add_route(path, data)
        log.info("route %s leads to %s", path, data["target"])

    def remove_route(self, path: str) -> None:
        """Forget a route."""
        super().remove_route(path)
        log.info("route %s removed", path)

    def update_last_activity(self, prefix: str) -> None:
        """Note that the route `prefix` is in use now."""
        route = self._routes.get(prefix)
        if route is not None:
            route["last_activity"] = datetime.now(UTC)

    def get_routes(self, inactive_since: datetime | None = None) -> dict[str, dict[str, Any]]:
        """Return all routes, or those unused since a time (in UTC where it names no zone)."""
        if inactive_since is not None and inactive_since.tzinfo is None:
            inactive_since = inactive_since.replace(tzinfo=UTC)
        routes: dict[str, dict[str, Any]] = super().get_routes(inactive_since)
        return routes


class RoutesHandler(APIHandler):
    """``/api/routes`` for whoever knows the token."""

    def is_authorized(self) -> None:
        """Raise a 403 unless the request carries the token."""
        scheme, _, token = self.request.headers.get("Authorization", "").strip().partition(" ")
        known = self.proxy.auth_token.encode()
        if scheme.lower() != "token" or not hmac.compare_digest(token.strip().encode(), known):
            raise HTTPError(403)

    def on_finish(self) -> None:
        """Log what was refused; what was done is logged where it is done."""
        level = logging.DEBUG if self.get_status() < 400 else logging.WARNING
        log.log(level, "API: %s %s answered %s", self.request.method, self.request.path, self.get_status())
