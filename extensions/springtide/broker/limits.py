"""How much one user may ask for: requests in a second, bytes in a request, files at a time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from springtide.broker.problems import Refusal, response_to_refusal


@dataclass(frozen=True)
class Limits:
    """The broker's limits for each user."""

    requests_per_s: float = 50.0
    requests_at_once: float = 200.0
    submissions_per_s: float = 10.0
    submissions_at_once: float = 200.0
    body_bytes: int = 2**20
    upload_bytes: int = 2**25
    uploads_bytes: int = 2**30
    """Of all files that wait for jobs together."""
    streams: int = 16


@dataclass
class Bucket:
    """Fills with time, and is emptied by requests."""

    per_s: float
    most: float
    left: float = field(init=False)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        self.left, self.at = self.most, time.monotonic()

    def take(self, count: float = 1.0) -> float:
        """Take from it; return 0, or after how many seconds there is enough."""
        now = time.monotonic()
        self.left, self.at = min(self.most, self.left + (now - self.at) * self.per_s), now
        if self.left >= count:
            self.left -= count
            return 0.0
        return (count - self.left) / self.per_s


@dataclass
class Guard:
    """Counts what users ask for. One per broker."""

    limits: Limits
    _buckets: dict[tuple[str, str], Bucket] = field(default_factory=dict)
    _streams: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def request(self, user: str) -> None:
        """Count a request.

        Raises
        ------
        Refusal
            429, with when to come again.
        """
        self._take("request", user, self.limits.requests_per_s, self.limits.requests_at_once)

    def submission(self, user: str, count: int = 1) -> None:
        """Count submissions; raises as `request` does."""
        self._take("submission", user, self.limits.submissions_per_s, self.limits.submissions_at_once, count)

    def _take(self, kind: str, user: str, per_s: float, most: float, count: int = 1) -> None:
        bucket = self._buckets.setdefault((kind, user), Bucket(per_s, most))
        wait_s = bucket.take(min(count, most))
        if wait_s:
            raise Refusal(
                429,
                "TooManyRequests",
                f"Too many requests of this kind: at most {per_s:g} a second in the long run.",
                {"Retry-After": str(max(1, round(wait_s + 0.5)))},
            )

    @contextmanager
    def stream(self, user: str) -> Iterator[None]:
        """Count an answer that goes on.

        Raises
        ------
        Refusal
            429.
        """
        self.check_stream(user)
        self._streams[user] += 1
        try:
            yield
        finally:
            self._streams[user] -= 1

    def check_stream(self, user: str) -> None:
        """Refuse one more answer that goes on, where there are too many."""
        if self._streams[user] >= self.limits.streams:
            raise Refusal(429, "TooManyRequests", f"At most {self.limits.streams} streams at a time.")


class _TooLarge(Exception):
    """A body is larger than it may be."""


class BodyLimit:
    """Middleware: no request's body is read beyond its limit."""

    def __init__(self, app: ASGIApp, limits: Limits, uploads: str) -> None:
        self._app, self._limits, self._uploads = app, limits, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, counting its bytes."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        most = self._limits.upload_bytes if self._uploads in scope["path"] else self._limits.body_bytes
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        count, begun = 0, False

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > most:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            if announced.isdigit() and int(announced) > most:
                raise _TooLarge
            await self._app(scope, counted, noted)
        except _TooLarge:
            if begun:
                raise
            detail = f"The request is larger than {most // 2**10} KiB."
            refusal = Refusal(413, "TooLarge", detail, {"Connection": "close"})
            await response_to_refusal(refusal)(scope, receive, send)
