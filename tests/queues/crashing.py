"""A program that dispatches and is killed, or whose ledger fails, at the point it is told; run as a process of its own.

``python -m tests.queues.crashing POINT LEDGER COMMANDS COUNT`` prints the rows' states, or the error.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from springtide.errors import LedgerError
from springtide.ledger.records import JobRecord
from springtide.ledger.store import Ledger
from springtide.queues.accounts import Submitted, UserQueue
from springtide.queues.commands import run_command
from springtide.queues.slurm.queue import SlurmQueue
from tests.queues.dispatching import dispatcher_at, myself, request


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Disk:
    """The disk of the ledger, a small one that nobody else uses."""

    ledger: Ledger

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fill(self) -> None:
        # Down to the last byte, as a journal needs only few.
        with (self._folder / "ballast").open("wb", buffering=0) as ballast:
            for size in (2**16, 2**10, 1):
                try:
                    while ballast.write(bytes(size)):
                        pass
                except OSError:
                    continue

    def empty(self) -> None:
        (self._folder / "ballast").unlink()

    def protect(self) -> None:
        # A disk with files open for writing does not become read-only; what is closed is opened again when needed.
        self.ledger.close()
        subprocess.run(["mount", "-o", "remount,ro", self._folder], check=True)

    def free(self) -> None:
        subprocess.run(["mount", "-o", "remount,rw", self._folder], check=True)


class Failing:
    """A ledger and a user's queue that call something at one point."""

    def __init__(self, point: str, disk: Disk) -> None:
        moments: dict[str, tuple[str, Callable[[], None]]] = {
            "killed before the rows": ("before rows", die),
            "killed after the rows": ("before submission", die),
            "killed after the submission": ("after submission", die),
            "full before the rows": ("before rows", disk.fill),
            "full after the submission": ("after submission", disk.fill),
            "read-only before the rows": ("before rows", disk.protect),
            "read-only after the submission": ("after submission", disk.protect),
        }
        self._moment, self._act = moments.get(point, ("never", die))

    def at(self, moment: str) -> None:
        if moment == self._moment:
            self._act()


class FailingLedger(Ledger):
    failing: Failing

    def add_jobs(self, records: Sequence[JobRecord], **more: Any) -> None:
        self.failing.at("before rows")
        super().add_jobs(records, **more)


class FailingUserQueue(UserQueue):
    failing: Failing

    async def submit_all(self, scripts: Sequence[str], *, folder: str = "") -> list[Submitted]:
        self.failing.at("before submission")
        done = await super().submit_all(scripts, folder=folder)
        self.failing.at("after submission")
        return done


async def run(point: str, place: Path, commands: Path, count: int) -> list[str]:
    disk = Disk(place.parent)
    FailingLedger.failing = FailingUserQueue.failing = Failing(point, disk)
    user_queue = FailingUserQueue(SlurmQueue(commands, run_command), myself())
    with FailingLedger.open(place) as ledger:
        disk.ledger = ledger
        dispatcher = dispatcher_at(commands, ledger, user_queue=user_queue)
        rows = await dispatcher.submit([request()] * count)
        if point.startswith("full"):
            disk.empty()
        if point.startswith("read-only"):
            disk.free()
        written = [str(row and row.state) for row in map(ledger.job, (row.token for row in rows))]
        adopted = (await dispatcher_at(commands, ledger).settle()).adopted
        return [" ".join(row.state for row in rows), " ".join(written), " ".join(row.job_id for row in adopted)]


def main(point: str, place: str, commands: str, count: str) -> None:
    # Whoever is to kill this program finds it by this file.
    Path(commands, "pid").write_text(str(os.getpid()))
    try:
        print(*asyncio.run(run(point, Path(place), Path(commands), int(count))), sep="\n")
    except LedgerError as error:
        print(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
