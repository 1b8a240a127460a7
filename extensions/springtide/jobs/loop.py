"""One event loop in a thread of its own: a notebook has one already, and a script has none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def start(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Run a coroutine beside everything else; return its future."""
    return asyncio.run_coroutine_threadsafe(coroutine, _running())


def call(coroutine: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
    """Return what a coroutine returns, waiting for it; who interrupts the wait ends it.

    Raises
    ------
    TimeoutError
        If it takes longer than `timeout_s`.
    """
    future = start(coroutine)
    try:
        return future.result(timeout_s)
    except BaseException:
        future.cancel()
        raise


def _running() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="springtide jobs", daemon=True).start()
        return _loop
