"""A dispatcher on the tests' real Slurm, whose commands can be made to fail one by one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from springtide.errors import QueueUnreachable
from springtide.ledger.records import JobRecord
from springtide.ledger.store import Ledger
from springtide.queues.accounts import Account, UserQueue
from springtide.queues.commands import run_command
from springtide.queues.dispatch import Dispatcher
from springtide.queues.model import JobRequest
from springtide.queues.monitor import Monitor
from springtide.queues.slurm.queue import SlurmQueue

SITE, USER = "cluster", "carol"
SLURM_PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct")


def request(body: str = "sleep 600", name: str = "work", **more: Any) -> JobRequest:
    return JobRequest(body, name, memory_bytes=2**26, shell="/bin/sh", **more)


def myself() -> Account:
    me = pwd.getpwuid(os.geteuid())
    return Account(me.pw_name, me.pw_uid, me.pw_gid, Path(me.pw_dir), "same")


class Commands:
    """A folder of the scheduler's commands, each of which first runs the fault it has been given."""

    def __init__(self, folder: Path, real: Path, programs: Sequence[str] = SLURM_PROGRAMS) -> None:
        self.folder = folder
        self._programs = programs
        folder.mkdir(exist_ok=True)
        for name in programs:
            script = f'#!/bin/sh\nreal={real / name}\nif [ -e "$0.fault" ]; then . "$0.fault"; fi\nexec "$real" "$@"\n'
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)

    def fail(self, fault: str, *programs: str) -> None:
        """Let shell lines run before the command (all commands by default): ``$real "$@"`` is the command itself."""
        for name in programs or self._programs:
            fresh = self.folder / f"{name}.new"
            fresh.write_text(fault + "\n")
            fresh.rename(self.folder / f"{name}.fault")

    def heal(self) -> None:
        for name in self._programs:
            (self.folder / f"{name}.fault").unlink(missing_ok=True)


def dispatcher_at(
    commands: Path, ledger: Ledger, *, grace_s: float = 0.0, ask_again_after_s: float = 0.1, **more: Any
) -> Dispatcher:
    queue = SlurmQueue(commands, run_command)
    user_queue = more.pop("user_queue", None) or UserQueue(queue, myself())
    monitor = Monitor(queue, interval_s=0.2)
    return Dispatcher(SITE, user_queue, monitor, ledger, USER, grace_s, ask_again_after_s, **more)


async def refreshed_until(
    dispatcher: Dispatcher, token: str, done: Callable[[JobRecord], bool], seconds: float = 20
) -> JobRecord:
    """Refresh until the row is as wanted; return it."""
    give_up_at = time.monotonic() + seconds
    while True:
        with contextlib.suppress(QueueUnreachable):
            # The monitor waits a little before it asks a scheduler again that was away.
            await dispatcher.refresh()
        row = dispatcher.ledger.job(token)
        assert row is not None
        if done(row):
            return row
        assert time.monotonic() < give_up_at, row
        await asyncio.sleep(0.2)


def is_in(*states: str) -> Callable[[JobRecord], bool]:
    return lambda row: row.state in states
