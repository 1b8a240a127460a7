"""udocker: a Python program that needs no administrator; runc is its engine.

It is run on the shared folder itself, not on a copy in each user's home: forty jobs need no forty copies.
"""

from __future__ import annotations

from pathlib import Path

from springtide.environments.runtimes.asked import MACHINE_PATH, ask, check, in_shell, own_umask, program, widened
from springtide.environments.runtimes.base import Command, Form, Lack, Launch, Prepared, Runtime

_RUNCS_UMASK = 0o022
# The program's interpreter and runc see these as well. They are no secrets, so they may stand in an argv.
_READ_BY_THE_PROGRAM = frozenset({"HOME", "PATH"})
# Without a terminal, udocker 1.3.17 passes output on byte by byte, breaks at the first that is not ASCII, and ends
# with 1 whatever the program's status is. Where there is one it does it right: so that way is taken always.
_PROGRAM = """\
from udocker.engine.runc import RuncEngine
RuncEngine.run_nopty = RuncEngine.run_pty
from udocker.maincmd import main
main()"""
# A folder of its own for the run: udocker writes the container's description, variables and all, where it is started,
# and keeps its own things in a folder where a version number stops it from downloading the engines it brings.
_SCRIPT = """\
python=$(sed -n '1s/^#!//p' "$1") || exit
code=$2
shift 2
work=$(umask 077; mktemp -d) || exit
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/udocker/lib"
echo 99.0.0 >"$work/udocker/lib/VERSION"
export UDOCKER_DIR="$work/udocker" UDOCKER_DEFAULT_EXECUTION_MODE=R1
cd "$work" && $python -c "$code" "$@"
"""


# To ask the program itself would make its store in the account's home.
_VERSION = 'python=$(sed -n "1s/^#!//p" "$1") && exec $python -c "import udocker; print(udocker.__version__)"'


class Udocker(Runtime):
    """A container for those who can install nothing but Python packages.

    Inside, its account is root, without any right of root's: what it writes is the account's own. An image that this
    account cannot write to must have the folder `MOUNT_POINT`.
    """

    MOUNT_POINT = ".bind_host_files"
    """Where udocker binds the machine's own files of host names and accounts, in the image."""

    name = "udocker"
    form = Form.FOLDER
    lacks = frozenset(Lack) - {Lack.ISOLATION}
    hint = "Install it (pip install udocker), and runc (Debian: apt install runc)."

    def version(self) -> str:
        """Return its version."""
        ask([program("runc", self.hint), "--version"], self.hint)
        return ask(["/bin/sh", "-c", _VERSION, self.name, program(self.name, self.hint)], self.hint)

    def _command(self, image: Prepared, launch: Launch) -> Command:
        """Return ``udocker run``, in a shell that gives it a folder of its own."""
        check(self, launch)
        root = Path(image.place)
        variables = {"PATH": MACHINE_PATH, **image.environment, **launch.environment}
        umask = own_umask()
        steps = [f"umask {umask:04o}"] if umask != _RUNCS_UMASK else []
        binds = dict.fromkeys(widened(bind, root) for bind in launch.binds)
        argv = [
            *("/bin/sh", "-c", _SCRIPT, self.name, self.program or program(self.name, self.hint), _PROGRAM),
            "--quiet",
            "run",
            "--nobanner",
            f"--location={image.place}",
            *(f"--volume={bind.source}:{bind.target}" for bind in binds),
            *(f"--env={_named(name, value)}" for name, value in variables.items()),
            f"--workdir={launch.folder or image.folder or '/'}",
            "image",
            *in_shell(launch.command, steps),
        ]
        hidden = {name: value for name, value in variables.items() if name not in _READ_BY_THE_PROGRAM}
        return Command(tuple(argv), hidden)


def _named(name: str, value: str) -> str:
    return f"{name}={value}" if name in _READ_BY_THE_PROGRAM else name
