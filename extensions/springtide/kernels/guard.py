"""Keeps one kernel: starts it, passes signals on to it, and ends it with everything that it has started.

``python -I guard.py FOLDER``; the folder has `LAUNCH`, and gets `REPORT`. On standard input come orders, one a line:
``signal 2``, ``end``, ``kill``. The end of that input is an order to end, too: whoever gives orders is gone.

Runs on batch nodes as well, so it needs the standard library only.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import json
import os
import random
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LAUNCH = "launch.json"
"""What to start: ``argv``, ``environment`` (added to the guard's own), ``folder``, ``engine`` and ``name`` of the
container where there is one, ``memory_bytes`` and ``cores`` where the runtime itself cannot limit them."""
REPORT = "report.json"
"""How it ended: ``status`` as a shell counts it, ``asked`` for or not, ``out_of_memory``, the last ``lines``."""

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
_PATIENCE_S = {"end": 5.0, "kill": 1.0}
_ENGINE_ANSWERS_WITHIN_S = 30.0
_LINES = 15
_LINE_BYTES = 400
_KILLED = 128 + signal.SIGKILL
_LIBC = ctypes.CDLL(None)


class Guard:
    """One kernel and its end.

    Parameters
    ----------
    launch : dict
        As `LAUNCH` says.
    """

    def __init__(self, launch: dict[str, Any]) -> None:
        self._launch = launch
        self._engine, self._name = str(launch.get("engine", "")), str(launch.get("name", ""))
        self._status: int | None = None
        self._asked = self._cut_off = False
        self.is_orphan = False
        self._force_at: float | None = None
        self._lines: collections.deque[bytes] = collections.deque(maxlen=_LINES)
        self._orders = self._unfinished = b""
        self._selector = selectors.DefaultSelector()
        self._started = int(time.time())

    def run(self) -> int:
        """Start the kernel, return its exit status once nothing of it is left."""
        # Whatever the kernel starts and loses becomes a child of this process: a file system's helper, a daemon.
        _LIBC.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        for number, order in ((signal.SIGTERM, "end"), (signal.SIGHUP, "end")):
            signal.signal(number, lambda *_, order=order: self._end(order))
        signal.signal(signal.SIGINT, lambda *_: self._signal(signal.SIGINT))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._listen_for_signals()
        self._selector.register(0, selectors.EVENT_READ, self._read_orders)
        self._child = self._start()
        while self._status is None:
            self._reap()
            if self._status is None:
                self._wait()
        self._clear_away()
        self._read_output()
        return self._status

    def report(self) -> dict[str, Any]:
        """Return how it ended."""
        lines = [*self._lines, self._unfinished] if self._unfinished else list(self._lines)
        return {
            "status": self._status,
            "asked": self._asked,
            "out_of_memory": self._ran_out_of_memory(),
            "lines": [line[:_LINE_BYTES].decode(errors="replace") for line in lines],
        }

    def _listen_for_signals(self) -> None:
        reading, writing = os.pipe()
        for end in (reading, writing):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._selector.register(reading, selectors.EVENT_READ, lambda: os.read(reading, 512))

    def _start(self) -> int:
        child = subprocess.Popen(
            self._launch["argv"],
            env={**os.environ, **self._launch.get("environment", {})},
            cwd=self._launch.get("folder") or None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=self._in_child,
        )
        assert child.stdout is not None
        self._output = os.dup(child.stdout.fileno())
        os.set_blocking(self._output, False)
        child.stdout.close()
        self._selector.register(self._output, selectors.EVENT_READ, self._read_output)
        # Its end is read here, with that of all other children: the library is not to look for it.
        child.returncode = 0
        return child.pid

    def _in_child(self) -> None:
        # A runtime that is killed leaves its file system's helper behind; asked to end, it does not.
        _LIBC.prctl(_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if memory_bytes := self._launch.get("memory_bytes"):
            resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        usable = sorted(os.sched_getaffinity(0))
        cores = max(1, round(self._launch.get("cores") or len(usable)))
        if cores < len(usable):
            os.sched_setaffinity(0, random.sample(usable, cores))

    # --- while it runs ------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        left_s = None if self._force_at is None else max(0.0, self._force_at - time.monotonic())
        for key, _ in self._selector.select(left_s):
            with contextlib.suppress(BlockingIOError):
                key.data()
        if self._force_at is not None and time.monotonic() >= self._force_at:
            self._force()

    def _read_orders(self) -> None:
        read = os.read(0, 4096)
        if not read:
            self._selector.unregister(0)
            self.is_orphan = True
            self._end("end")
        *orders, self._orders = (self._orders + read).split(b"\n")
        for order in orders:
            verb, _, number = order.decode(errors="replace").partition(" ")
            if verb == "signal" and number.isdigit():
                self._signal(int(number))
            elif verb in _PATIENCE_S:
                self._end(verb)

    def _read_output(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while read := os.read(self._output, 2**16):
                # Nobody may be left to read it.
                with contextlib.suppress(OSError):
                    os.write(2, read)
                *lines, self._unfinished = (self._unfinished + read).split(b"\n")
                self._lines.extend(lines)
                self._unfinished = self._unfinished[-_LINE_BYTES:]
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._output)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._child:
                    code = os.waitstatus_to_exitcode(status)
                    self._status = code if code >= 0 else 128 - code
                    self._cut_off = code < 0

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child, number)

    # --- its end ------------------------------------------------------------------------------------------------

    def _end(self, order: str) -> None:
        self._asked = True
        patience_s = _PATIENCE_S[order]
        if order == "kill" and self._engine:
            patience_s = 0.0
        else:
            self._signal(signal.SIGTERM)
        force_at = time.monotonic() + patience_s
        self._force_at = min(force_at, self._force_at or force_at)

    def _force(self) -> None:
        self._force_at = None
        self._remove_container()
        self._signal(signal.SIGKILL)

    def _remove_container(self) -> None:
        if self._engine:
            _run(self._engine, "rm", "--force", self._name)

    def _clear_away(self) -> None:
        """End whatever the kernel has left: a container whose command died, detached programs, FUSE helpers."""
        if self._cut_off:
            self._remove_container()
        for number, patience_s in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
            give_up_at = time.monotonic() + patience_s
            asked: set[int] = set()
            while left := set(_children()):
                for pid in left - asked:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, number)
                asked |= left
                self._reap()
                if time.monotonic() > give_up_at:
                    break
                time.sleep(0.01)

    def _ran_out_of_memory(self) -> bool:
        """Whether the engine says so; a control group that is gone cannot be asked any more."""
        if not self._engine or self._asked or self._status != _KILLED:
            return False
        until = str(int(time.time()) + 1)
        window = ("--since", str(self._started), "--until", until)
        wanted = ("--filter", f"container={self._name}", "--filter", "event=oom")
        return bool(_run(self._engine, "events", *window, *wanted).strip())


def _run(*command: str) -> str:
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_ENGINE_ANSWERS_WITHIN_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout


def _children() -> Iterator[int]:
    """Yield this process's living children; those that ended and were not reaped yet are none."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                state, parent, *_ = Path("/proc", name, "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(parent) == os.getpid() and state != "Z":
                    yield int(name)


def write_whole(path: Path, value: object) -> None:
    """Write JSON for this account's eyes, complete or not at all."""
    beside = path.with_name(f".{path.name}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(beside, path)


def main(folder: Path) -> int:
    """Keep the kernel of `folder`; return its exit status."""
    try:
        guard = Guard(json.loads((folder / LAUNCH).read_text(encoding="utf-8")))
        status, report = guard.run(), guard.report()
    except OSError as error:
        status, report = 126, {"status": 126, "asked": False, "out_of_memory": False, "lines": [str(error)]}
    else:
        if guard.is_orphan:
            # Nobody else will.
            shutil.rmtree(folder, ignore_errors=True)
    # The folder is gone where its owner has not waited.
    with contextlib.suppress(OSError):
        write_whole(folder / REPORT, report)
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
