"""Login shells that start pyenv, as those of accounts on some machines do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = Path.home() / ".pyenv" / "shims" / ".pyenv-shim"
_LOOK_EVERY_S = 1.0
# It is held for less than a second, on a busy machine for some.
_STALE_AFTER_S = 5.0


@contextmanager
def no_stale_locks() -> Iterator[None]:
    """Remove pyenv's lock whenever it is stale.

    Tests kill jobs while their login shells still start. The lock that such a shell leaves behind would let each
    further login shell of the account, and so each job, wait for a minute.
    """
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(over,), name="stale locks of pyenv", daemon=True)
    watch.start()
    yield
    over.set()
    watch.join()


def _watch(over: threading.Event) -> None:
    while not over.wait(_LOOK_EVERY_S):
        with suppress(FileNotFoundError):
            if time.time() - _LOCK.stat().st_mtime > _STALE_AFTER_S:
                _LOCK.unlink()
