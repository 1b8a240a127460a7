"""One stream of changes for all widgets of a process, open while somebody listens."""

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


class Follower:
    """Tells a listener of a desk's jobs until it is closed; what goes wrong is told as words, and tried again."""

    def __init__(self, desk: Desk | RemoteDesk, listener: Listener, *, limit: int) -> None:
        self._desk, self._listener, self._limit = desk, listener, limit
        self._futures: set[Future[Any]] = set()
        self.start(self._follow())

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

    async def _follow(self) -> None:
        while True:
            try:
                async for looks in self._desk.changes(limit=self._limit):
                    self._listener(looks, "")
            except SpringtideError as error:
                self._listener([], str(error))
            await asyncio.sleep(_PAUSE_S)
