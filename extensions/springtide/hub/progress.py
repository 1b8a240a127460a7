"""How a start is getting on, in one short answer: for pages behind a proxy that does not pass on event streams.

JupyterHub tells progress as server-sent events. configurable-http-proxy from PyPI reads an answer to its end before it
passes it on, so that a page sees nothing of a stream until the start is over. The page asks here meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import Any

from jupyterhub.apihandlers import APIHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import format_exception
from tornado import web

GATHERING_S = 0.4
"""How long to listen to a spawner's progress, which begins with where it stands."""


class ProgressHandler(APIHandler):
    """``GET /hub/api/springtide/progress/USER[/SERVER]``: the last event of a start."""

    @needs_scope("read:servers")
    async def get(self, user_name: str, server_name: str = "") -> None:
        """Answer ``{"pending": bool, "event": {…}}`` with an event as JupyterHub's stream has them."""
        user = self.find_user(user_name)
        if user is None or server_name not in user.spawners:
            raise web.HTTPError(404)
        spawner = user.spawners[server_name]
        event = await _last_event(spawner) if spawner.pending == "spawn" else _final_event(spawner)
        self.set_header("Cache-Control", "no-store")
        self.finish({"pending": spawner.pending == "spawn", "event": event})


async def _last_event(spawner: Any) -> dict[str, Any]:
    """Return the newest of the events that a new listener gets at once."""
    newest: dict[str, Any] = {}
    # The generator ends when its start does; until then it waits for news, which is not waited for here.
    with suppress(TimeoutError):
        async with asyncio.timeout(GATHERING_S), aclosing(spawner._generate_progress()) as events:
            async for event in events:
                newest.update(event)
    return newest


def _final_event(spawner: Any) -> dict[str, Any]:
    """Return how a start that is over has ended."""
    if spawner.ready:
        return {"progress": 100, "ready": True}
    future = spawner._spawn_future
    if future is None or not future.done() or future.cancelled() or not future.exception():
        return {}
    message, html_message = format_exception(future.exception())
    failed = {"progress": 100, "failed": True, "message": message}
    return {**failed, "html_message": html_message} if html_message else failed


def handlers() -> list[tuple[str, type[ProgressHandler]]]:
    """Return the handlers to register under the hub's prefix, before its own catch-all of ``/api/``."""
    return [
        (r"/api/springtide/progress/([^/]+)", ProgressHandler),
        (r"/api/springtide/progress/([^/]+)/([^/]+)", ProgressHandler),
    ]
