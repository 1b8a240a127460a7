"""Docker, and what speaks its command line."""

from __future__ import annotations

import os

from springtide.environments.runtimes.asked import ask, check, in_shell, own_umask, program, with_display
from springtide.environments.runtimes.base import Bind, Command, Form, Lack, Launch, Prepared, Runtime

_ENGINES_UMASK = 0o022
# The command's own program reads these as well. They are no secrets, so they may stand in its argv.
_READ_BY_THE_PROGRAM = frozenset({"HOME", "PATH", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"})


class Docker(Runtime):
    """A container of the Docker Engine, without rights beyond its account's."""

    name = "docker"
    form = Form.ENGINE
    # Ranks would have to share processes and memory with their launcher, through an engine that runs as root.
    lacks = frozenset({Lack.MPI})
    hint = "Install it (Debian: apt install docker.io), and add this account to the group docker."

    def version(self) -> str:
        """Return the engine's version."""
        return ask([program(self.name, self.hint), "version", "--format", "{{.Server.Version}}"], self.hint)

    def _command(self, image: Prepared, launch: Launch) -> Command:
        """Return ``docker run``; the image's own entry point is not used."""
        check(self, launch)
        launch = with_display(launch)
        umask = own_umask()
        # The engine starts every process with its own.
        steps = [f"umask {umask:04o}"] if umask != _ENGINES_UMASK else []
        first, *rest = in_shell(launch.command, steps)
        argv = [
            program(self.name, self.hint),
            "run",
            "--rm",
            "--interactive",
            "--init",
            "--pull=never",
            *([f"--name={launch.name}"] if launch.name else []),
            *self._account(),
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            # As under the runtimes without an engine: what is not bound cannot be written.
            "--read-only",
            "--tmpfs=/tmp:rw,nosuid,nodev,exec,mode=1777",
            f"--network={'host' if launch.network else 'none'}",
            *_limits(launch),
            *(self._cards() if launch.gpu else []),
            *(_mount(bind) for bind in launch.binds),
            *_variables(launch),
            *([f"--workdir={launch.folder}"] if launch.folder else []),
            f"--entrypoint={first}",
            image.place,
            *rest,
        ]
        hidden = {name: value for name, value in launch.environment.items() if name not in _READ_BY_THE_PROGRAM}
        return Command(tuple(argv), hidden)

    def _account(self) -> list[str]:
        return [
            f"--user={os.geteuid()}:{os.getegid()}",
            *(f"--group-add={group}" for group in os.getgroups() if group != os.getegid()),
        ]

    def _cards(self) -> list[str]:
        return ["--gpus=all"]


def _limits(launch: Launch) -> list[str]:
    return [
        *([f"--cpus={launch.cores:g}"] if launch.cores is not None else []),
        # Without the second, as much again could be swapped.
        *(
            [f"--memory={launch.memory_bytes}", f"--memory-swap={launch.memory_bytes}"]
            if launch.memory_bytes is not None
            else []
        ),
        *([f"--pids-limit={launch.processes}"] if launch.processes is not None else []),
    ]


def _mount(bind: Bind) -> str:
    read_only = ",readonly" if bind.read_only else ""
    return f"--mount=type=bind,source={bind.source},target={bind.target}{read_only}"


def _variables(launch: Launch) -> list[str]:
    """Return options that name variables; their values the program takes from its own environment."""
    return [
        f"--env={name}={value}" if name in _READ_BY_THE_PROGRAM else f"--env={name}"
        for name, value in launch.environment.items()
    ]
