"""Who waits for changes of jobs, and what has changed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from springtide.jobs.looking import Look

_MOST_WAITING = 1000


class News:
    """Changes of jobs, to whoever listens. One per broker; all of it in one event loop."""

    def __init__(self) -> None:
        self._listening: dict[str, set[asyncio.Queue[Look]]] = defaultdict(set)
        self.moved = asyncio.Event()
        """Set when somebody begins to listen, or a job has just been submitted: the follower looks at once."""

    @contextmanager
    def of(self, user: str) -> Iterator[asyncio.Queue[Look]]:
        """Yield a queue of the changes of a user's jobs; what nobody takes from a full one is dropped, oldest first."""
        queue: asyncio.Queue[Look] = asyncio.Queue(_MOST_WAITING)
        self._listening[user].add(queue)
        self.moved.set()
        try:
            yield queue
        finally:
            self._listening[user].discard(queue)
            if not self._listening[user]:
                del self._listening[user]

    def tell(self, look: Look) -> None:
        """Pass on a change."""
        for queue in self._listening.get(look.run.user, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(look)

    def listeners(self, user: str = "") -> int:
        """Return how many listen (for the jobs of a user)."""
        return len(self._listening.get(user, ())) if user else sum(map(len, self._listening.values()))
