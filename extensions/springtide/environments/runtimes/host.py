"""No container: the software of the machine itself, for sites that have it installed."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from springtide.environments.runtimes.asked import check, in_shell, with_display
from springtide.environments.runtimes.base import Command, Form, Lack, Launch, Prepared, Runtime
from springtide.errors import EnvironmentsError


class Host(Runtime):
    """A plain process."""

    name = "host"
    form = Form.NONE
    lacks = frozenset({Lack.CORES, Lack.MEMORY, Lack.PROCESSES, Lack.NETWORK, Lack.READ_ONLY, Lack.ISOLATION})

    def version(self) -> str:
        """Return the machine's kernel."""
        return platform.release()

    def _command(self, image: Prepared, launch: Launch) -> Command:
        """Return the command itself, with the software at ``image.place`` first on PATH."""
        check(self, launch)
        if image.digest:
            raise EnvironmentsError(
                "The runtime host runs no image.", "Use apptainer, docker or another runtime with images."
            )
        for bind in launch.binds:
            if str(bind.source) != bind.target:
                raise EnvironmentsError(
                    f"The runtime host cannot show {bind.source} as {bind.target}.",
                    "Without a container, every folder is seen at its own path only.",
                )
        launch = with_display(launch)
        variables = dict(launch.environment)
        if image.place:
            path = variables.get("PATH", os.environ.get("PATH", os.defpath))
            variables["PATH"] = f"{Path(image.place, 'bin')}:{path}"
        # A shell looks for the program in the new PATH; who starts the process has looked in the old one.
        steps = ['cd "$1"'] if launch.folder else [":"] if image.place else []
        values = [launch.folder] if launch.folder else []
        return Command(in_shell(launch.command, [f"{step} || exit 126" for step in steps], values), variables)
