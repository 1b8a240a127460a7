"""Processes of this machine as ``/proc`` tells them, and daemons that never outlive the tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.logs import tail
from tests.support.waiting import wait_until

# setpriv hands the daemon a signal for the moment its parent dies, even by SIGKILL.
_DIE_WITH_THE_TESTS = ("setpriv", "--pdeathsig", "TERM")


@dataclass(frozen=True)
class Process:
    """A living process; with its start time, a pid cannot be mistaken for a later one."""

    pid: int
    start_time: int
    parent: int = field(compare=False)
    command: str = field(compare=False)

    def mentions(self, text: str) -> bool:
        """Whether `text` stands in the command line, the environment or the working folder."""
        return text in self.command or text in _read(self.pid, "environ") or text in self.folder

    @property
    def folder(self) -> str:
        try:
            return os.readlink(f"/proc/{self.pid}/cwd")
        except OSError:
            return ""

    @property
    def uid(self) -> int:
        try:
            return os.stat(f"/proc/{self.pid}").st_uid
        except OSError:
            return -1

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, unless the process has ended meanwhile."""
        if process(self.pid) == self:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def process(pid: int) -> Process | None:
    """Return a living process; None for zombies and pids without one."""
    stat = _read(pid, "stat")
    if not stat:
        return None
    # The command's name stands in parentheses and may itself hold spaces and parentheses.
    state, parent, *rest = stat.rpartition(")")[2].split()
    if state in "ZX":
        return None
    return Process(pid, start_time=int(rest[17]), parent=int(parent), command=_read(pid, "cmdline"))


def all_processes() -> Iterator[Process]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (found := process(int(entry))):
            yield found


def descendants(pid: int) -> set[Process]:
    """Return the living children of `pid`, their children, and so on."""
    children: dict[int, list[Process]] = {}
    for one in all_processes():
        children.setdefault(one.parent, []).append(one)
    found: set[Process] = set()
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.add(child)
            waiting.append(child.pid)
    return found


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


class Daemon:
    """A program in the foreground of its own process group, its output in a file.

    Parameters
    ----------
    name : str
        For messages.
    command : Sequence[str]
        Program and arguments; the program must not put itself into the background.
    log : Path
        Receives what it writes, after what a former start has written.
    environment : Mapping[str, str], optional
        Added to the tests' own.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.log = log
        self._environment = environment or {}
        self._folder = folder
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._popen is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [*_DIE_WITH_THE_TESTS, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
                cwd=self._folder,
                start_new_session=True,
            )

    def wait_ready(self, check: Callable[[], object], seconds: float) -> None:
        """Return once `check` is true; RuntimeError with the log's end when the program ends or takes too long."""

        def ready_or_ended() -> object:
            return check() or not self.is_running

        try:
            wait_until(ready_or_ended, seconds, f"{self.name} is ready")
        except TimeoutError as error:
            raise RuntimeError(f"{error}\n{tail(self.log)}") from None
        if not self.is_running:
            raise RuntimeError(f"{self.name} ended at once\n{tail(self.log)}")

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 20, *, group: bool = False) -> int:
        """End the program (with `group`: as Ctrl-C does, its whole process group); return its exit status.

        One that does not end in time is killed.
        """
        if self._popen is None:
            return 0
        if self._popen.poll() is None:
            (os.killpg if group else os.kill)(self._popen.pid, number)
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait(5)
