"""A job's command in its environment's image: the runtime's own command line, made when the job is submitted.

Inside, a job sees its folder and what the jobs before it have left, each at its own path; its home is its folder.
Limits are the queue's: the runtimes of batch nodes have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from springtide.environments.conversions import Entry
from springtide.environments.runtimes import Bind, Form, Lack, Launch, Runtime

# What holds for the machine's own software only.
_OF_THE_MACHINE = frozenset({"PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME"})
_PYTHON = 'exec "$(command -v python || command -v python3)" -I -c "$1"'


@dataclass(frozen=True)
class Container:
    """An image at a site, and what runs it."""

    runtime: Runtime
    entry: Entry
    variables: Mapping[str, str]
    """What the site gives each job."""

    def described(self, folder: Path, variables: Mapping[str, str], mark: str, versions: str) -> dict[str, Any]:
        """Return what the runner has to know.

        Parameters
        ----------
        folder : Path
            The job's.
        variables : mapping
            The job's own.
        mark : str
            That which the job has left on the image.
        versions : str
            A Python program that prints the versions of what is installed.
        """
        asking = self.runtime.command(
            self.entry.prepared, self._launch(["/bin/sh", "-c", _PYTHON, "sh", versions], folder, folder, (), variables)
        )
        return {
            "name": self.runtime.name,
            "image": str(self.entry.image),
            "bytes": self.entry.about.size_bytes if self.runtime.form is Form.SIF else 0,
            "mark": str(self.entry.place / "uses" / mark),
            "environment": dict(asking.environment),
            "versions": list(asking.argv),
        }

    def argv(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        outputs: Path,
        upstream: Sequence[Path],
        variables: Mapping[str, str],
        ranks: int = 0,
    ) -> list[str]:
        """Return what runs `command` in the image.

        Parameters
        ----------
        outputs : Path
            The working folder.
        upstream : sequence of Path
            Folders to read from.
        ranks : int
            Of several nodes: a launcher outside starts them, one container each. 0: there are none.

        Raises
        ------
        EnvironmentsError
            If the runtime cannot do it.
        """
        launch = self._launch(command, folder, outputs, upstream, variables, mpi=bool(ranks))
        argv = list(self.runtime.command(self.entry.prepared, launch).argv)
        return ["mpirun", "-n", str(ranks), *argv] if ranks else argv

    def _launch(
        self,
        command: Sequence[str],
        folder: Path,
        outputs: Path,
        upstream: Sequence[Path],
        variables: Mapping[str, str],
        *,
        mpi: bool = False,
    ) -> Launch:
        read_only = Lack.READ_ONLY not in self.runtime.lacks
        outside = {name: value for name, value in self.variables.items() if name not in _OF_THE_MACHINE}
        return Launch(
            command=tuple(command),
            binds=(Bind(folder, str(folder)), *(Bind(one, str(one), read_only) for one in upstream)),
            environment={**outside, **variables, "HOME": str(folder)},
            folder=str(outputs),
            mpi=mpi,
        )
