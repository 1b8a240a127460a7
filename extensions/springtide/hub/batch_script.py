"""The script of a batch session: it travels on standard input only, so that the session's secrets may stand in it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from springtide.queues.launcher import LOG_FOLDER

_NODE_PROGRAM = Path(__file__).with_name("node_program.py")
_END_OF_PROGRAM = "END_OF_SPRINGTIDE_NODE_PROGRAM"


def session_script(token: str, environment: Mapping[str, str], prologue: str, command: Sequence[str]) -> str:
    """Return the shell lines that run a session on a node: see `logged_script`.

    Parameters
    ----------
    command : sequence of str
        What runs a Python program that comes on standard input, there where the session is to be.
    """
    program = _NODE_PROGRAM.read_text(encoding="utf-8")
    first = logged_script(token, environment, prologue, command)
    return "\n".join([f"{first} <<'{_END_OF_PROGRAM}'", program, _END_OF_PROGRAM])


def logged_script(token: str, environment: Mapping[str, str], prologue: str, command: Sequence[str]) -> str:
    """Return the shell lines that become `command` in the account's home, its words in a log there.

    Parameters
    ----------
    token : str
        The job's name, which is also that of its log.
    environment : mapping
        Variables, secrets among them.
    prologue : str
        The site's own lines of shell.
    """
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items()))
    return "\n".join(
        [
            "umask 077",
            f'mkdir -p "$HOME/{LOG_FOLDER}"',
            f'exec >"$HOME/{LOG_FOLDER}/{token}.log" 2>&1',
            "umask 022",
            'cd "$HOME"',
            prologue.strip(),
            exports,
            f"exec {shlex.join(command)}",
        ]
    )
