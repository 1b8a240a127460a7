"""Ends what a process session leaves behind: kernels of a killed server, programs that a notebook detached.

Whatever a session starts inherits a variable of its environment, however deep and whatever its parent becomes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

MARK = "SPRINGTIDE_SESSION"
"""The variable: its value is one session's own."""
_SIGNALS = ((signal.SIGTERM, 3.0), (signal.SIGKILL, 2.0))


async def end_marked(mark: str, uid: int) -> None:
    """End the processes of `uid` that carry `mark`: those that do not end when asked are killed."""
    for number, patience_s in _SIGNALS:
        for pid in _marked(mark, uid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        give_up_at = time.monotonic() + patience_s
        while _marked(mark, uid):
            if time.monotonic() > give_up_at:
                break
            await asyncio.sleep(0.05)
        else:
            return


def _marked(mark: str, uid: int) -> list[int]:
    if not mark:
        return []
    wanted = f"{MARK}={mark}".encode()
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if _owner(pid) == uid and wanted in _environment(pid).split(b"\0")]


def _owner(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


def _environment(pid: int) -> bytes:
    """Return the variables a process was started with; nothing for one that has ended."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
