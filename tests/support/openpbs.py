"""A real OpenPBS, where one is installed and its server answers. Nothing is started: setting it up is by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.accounts import Account, run_as

_CONF = Path(os.environ.get("PBS_CONF_FILE", "/etc/pbs.conf"))


@dataclass(frozen=True)
class OpenPBS:
    """A PBS server that answers."""

    commands: Path
    """Folder of qsub, qstat and qdel."""
    version: str

    @property
    def environment(self) -> dict[str, str]:
        """What programs need in their environment to find it."""
        return {"PBS_CONF_FILE": str(_CONF)}

    def run(
        self, command: Sequence[str], account: Account | None = None, *, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the PBS commands, as `account` and in its home if one is given."""
        program, *arguments = command
        path = str(self.commands / program)
        return run_as(account, [path, *arguments], environment=self.environment, stdin=stdin, check=check)


def find_openpbs() -> OpenPBS | None:
    """Return the PBS server of this machine; None without one, also where qsub is Slurm's wrapper."""
    for folder in _places():
        version = _version(folder / "qsub")
        if version and _answers(folder / "qstat"):
            return OpenPBS(folder, version)
    return None


def _places() -> list[Path]:
    roots = [os.environ.get("PBS_EXEC", ""), *_exec_of_the_configuration(), "/opt/pbs"]
    places = [Path(root, "bin") for root in roots if root]
    on_path = shutil.which("qsub")
    return [*places, Path(on_path).parent] if on_path else places


def _exec_of_the_configuration() -> list[str]:
    if not _CONF.is_file():
        return []
    lines = (line.strip() for line in _CONF.read_text().splitlines())
    return [line.removeprefix("PBS_EXEC=") for line in lines if line.startswith("PBS_EXEC=")]


def _version(qsub: Path) -> str:
    """Only OpenPBS and PBS Professional answer --version with pbs_version."""
    text = _output(qsub, "--version")
    return text.partition("pbs_version = ")[2].strip()


def _answers(qstat: Path) -> bool:
    return "server_state" in _output(qstat, "-Bf")


def _output(program: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(
            [program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=15, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout + answer.stderr
