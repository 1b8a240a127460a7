"""Those who are told of changes: each has its own place for what it has not read yet, one entry a job.

So a slow one neither holds up the others nor gathers more than one sight of each job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Subscriber(Generic[T]):
    """One who listens, to some jobs or to all (`wanted` is None)."""

    wanted: frozenset[str] | None
    pending: dict[str, T] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, job_id: str, sight: T) -> None:
        """Put `sight` in the place of any older one of the same job."""
        if self.wanted is None or job_id in self.wanted:
            self.pending[job_id] = sight
            self._news.set()

    def __aiter__(self) -> Subscriber[T]:
        return self

    async def __anext__(self) -> tuple[str, T]:
        while not self.pending:
            self._news.clear()
            await self._news.wait()
        job_id = next(iter(self.pending))
        return job_id, self.pending.pop(job_id)


@dataclass
class Subscribers(Generic[T]):
    """All who listen to one monitor, and what they were told last."""

    _all: list[Subscriber[T]] = field(default_factory=list)
    _told: dict[str, object] = field(default_factory=dict)

    @contextmanager
    def subscribe(
        self, wanted: frozenset[str] | None, sights: Mapping[str, tuple[object, T]]
    ) -> Iterator[Subscriber[T]]:
        """Add one who listens and tell him what is known now; he is removed at the end of the block."""
        subscriber = Subscriber[T](wanted)
        for job_id, (_, sight) in sights.items():
            subscriber.tell(job_id, sight)
        if not self._all:
            self._told = {job_id: look for job_id, (look, _) in sights.items()}
        self._all.append(subscriber)
        try:
            yield subscriber
        finally:
            self._all.remove(subscriber)

    def only(self, subscriber: Subscriber[T]) -> bool:
        """Whether nobody else listens."""
        return self._all == [subscriber]

    def tell(self, sights: Callable[[], Mapping[str, tuple[object, T]]], *, complete: bool) -> None:
        """Tell everybody which of `sights` changed; they are not even put together where nobody listens.

        `complete`: whether what is not among them is over, and may be forgotten.
        """
        if not self._all:
            return
        now = sights()
        for job_id, (look, sight) in now.items():
            if job_id not in self._told or self._told[job_id] != look:
                for subscriber in self._all:
                    subscriber.tell(job_id, sight)
        looks = {job_id: look for job_id, (look, _) in now.items()}
        self._told = looks if complete else {**self._told, **looks}
