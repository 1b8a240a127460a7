"""The shepherd: the small process that starts one job, watches it, ends it, and records how it ended.

It needs no keeper: it outlives one. It adopts all that descends from the job, so that nothing which the job starts
gets out of sight; its clock is the monotonic one, so that setting the machine's time neither ends nor prolongs a job.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import time
from pathlib import Path

from springtide.errors import QueueError
from springtide.queues.local import life
from springtide.queues.local.bell import ring
from springtide.queues.local.launch import Launch
from springtide.queues.local.machine import Spool
from springtide.queues.local.processes import become_subreaper, descendants, me, memory_of, signal_all
from springtide.queues.local.store import Store
from springtide.queues.model import Cause
from springtide.units import format_memory, format_walltime

_SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
# The first looks come soon, as a job may take all it can at once; later ones are rarer.
_FIRST_LOOK_S = 0.1
_RARE_LOOK_S = 1.0
_NEAR_LIMIT_LOOK_S = 0.2
# What a job leaves behind when it ends by itself gets no longer than this.
_LEFTOVER_GRACE_S = 2.0
_SWEEP_S = 0.02
# Those of another account, and those that hang in the kernel.
_UNKILLABLE_S = 30.0
_RETRY_S = 2.0
# What the machine has too little of now, and may have later.
_PASSING = (errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)


class Shepherd:
    """Watches over one run of a job."""

    def __init__(self, spool: Spool, key: int, claim: int) -> None:
        self.spool = spool
        self.key = key
        self.claim = claim
        self._identity = spool.identity()
        self.grace_s = spool.settings().grace_s
        self._leader = 0
        self._status: int | None = None
        self._stop: tuple[Cause, str] | None = None
        self._kill_at = float("inf")
        self._asked: set[int] = set()
        self._look_s = _FIRST_LOOK_S
        self._peak_bytes = 0

    def tend(self) -> None:
        """Run the job to its end; nothing at all where another shepherd has it."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        become_subreaper()
        with Store(self.spool) as store:
            row = store.job(self.key) if life.register(store, self.key, self.claim, me()) else None
            if row is None:
                return
            launch = Launch(self.spool, row)
            begun = time.monotonic()
            failure = self._start(store, launch, row["wish"])
        if failure:
            launch.remove_scratch()
            self._record(failure)
            return
        try:
            self._watch(begun, row["walltime"], row["memory"])
        finally:
            self._sweep()
            launch.remove_scratch()
        self._record(self._outcome(time.monotonic() - begun))

    def _start(self, store: Store, launch: Launch, wish: str) -> life.Outcome | None:
        """Start the job; why not, where it does not."""
        if wish:
            return life.Outcome(Cause.CANCELLED if wish == "cancel" else Cause.REQUEUED)
        try:
            self._leader = launch.start(store, self.claim)
        except OSError as error:
            words = f"{error.filename or 'The job'}: {error.strerror}"
            if error.errno in _PASSING:
                time.sleep(_RETRY_S)
                return life.Outcome(Cause.REQUEUED, words)
            return life.Outcome(Cause.NEVER_RUNS, words)
        except QueueError as error:
            complain(error)
            return life.Outcome(Cause.REQUEUED, "The queue's database could not be written")
        return None

    def _watch(self, begun: float, walltime_s: int, memory_bytes: int) -> None:
        """Return when the job's first process has ended."""
        self._reap()
        while self._status is None:
            due = min(begun + walltime_s if not self._stop else float("inf"), self._kill_at)
            pause = min(self._look_s, max(0.0, due - time.monotonic()))
            number = signal.sigtimedwait(_SIGNALS, pause)
            self._reap()
            if self._status is not None:
                return
            if number and number.si_signo != signal.SIGCHLD:
                self._obey()
            if not self._stop and time.monotonic() >= begun + walltime_s:
                self._end(Cause.WALLTIME, f"The walltime of {format_walltime(walltime_s)} is over")
            self._check_memory(memory_bytes)
            if time.monotonic() >= self._kill_at:
                signal_all(self._below(), signal.SIGKILL)
            if self.spool.identity() != self._identity:
                self._end(Cause.LOST, "The queue was removed")

    def _below(self) -> set[int]:
        found = descendants(os.getpid(), str(self.spool.folder))
        # For a moment it looks like a shepherd: a copy that has yet to become the job.
        return found | {self._leader} if self._status is None else found

    def _check_memory(self, limit_bytes: int) -> None:
        used = memory_of(self._below(), limit_bytes)
        self._peak_bytes = max(self._peak_bytes, used)
        if used > limit_bytes and not self._stop:
            words = f"It used {format_memory(used)} of memory; it had asked for {format_memory(limit_bytes)}"
            self._end(Cause.MEMORY, words)
            # No grace: it may take all there is by then.
            self._kill_at = time.monotonic()
        near = used > limit_bytes // 2
        self._look_s = min(2 * self._look_s, _NEAR_LIMIT_LOOK_S if near else _RARE_LOOK_S)

    def _obey(self) -> None:
        """Do what the owner wishes; who signals without one ends the shepherd itself, as a shutdown does."""
        try:
            with Store(self.spool) as store:
                row = store.job(self.key)
        except QueueError as error:
            complain(error)
            row = None
        wish = row["wish"] if row else ""
        if wish == "cancel" and row:
            self._end(Cause.CANCELLED, f"Deleted by {row['wished_by']}")
        elif wish == "requeue":
            self._end(Cause.REQUEUED, "Requeued by its owner")
        else:
            self._end(Cause.LOST, "The machine or the queue was shut down")

    def _end(self, cause: Cause, words: str) -> None:
        """Ask the job to end; it is killed after the grace. A first cause stays."""
        if self._stop:
            return
        self._stop = (cause, words)
        self._kill_at = time.monotonic() + self.grace_s
        self._look_s = _FIRST_LOOK_S
        self._asked = below = self._below()
        signal_all(below, signal.SIGTERM)
        # A stopped process would not even notice.
        signal_all(below, signal.SIGCONT)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._leader:
                self._status = os.waitstatus_to_exitcode(status)

    def _sweep(self) -> None:
        """End all that the job left behind; return when none of it is alive.

        That the first process, often just a shell, is gone takes nothing of the others' grace.
        """
        kill_at = self._kill_at if self._stop else time.monotonic() + min(self.grace_s, _LEFTOVER_GRACE_S)
        while left := self._below():
            if time.monotonic() >= kill_at:
                signal_all(left, signal.SIGKILL)
            signal_all(left - self._asked, signal.SIGTERM)
            self._asked |= left
            if time.monotonic() >= kill_at + _UNKILLABLE_S:
                complain(f"job {self.key}: processes {sorted(left)} cannot be ended")
                return
            time.sleep(_SWEEP_S)
            self._reap()
        self._reap()

    def _outcome(self, walltime_s: float) -> life.Outcome:
        status = self._status or 0
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cause, words = Cause.EXIT, ""
        if status < 0:
            cause, words = Cause.SIGNAL, f"Ended by {_signal_name(-status)}"
        if self._stop:
            cause, words = self._stop
        return life.Outcome(
            cause,
            words,
            exit_status=128 - status if status < 0 else status,
            cpu_s=round(used.ru_utime + used.ru_stime, 3),
            memory_bytes=self._most_memory(used.ru_maxrss),
            walltime_s=round(walltime_s, 3),
        )

    def _most_memory(self, largest_kib: int) -> int:
        """Return the most that was seen, or that one process had between two looks.

        The kernel counts what the first process was before it became the job: a copy of the shepherd.
        """
        own_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return max(self._peak_bytes, largest_kib * 2**10 if largest_kib > own_kib or not self._peak_bytes else 0)

    def _record(self, outcome: life.Outcome) -> None:
        """Write the outcome down, however long the database is locked or the disk full; not if it was removed."""
        while self.spool.identity() == self._identity:
            try:
                with Store(self.spool) as store:
                    life.end(store, self.key, self.claim, outcome)
                    return
            except QueueError as error:
                complain(error)
                time.sleep(_RETRY_S)


def complain(error: object) -> None:
    """Write to the queue's log."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), error, file=sys.stderr, flush=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main(folder: str, key: str, claim: str) -> int:
    """Tend the job; then wake the keeper, or start one where it is gone."""
    spool = Spool(Path(folder))
    try:
        Shepherd(spool, int(key), int(claim)).tend()
    except QueueError as error:
        complain(error)
        return 1
    finally:
        ring(spool)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
