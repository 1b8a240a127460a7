"""Turns an image's layout into what a runtime takes: a SIF by Apptainer, a folder by ourselves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from springtide.environments.conversions.layers import unpack_layers
from springtide.environments.conversions.layout import layers_of
from springtide.environments.runtimes.base import Form
from springtide.environments.runtimes.udocker import Udocker
from springtide.errors import EnvironmentsError

Progress = Callable[[str], None]

_PROGRAMS = ("apptainer", "singularity")
_LOG_LINES = 8
_INFO = re.compile(r"INFO:\s+(.+)")
_NO_ROOM = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_MISSING = "Apptainer is not on this machine, which makes SIFs."
_MISSING_HINT = "Its packages: https://apptainer.org/docs/admin/main/installation.html"


class NoRoom(EnvironmentsError):
    """A disk is full; which one, its catcher says."""


def converter(form: Form) -> str:
    """Return what makes images of a form here, with its version.

    Raises
    ------
    EnvironmentsError
        If there is nothing that does.
    """
    if form is Form.FOLDER:
        return "springtide"
    answer = subprocess.run([_program(), "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return answer.stdout.strip() or _PROGRAMS[0]


def convert(layout: Path, target: Path, form: Form, scratch: Path, progress: Progress) -> None:
    """Write the image of `layout` to `target`, in the form `form`.

    Parameters
    ----------
    scratch : Path
        An empty folder of this machine.

    Raises
    ------
    EnvironmentsError
        If it cannot be converted, with the converter's last lines; `NoRoom` where a disk is full.
    OSError
        If there is no room.
    """
    if form is Form.SIF:
        _make_sif(layout, target, scratch, progress)
    else:
        unpack_layers(layers_of(layout), target, progress)
        (target / Udocker.MOUNT_POINT).mkdir(exist_ok=True)


def _make_sif(layout: Path, target: Path, scratch: Path, progress: Progress) -> None:
    progress("converting it into a SIF")
    # Should this process be killed, Apptainer is not to go on.
    with_us = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    command = [*with_us, _program(), "build", "--disable-cache", str(target), f"oci:{layout}"]
    last: deque[str] = deque(maxlen=_LOG_LINES)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **_variables(scratch)},
    ) as process:
        assert process.stdout is not None
        for line in map(str.strip, process.stdout):
            last.append(line)
            if found := _INFO.fullmatch(line):
                progress(found[1])
    said = "\n".join(last)
    if process.returncode == 0 and target.is_file():
        return
    if _NO_ROOM.search(said):
        raise NoRoom(said)
    raise EnvironmentsError(
        f"Apptainer could not convert the image (status {process.returncode}). Its last lines:\n{said}\n"
    )


def _variables(scratch: Path) -> Mapping[str, str]:
    names = ("TMPDIR", "CACHEDIR")
    return {f"{program.upper()}_{name}": str(scratch) for program in _PROGRAMS for name in names}


def _program() -> str:
    for name in _PROGRAMS:
        if found := shutil.which(name):
            return found
    raise EnvironmentsError(_MISSING, _MISSING_HINT)
