"""What a kernel's companion is told to start: the runtime's command line for the kernel's own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from springtide.environments.runtimes import Bind, Form, Lack, Launch, Prepared, find_runtime
from springtide.kernels.names import Owner
from springtide.kernels.places import KernelFolder

_PARAMETER = re.compile(r"\{([A-Za-z0-9_]+)\}")
# What a kernel in an image gets of its server's environment: its language and its clock, and no token.
_PASSED_ON = re.compile(r"LANG|LANGUAGE|LC_\w+|TZ|TERM|USER|LOGNAME|JPY_SESSION_NAME|OMP_NUM_THREADS")
# ipykernel ends when its parent has another number; 1 keeps it from looking, as the companion sees to its end.
_NO_PARENT = {"JPY_PARENT_PID": "1"}


@dataclass(frozen=True)
class Software:
    """In what a kernel runs, and what it may take; 0: no limit."""

    runtime: str
    image: Prepared
    form: Form | None = None
    cores: float = 0
    memory_bytes: int = 0
    processes: int = 0
    gpu: bool = False
    binds: tuple[Bind, ...] = ()

    @property
    def isolated(self) -> bool:
        """Whether it is an image, rather than the machine's own software."""
        return Lack.ISOLATION not in find_runtime(self.runtime, self.form).lacks


@dataclass(frozen=True)
class Start:
    """One start of a kernel, as Jupyter asks for it."""

    command: Sequence[str]
    """Its command inside, the connection file filled in."""
    environment: Mapping[str, str]
    """What Jupyter would start it with."""
    own_environment: Mapping[str, str]
    """What of that its kernelspec asks for."""
    folder: str
    """Its working folder."""
    home: Path = field(default_factory=Path.home)


def fill_in(command: Sequence[str], values: Mapping[str, object]) -> list[str]:
    """Return a kernelspec's command with its ``{parameters}``; a program called python stays the image's own."""
    return [_PARAMETER.sub(lambda match: str(values.get(match[1], match[0])), part) for part in command]


def launch_of(software: Software, start: Start, folder: KernelFolder) -> dict[str, Any]:
    """Return what `springtide.kernels.guard` starts.

    Limits that the runtime has not are set as those of a process: more memory than that cannot be had, and the
    program is told so.

    Raises
    ------
    EnvironmentsError
        If the runtime is not on this machine, or lacks something that is asked for.
    """
    runtime = find_runtime(software.runtime, software.form)
    name = Owner.of_this_process().container_name() if runtime.form is Form.ENGINE else ""
    limits = {Lack.CORES: software.cores, Lack.MEMORY: software.memory_bytes, Lack.PROCESSES: software.processes}
    own = {lack: value for lack, value in limits.items() if value and lack not in runtime.lacks}
    isolated = software.isolated
    command = runtime.command(
        software.image,
        Launch(
            command=tuple(start.command),
            name=name,
            binds=_binds(software, start, folder) if isolated else (),
            environment=_variables(start) if isolated else {},
            folder=start.folder if isolated else "",
            cores=own.get(Lack.CORES),
            memory_bytes=int(own[Lack.MEMORY]) if Lack.MEMORY in own else None,
            processes=int(own[Lack.PROCESSES]) if Lack.PROCESSES in own else None,
            gpu=software.gpu,
        ),
    )
    return {
        "argv": list(command.argv),
        "environment": {**command.environment, **({} if isolated else {**start.own_environment, **_NO_PARENT})},
        "folder": start.folder if not isolated else "",
        "engine": command.argv[0] if name else "",
        "name": name,
        "cores": 0 if Lack.CORES in own else software.cores,
        "memory_bytes": 0 if Lack.MEMORY in own else software.memory_bytes,
    }


def environment_of_companion(environment: Mapping[str, str]) -> dict[str, str]:
    """Return Jupyter's environment for a kernel without what holds for a direct child of the server only."""
    return {**environment, **_NO_PARENT}


def _variables(start: Start) -> dict[str, str]:
    passed = {name: value for name, value in start.environment.items() if _PASSED_ON.fullmatch(name)}
    return {**passed, **start.own_environment, **_NO_PARENT, "HOME": str(start.home)}


def _binds(software: Software, start: Start, folder: KernelFolder) -> tuple[Bind, ...]:
    """Return home, working folder and what else is to be seen, each at its own path; the kernel's own folder last."""
    wanted = [start.home, Path(start.folder)]
    own: list[Path] = []
    for path in wanted:
        if path.is_dir() and not any(path.is_relative_to(known) for known in own):
            own.append(path)
    binds = [Bind(path, str(path)) for path in own if str(path) != os.sep]
    return (*binds, *software.binds, Bind(folder.path, str(folder.path)))
