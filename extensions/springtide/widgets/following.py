"""What widgets do beside the notebook: work that ends with its widget, and one stream of changes for each table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from springtide.errors import SpringtideError
from springtide.jobs import loop
from springtide.jobs.desk import Desk
from springtide.jobs.looking import Look
from springtide.jobs.remote import RemoteDesk

Listener = Callable[[list[Look], str], None]
_PAUSE_S = 5.0


class Works:
    """Coroutines on the loop of jobs; none outlives the widget that closes this."""

    def __init__(self) -> None:
        self._futures: set[Future[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run something that ends with this at the latest."""
        future = loop.start(coroutine)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)

    def close(self) -> None:
        """End all that was started."""
        for future in list(self._futures):
            future.cancel()

    @property
    def closed(self) -> bool:
        """Whether nothing of it runs any more."""
        return not self._futures


class Follower(Works):
    """Tells a listener of a desk's jobs until it is closed; what goes wrong is told as words, and tried again."""

    def __init__(self, desk: Desk | RemoteDesk, listener: Listener, *, limit: int) -> None:
        super().__init__()
        self._desk, self._listener, self._limit = desk, listener, limit
        self.start(self._follow())

    async def _follow(self) -> None:
        while True:
            try:
                async for looks in self._desk.changes(limit=self._limit):
                    self._listener(looks, "")
            except SpringtideError as error:
                self._listener([], str(error))
            await asyncio.sleep(_PAUSE_S)
