"""What a site has, asked for seldom: nodes and limits change by the day, and old ones are better than none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from springtide.errors import QueueUnreachable
from springtide.queues.base import Queue
from springtide.queues.model import Node, QueueLimits

_RETRY_S = 10.0
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class SiteFacts:
    """What the site has, ``age_s`` seconds ago; ``outage`` says why there is nothing newer."""

    nodes: tuple[Node, ...]
    queues: tuple[QueueLimits, ...]
    age_s: float = 0.0
    outage: str = ""


@dataclass
class SiteCache:
    """The last good answer about nodes and queues."""

    queue: Queue
    _facts: SiteFacts | None = None
    answered_at: float = 0.0
    _tried_at: float = float("-inf")
    _outage: str = ""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def facts(self, within_s: float) -> SiteFacts:
        """Return what the site has, at most `within_s` seconds old unless the scheduler cannot be asked.

        Raises
        ------
        QueueUnreachable
            If it has never answered yet.
        """
        async with self._lock:
            now = time.monotonic()
            old = self._facts is None or now - self.answered_at > within_s
            if old and now - self._tried_at >= (_RETRY_S if self._outage else 0.0):
                await self._ask()
        if self._facts is None:
            raise QueueUnreachable(self._outage)
        return replace(self._facts, age_s=time.monotonic() - self.answered_at, outage=self._outage)

    async def _ask(self) -> None:
        self._tried_at = time.monotonic()
        try:
            self._facts = SiteFacts(await self.queue.nodes(), await self.queue.queues())
        except Exception as error:
            self._outage = words_of(error)
            return
        self.answered_at, self._outage = time.monotonic(), ""


async def understood(asking: Awaitable[_Answer]) -> _Answer:
    """Return what a dialect made of an answer.

    Raises
    ------
    QueueUnreachable
        Also if the answer could not be read.
    """
    try:
        return await asking
    except QueueUnreachable:
        raise
    except Exception as error:
        raise QueueUnreachable(words_of(error)) from error


def words_of(error: Exception) -> str:
    """Return what to say of a question that brought no answer: an answer that cannot be read is none."""
    if isinstance(error, QueueUnreachable):
        return error.message or "the scheduler did not answer"
    return f"the scheduler's answer cannot be read ({error or type(error).__name__})"
