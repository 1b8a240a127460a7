"""What runtimes share: refusing what one lacks, paths that can be bound, and what only a shell inside can set."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from springtide.environments.runtimes.base import Bind, Lack, Launch, Runtime
from springtide.errors import EnvironmentsError

VERSION_WITHIN_S = 30
MACHINE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH in an image that says nothing of it."""

# Separators in the options of one runtime or another: refused under all, so that what runs here runs there.
_UNUSABLE = re.compile(r'[:,"\\\x00-\x1f]')
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MASK = re.compile(r"^Umask:\s*([0-7]+)", re.MULTILINE)
_X11_SOCKETS = "/tmp/.X11-unix"
_ASKED: dict[Lack, Callable[[Launch], object]] = {
    Lack.CORES: lambda launch: launch.cores is not None,
    Lack.MEMORY: lambda launch: launch.memory_bytes is not None,
    Lack.PROCESSES: lambda launch: launch.processes is not None,
    Lack.GPU: lambda launch: launch.gpu,
    Lack.X11: lambda launch: launch.x11,
    Lack.MPI: lambda launch: launch.mpi,
    Lack.NETWORK: lambda launch: not launch.network,
    Lack.READ_ONLY: lambda launch: any(bind.read_only for bind in launch.binds),
}
_WORDS = {
    Lack.CORES: ("limit cores", "Let the batch queue limit them, or use the runtime docker."),
    Lack.MEMORY: ("limit memory", "Let the batch queue limit it, or use the runtime docker."),
    Lack.PROCESSES: ("limit processes", "Use the runtime docker."),
    Lack.GPU: ("give graphics cards to an image", "Use apptainer or docker."),
    Lack.X11: ("show windows", "Use apptainer or docker."),
    Lack.MPI: ("run ranks that a launcher outside starts", "Use apptainer or charliecloud."),
    Lack.NETWORK: ("keep a program from the network", "Use apptainer or docker."),
    Lack.READ_ONLY: ("bind a folder read-only", "Use apptainer or docker, or bind it as it is."),
}


def check(runtime: Runtime, launch: Launch) -> None:
    """Return if `runtime` can do what `launch` asks for.

    Raises
    ------
    EnvironmentsError
        If it lacks something, or a path or variable has characters that not every runtime takes.
    """
    if not launch.command:
        raise EnvironmentsError("There is no command to run.")
    for lack, asks in _ASKED.items():
        if lack in runtime.lacks and asks(launch):
            what, hint = _WORDS[lack]
            raise EnvironmentsError(f"The runtime {runtime.name} cannot {what}.", hint)
    for bind in launch.binds:
        _check_bind(bind)
    for name in launch.environment:
        if not _NAME.fullmatch(name):
            raise EnvironmentsError(f"{name!r} is no name of a variable.", "Letters, digits and _, no digit first.")


def _check_bind(bind: Bind) -> None:
    for path in (str(bind.source), bind.target):
        if not path.startswith("/") or ".." in Path(path).parts:
            raise EnvironmentsError(f"{path!r} cannot be bound.", "Both paths of a bind are absolute, without “..”.")
        if _UNUSABLE.search(path):
            raise EnvironmentsError(
                f"{path!r} cannot be bound: it holds a character that runtimes read as their own.",
                "Rename it, or bind the folder above it.",
            )


def program(name: str, hint: str) -> str:
    """Return the path of a runtime's program.

    Raises
    ------
    EnvironmentsError
        If it is not on PATH.
    """
    found = shutil.which(name)
    if not found:
        raise EnvironmentsError(f"{name} is not on this machine.", hint)
    return found


def ask(command: Sequence[str], hint: str) -> str:
    """Return what a runtime's program prints.

    Raises
    ------
    EnvironmentsError
        If it cannot run, fails, or is silent for long.
    """
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=VERSION_WITHIN_S,
            check=False,
        )
    except OSError as error:
        raise EnvironmentsError(f"{command[0]} cannot be run: {error.strerror}.", hint) from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentsError(
            f"{command[0]} did not answer within {VERSION_WITHIN_S} s.", hint, transient=True
        ) from error
    if answer.returncode != 0:
        words = (answer.stderr.strip() or answer.stdout.strip() or f"exit status {answer.returncode}").splitlines()[-1]
        raise EnvironmentsError(f"{command[0]} does not work for this account: {words}", hint)
    return (answer.stdout.strip() or answer.stderr.strip()).splitlines()[0].strip()


def own_umask() -> int:
    """Return this process's umask, which `os.umask` could only do by changing it for all threads."""
    match = _MASK.search(Path("/proc/self/status").read_text(encoding="utf-8", errors="replace"))
    return int(match[1], 8) if match else 0o022


def in_shell(command: Sequence[str], steps: Iterable[str], values: Sequence[str] = ()) -> tuple[str, ...]:
    """Return `command` behind the shell's `steps`, in which ``$1``, ``$2``, … are `values`; itself without any."""
    lines = list(steps)
    if not lines:
        return tuple(command)
    script = "; ".join([*lines, f"shift {len(values)}", 'exec "$@"'])
    return ("/bin/sh", "-c", script, "sh", *values, *command)


def with_display(launch: Launch) -> Launch:
    """Return `launch` with what a window on this machine's display needs.

    Raises
    ------
    EnvironmentsError
        If it asks for one, and there is no display.
    """
    if not launch.x11:
        return launch
    display = os.environ.get("DISPLAY", "")
    if not display:
        raise EnvironmentsError("There is no display for a window.", "DISPLAY is not set: log in with one (ssh -X).")
    binds, variables = [], {"DISPLAY": display}
    if Path(_X11_SOCKETS).is_dir():
        binds.append(Bind(Path(_X11_SOCKETS), _X11_SOCKETS))
    key = os.environ.get("XAUTHORITY", "")
    if key and Path(key).is_file():
        binds.append(Bind(Path(key), key))
        variables["XAUTHORITY"] = key
    return replace(launch, binds=(*launch.binds, *binds), environment={**variables, **launch.environment})


def widened(bind: Bind, root: Path) -> Bind:
    """Return `bind` with a target that the image in the folder `root` has, where nothing can be made in it.

    A folder that is to be seen at its own path may be seen within its parent: that shows only what this account can
    open anyway.

    Raises
    ------
    EnvironmentsError
        If it is to be seen elsewhere, at a place that the image does not have.
    """
    if (root / bind.target.lstrip("/")).exists():
        return bind
    if str(bind.source) == bind.target:
        for parent in list(bind.source.parents)[:-1]:
            if (root / str(parent).lstrip("/")).is_dir():
                return replace(bind, source=parent, target=str(parent))
    raise EnvironmentsError(
        f"{bind.target} is not in the image, and this runtime cannot make it.",
        "Have the image make that folder (RUN mkdir), or use apptainer.",
    )
