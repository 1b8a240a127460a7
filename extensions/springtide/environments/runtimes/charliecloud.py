"""Charliecloud: a process of this account in a folder, by user namespaces alone."""

from __future__ import annotations

from pathlib import Path

from springtide.environments.runtimes.asked import MACHINE_PATH, ask, check, program, widened, with_display
from springtide.environments.runtimes.base import Command, Form, Lack, Launch, Prepared, Runtime

_PROGRAM = "ch-run"
# What an account's programs expect to find, whatever the image.
_KEPT = ("HOME", "USER", "LOGNAME", "LANG", "TERM")


class Charliecloud(Runtime):
    """The smallest of the runtimes."""

    name = "charliecloud"
    form = Form.FOLDER
    lacks = frozenset({Lack.CORES, Lack.MEMORY, Lack.PROCESSES, Lack.GPU, Lack.NETWORK, Lack.READ_ONLY})
    hint = "Install it (Debian: apt install charliecloud), on a kernel with user namespaces."

    def version(self) -> str:
        """Return its version."""
        return ask([program(_PROGRAM, self.hint), "--version"], self.hint).split()[-1].rstrip(".")

    def _command(self, image: Prepared, launch: Launch) -> Command:
        """Return ``ch-run``, which passes its own environment on: what is not named is taken out of it."""
        check(self, launch)
        launch = with_display(launch)
        root = Path(image.place)
        variables = {"PATH": MACHINE_PATH, **image.environment, **launch.environment}
        if "HOME" not in launch.environment:
            variables.pop("HOME", None)
        kept = "|".join(sorted({*_KEPT, *variables}))
        binds = dict.fromkeys(widened(bind, root) for bind in launch.binds)
        argv = [
            self.program or program(_PROGRAM, self.hint),
            # Ranks find their launcher by variables of its own.
            *([] if launch.mpi else [f"--unset-env=!({kept})"]),
            *(f"--bind={bind.source}:{bind.target}" for bind in binds),
            f"--cd={launch.folder or image.folder or '/'}",
            image.place,
            "--",
            *launch.command,
        ]
        return Command(tuple(argv), variables)
