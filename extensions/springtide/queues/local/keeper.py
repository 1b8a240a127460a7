"""The keeper: starts the waiting jobs of one spool when there is room, and sees after those that lost their shepherd.

At most one at a time (a file lock). All it knows is in the database: killed at any moment and started again, it goes
on where it was. It ends by itself when there has been nothing to do for a while.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sqlite3
import sys
import time
from pathlib import Path

from springtide.errors import QueueError
from springtide.queues.local import life
from springtide.queues.local.bell import is_answered, open_bell, run_detached
from springtide.queues.local.dependencies import settle
from springtide.queues.local.lost import recover
from springtide.queues.local.machine import Spool, boot_id
from springtide.queues.local.processes import ProcessName, is_alive, open_watch, start_of
from springtide.queues.local.prune import prune
from springtide.queues.local.schedule import Room, choose
from springtide.queues.local.store import Store
from springtide.queues.local.view import is_ready, running_of, waiting_of

_LOCK_WITHIN_S = 5.0
_LOCK_LOOK_S = 0.05
_LONGEST_PAUSE_S = 30.0
# Where the kernel does not tell when a process ends; and after a failure.
_SHORT_PAUSE_S = 1.0
_PRUNE_EVERY_S = 600.0
_LOG_LIMIT_BYTES = 2**20


class Keeper:
    """Keeps one spool's jobs going."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.store = Store(spool)
        self.boot = boot_id()
        self.identity = spool.identity()
        self._watched: dict[ProcessName, int | None] = {}
        self._started: dict[int, ProcessName] = {}
        """Shepherds of this keeper's own, by job, that may not have registered yet."""
        self._pruned_at = -_PRUNE_EVERY_S

    def round(self) -> bool:
        """See after every job once; whether there is any."""
        _reap()
        live = self.store.live_jobs()
        if recover(self.store, live, self.boot, self._is_starting) or settle(self.store, live):
            live = self.store.live_jobs()
        unregistered = {row["key"] for row in live if row["state"] != "queued" and row["shepherd"] is None}
        self._started = {key: shepherd for key, shepherd in self._started.items() if key in unregistered}
        self._start_what_fits(live)
        self._watch(live)
        if time.monotonic() - self._pruned_at > _PRUNE_EVERY_S:
            prune(self.store, self.spool.settings())
            self._pruned_at = time.monotonic()
        return bool(live)

    def wait(self, bell: int, longest_s: float) -> None:
        """Return when the bell rings, a shepherd ends, or something may be due."""
        watches = [watch for watch in self._watched.values() if watch is not None]
        blind = len(watches) < len(self._watched) or self._started
        pause_s = min(longest_s, _SHORT_PAUSE_S if blind else _LONGEST_PAUSE_S, self._until_next_start_time())
        select.select([bell, *watches], [], [], max(0.0, pause_s))
        with contextlib.suppress(BlockingIOError):
            os.read(bell, 65536)

    def close(self) -> None:
        """Let go of everything."""
        for watch in self._watched.values():
            if watch is not None:
                os.close(watch)
        self.store.close()

    def _start_what_fits(self, live: list[sqlite3.Row]) -> None:
        settings, now = self.spool.settings(), time.time()
        running = [running_of(row, now) for row in live if row["state"] in ("running", "ending")]
        ready = (waiting_of(row) for row in live if is_ready(row, now))
        chosen = choose(ready, running, Room(settings.cores, settings.memory_bytes))
        if not chosen:
            return
        claimed = life.claim(self.store, [job.key for job in chosen], self.boot)
        for position, (key, claim) in enumerate(claimed):
            arguments = (str(self.spool.folder), str(key), str(claim))
            try:
                pid = run_detached(self.spool, "springtide.queues.local.shepherd", *arguments)
            except OSError:
                # Too many processes, or too little memory: not the jobs' fault.
                for unstarted in claimed[position:]:
                    life.take_back(self.store, *unstarted)
                raise
            self._started[key] = ProcessName(pid, start_of(pid) or 0)

    def _is_starting(self, row: sqlite3.Row) -> bool:
        """Whether a shepherd of this keeper's is about to take charge of the job."""
        shepherd = self._started.get(row["key"])
        return shepherd is not None and is_alive(shepherd)

    def _watch(self, live: list[sqlite3.Row]) -> None:
        """Learn at once when a shepherd ends, one that an earlier keeper started, too."""
        wanted = {shepherd for row in live if (shepherd := life.shepherd_of(row)) and row["boot"] == self.boot}
        for gone in set(self._watched) - wanted:
            watch = self._watched.pop(gone)
            if watch is not None:
                os.close(watch)
        for shepherd in wanted - set(self._watched):
            try:
                self._watched[shepherd] = open_watch(shepherd)
            except ProcessLookupError:
                self._watched[shepherd] = None

    def _until_next_start_time(self) -> float:
        (row,) = self.store.rows(
            "SELECT min(start_after) AS moment FROM submissions JOIN jobs USING (number)"
            " WHERE jobs.state != 'finished' AND start_after > ?",
            time.time(),
        )
        return float("inf") if row["moment"] is None else float(row["moment"]) - time.time()


def keep(spool: Spool) -> None:
    """Be the spool's keeper until there is nothing to do; return at once where it has one."""
    spool.create()
    _trim_log(spool)
    with spool.lock.open("w") as lock:
        while _take(spool, lock.fileno()) and _serve(spool):
            # A job came in while the bell was being taken down.
            pass


def _serve(spool: Spool) -> bool:
    """Keep the queue; whether there is something to do again just after it was given up."""
    keeper = Keeper(spool)
    try:
        idle_s = spool.settings().idle_s
        busy = _try_round(keeper)
        # Only now: who finds the bell may rely on what the database says of running jobs.
        bell = open_bell(spool)
        try:
            last_busy = time.monotonic()
            while (left_s := last_busy + idle_s - time.monotonic()) > 0 or busy:
                if busy is None:
                    time.sleep(_SHORT_PAUSE_S)
                else:
                    keeper.wait(bell, _LONGEST_PAUSE_S if busy else left_s)
                if spool.identity() != keeper.identity:
                    # Who removed the queue wants no keeper.
                    return False
                busy = _try_round(keeper)
                last_busy = last_busy if busy is False else time.monotonic()
        finally:
            os.close(bell)
        return bool(keeper.store.live_jobs())
    finally:
        keeper.close()


def _try_round(keeper: Keeper) -> bool | None:
    """Make a round; None where the database could not be used: it is tried again soon."""
    try:
        return keeper.round()
    except (QueueError, OSError) as error:
        _trim_log(keeper.spool)
        print(time.strftime("%Y-%m-%d %H:%M:%S"), error, file=sys.stderr, flush=True)
        return None


def _take(spool: Spool, lock: int) -> bool:
    """Get the lock, also from a keeper that is about to end; False where one is at work, or does not end."""
    deadline = time.monotonic() + _LOCK_WITHIN_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if is_answered(spool):
                return False
            time.sleep(_LOCK_LOOK_S)
        else:
            return True
    return False


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _trim_log(spool: Spool) -> None:
    with contextlib.suppress(OSError):
        if spool.log.stat().st_size > _LOG_LIMIT_BYTES:
            os.truncate(spool.log, 0)


def main(folder: str) -> int:
    """Keep the queue in `folder`."""
    try:
        keep(Spool(Path(folder)))
    except QueueError as error:
        print(time.strftime("%Y-%m-%d %H:%M:%S"), error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
