"""Counts how often a hub runs the scheduler's commands."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
_WRAPPER = """\
#!/bin/bash
printf '%s %s\\n' "$EPOCHREALTIME" {program} >>{log}
exec {real} "$@"
"""


@dataclass(frozen=True)
class CountedCommands:
    """A folder of commands that note each call and then do what the real ones do."""

    folder: Path

    @property
    def _log(self) -> Path:
        return self.folder / "calls.log"

    def make(self, real: Path) -> None:
        # Jobs are submitted and cancelled as their users, who note it here as well.
        self._log.touch()
        self._log.chmod(0o666)
        for program in _PROGRAMS:
            wrapper = self.folder / program
            wrapper.write_text(_WRAPPER.format(program=program, log=self._log, real=real / program))
            wrapper.chmod(0o755)

    def since(self, begun: float, until: float | None = None) -> Counter[str]:
        """Return the calls per program since `begun`, in seconds since the epoch."""
        calls = (line.split() for line in self._log.read_text().splitlines())
        return Counter(program for at, program in calls if begun <= float(at) < (until or time.time()))


@contextmanager
def counted_commands(real: Path) -> Iterator[CountedCommands]:
    """Yield such a folder, which every account can read; remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="springtide-bench-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        commands = CountedCommands(folder)
        commands.make(real)
        yield commands
    finally:
        shutil.rmtree(folder)
