"""A queue apart from the account's own: to try something out, for courses and for tests."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from springtide.errors import QueueError
from springtide.queues.commands import run_command
from springtide.queues.local.machine import SPOOL_VARIABLE, Spool
from springtide.queues.local.queue import PROGRAM, LocalQueue

_PACKAGES = Path(__file__).parents[3]
# It leads to this queue whatever the environment of launcher, hub or person; and to this package, installed or not.
_SCRIPT = """#!/bin/sh
export {variable}={spool} PYTHONPATH={packages}
exec {python} -m springtide.queues.local.program "$@"
"""


def private_queue(folder: Path, **settings: Any) -> LocalQueue:
    """Make a queue of this machine whose jobs, limits and history lie in a folder.

    Parameters
    ----------
    folder : Path
        Absolute; made where it is missing.
    **settings
        What the queue gives out, as ``settings.json`` names it: ``cores=1, memory="2G"``.

    Returns
    -------
    LocalQueue
        Takes the place of a site: ``BatchPool(site=private_queue(folder, cores=1))``. Its jobs end by being cancelled;
        the process that starts them goes by itself when there are none.

    Raises
    ------
    QueueError
        If the folder cannot be made, belongs to another account or cannot hold programs; a setting is wrong.
    """
    spool = Spool(folder / "queue")
    spool.create()
    (spool.folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    spool.settings()
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    program = programs / PROGRAM
    words = {"variable": SPOOL_VARIABLE, "spool": spool.folder, "packages": _PACKAGES, "python": sys.executable}
    quoted = {key: shlex.quote(str(word)) for key, word in words.items()}
    program.write_text(_SCRIPT.format_map(quoted), encoding="utf-8")
    program.chmod(0o755)
    if not os.access(program, os.X_OK):
        raise QueueError(f"No program can be run in {folder}: its disk is mounted noexec.", "Name one in your home.")
    return LocalQueue(programs, run_command)
