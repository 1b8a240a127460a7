"""Apptainer, and Singularity, whose command line it kept."""

from __future__ import annotations

from pathlib import Path

from springtide.environments.runtimes.asked import MACHINE_PATH, ask, check, in_shell, program, with_display
from springtide.environments.runtimes.base import Bind, Command, Form, Lack, Launch, Prepared, Runtime
from springtide.errors import EnvironmentsError

_HOME = "HOME"


class Apptainer(Runtime):
    """A process of this account in an image: no daemon, no root, nothing left behind.

    Parameters
    ----------
    form : Form
        SIF, which needs ``/dev/fuse`` or an installation with setuid; or FOLDER, which needs user namespaces only.
    """

    name = "apptainer"
    # Limits need a delegated cgroup, which batch nodes do not give; there the queue sets them.
    lacks = frozenset({Lack.CORES, Lack.MEMORY, Lack.PROCESSES})
    hint = "Install it: https://apptainer.org/docs/admin/main/installation.html"
    variable_prefix = "APPTAINERENV_"

    def __init__(self, form: Form = Form.SIF) -> None:
        if form not in (Form.SIF, Form.FOLDER):
            raise EnvironmentsError(f"{self.name} takes a SIF or a folder, not the form “{form.value}”.")
        self.form = form

    def version(self) -> str:
        """Return its version."""
        return ask([program(self.name, self.hint), "--version"], self.hint).split()[-1]

    def _command(self, image: Prepared, launch: Launch) -> Command:
        """Return ``apptainer exec``."""
        check(self, launch)
        launch = with_display(launch)
        variables = {**_of_folder(image), **launch.environment}
        home = variables.pop(_HOME, "")
        # It refuses to set HOME by a variable.
        inside = in_shell(launch.command, ['export HOME="$1"'], [home]) if home else launch.command
        argv = [
            self.program or program(self.name, self.hint),
            "--silent",
            "exec",
            # Ranks find their launcher by variables of its own.
            *([] if launch.mpi else ["--cleanenv"]),
            "--no-home",
            "--no-mount=cwd",
            *(["--nv"] if launch.gpu else []),
            *([] if launch.network else ["--net", "--network=none"]),
            *(f"--bind={_pair(bind)}" for bind in launch.binds),
            f"--pwd={launch.folder or image.folder or '/'}",
            image.place,
            *inside,
        ]
        return Command(tuple(argv), {f"{self.variable_prefix}{name}": value for name, value in variables.items()})


class Singularity(Apptainer):
    """Singularity, before and beside Apptainer; also the name under which Apptainer answers to old scripts."""

    name = "singularity"
    hint = "Install Apptainer, which answers to that name too: https://apptainer.org/docs/admin/main/installation.html"
    variable_prefix = "SINGULARITYENV_"


def _of_folder(image: Prepared) -> dict[str, str]:
    """Return the variables that a folder needs; a SIF brings its own."""
    return {"PATH": MACHINE_PATH, **image.environment} if Path(image.place).suffix != ".sif" else {}


def _pair(bind: Bind) -> str:
    return f"{bind.source}:{bind.target}{':ro' if bind.read_only else ''}"
