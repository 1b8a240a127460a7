"""The keeper's bell: a named pipe that wakes it, and that shows whether there is one."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time

from springtide.queues.local.machine import Spool
from springtide.queues.local.processes import MARK_VARIABLE

_READY_WITHIN_S = 3.0
_LOOK_S = 0.02


def ring(spool: Spool) -> None:
    """Wake the keeper, or start one where there is none. Never fails: what is in the database is not lost by it."""
    with contextlib.suppress(OSError):
        if spool.database.exists() and not _ring(spool):
            start_keeper(spool)


def ensure_keeper(spool: Spool) -> None:
    """Have a keeper, and wait a moment until it has seen after the jobs of one that died."""
    with contextlib.suppress(OSError):
        if _ring(spool):
            return
        start_keeper(spool)
        deadline = time.monotonic() + _READY_WITHIN_S
        while not _ring(spool) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)


def start_keeper(spool: Spool) -> None:
    """Start a keeper in the background; where one is there already, the new one ends by itself."""
    run_detached(spool, "springtide.queues.local.keeper", str(spool.folder))


def run_detached(spool: Spool, module: str, *arguments: str) -> int:
    """Return the number of a new process in a session of its own, which nobody's end of input or terminal ends."""
    # Late: most commands find a keeper, and are to start quickly.
    import subprocess

    # -P: the folder one happens to be in is no place to take modules from.
    argv = [sys.executable, "-P", "-m", module, *arguments]
    # Whoever submits from inside a job does not make the keeper a part of it.
    environment = {name: value for name, value in os.environ.items() if name != MARK_VARIABLE}
    with spool.log.open("ab") as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=environment,
            start_new_session=True,
            umask=0o077,
        )
    # Whoever started it may end first, or reaps all its children at once.
    process.returncode = 0
    return process.pid


def open_bell(spool: Spool) -> int:
    """Return the keeper's end of the pipe."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(spool.bell, 0o600)
    # Both ends: a pipe that nobody writes to would be at its end all the time.
    return os.open(spool.bell, os.O_RDWR | os.O_NONBLOCK)


def is_answered(spool: Spool) -> bool:
    """Whether a keeper listens; wakes it."""
    return _ring(spool)


def _ring(spool: Spool) -> bool:
    try:
        descriptor = os.open(spool.bell, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False
        raise
    with contextlib.suppress(BlockingIOError):
        os.write(descriptor, b"!")
    os.close(descriptor)
    return True
