"""How a job of the local queue starts: its folders, its environment, its first process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import NoReturn

from springtide.queues.local.directives import QUEUE_NAME
from springtide.queues.local.machine import Spool, account, host_name
from springtide.queues.local.processes import (
    MARK_VARIABLE,
    die_with_parent,
    prefer_in_memory_shortage,
    start_of,
)
from springtide.queues.local.store import SINGLE, Store, id_of

_PATH = "/usr/local/bin:/usr/bin:/bin"
_CANNOT_RUN = 126


class Launch:
    """One job about to start."""

    def __init__(self, spool: Spool, row: sqlite3.Row) -> None:
        self.spool = spool
        self.row = row
        self.id = id_of(row)

    def start(self, store: Store, claim: int) -> int:
        """Return the number of the job's first process, which runs from now on.

        It waits until its name is in the database: should the shepherd die before, the process ends unrun; should it
        die after, the keeper finds it.

        Raises
        ------
        OSError
            If its folder or its output files cannot be used.
        QueueError
            If the database cannot be written; then nothing has started.
        """
        row = self.row
        os.stat(row["folder"])
        os.mkdir(row["scratch"], 0o700)
        output, errors = self._open_outputs()
        environment = self._environment()
        go, ready = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ready)
            self._become_job(go, output, errors, environment)
        os.close(go)
        try:
            store.change(
                "UPDATE jobs SET leader = ?, leader_start = ? WHERE key = ? AND claim = ?",
                pid,
                start_of(pid),
                row["key"],
                claim,
            )
            os.write(ready, b"1")
        finally:
            os.close(ready)
            os.close(output)
            os.close(errors)
        return pid

    def remove_scratch(self) -> None:
        """Remove the job's temporary folder."""
        remove_scratch(self.row["scratch"])

    def _open_outputs(self) -> tuple[int, int]:
        suffix = f".{self.row['position']}" if self.row["position"] != SINGLE else ""
        old_umask = os.umask(self.row["umask"])
        try:
            output = self._open(self.row["output"], suffix)
            return output, self._open(self.row["errors"], suffix) if self.row["errors"] else os.dup(output)
        finally:
            os.umask(old_umask)

    def _open(self, path: str, suffix: str) -> int:
        # A job that runs again adds to what it wrote before: that may be all that tells why it did.
        fresh = os.O_TRUNC if self.row["runs"] <= 1 else 0
        name = path if path == "/dev/null" else path + suffix
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY | fresh, 0o666)

    def _environment(self) -> dict[str, str]:
        """Return the job's variables: a plain login's, and those that PBS would set."""
        row, owner = self.row, account()
        ranks = row["ranks"] or row["cores"]
        node_file, scratch = Path(row["scratch"], "nodes"), Path(row["scratch"], "tmp")
        scratch.mkdir(mode=0o700)
        node_file.write_text(f"{host_name()}\n" * ranks, encoding="utf-8")
        threads = row["cores"] // ranks if row["ranks"] else row["cores"]
        environment = {
            "HOME": owner.pw_dir,
            "USER": owner.pw_name,
            "LOGNAME": owner.pw_name,
            "SHELL": "/bin/bash",
            "PATH": _PATH,
            "LANG": "C.UTF-8",
            "TMPDIR": str(scratch),
            "NCPUS": str(row["cores"]),
            "OMP_NUM_THREADS": str(max(1, threads)),
            "PBS_ENVIRONMENT": "PBS_BATCH",
            "PBS_JOBID": self.id,
            "PBS_JOBNAME": row["name"],
            "PBS_NCPUS": str(row["cores"]),
            "PBS_NODEFILE": str(node_file),
            "PBS_NP": str(ranks),
            "PBS_NUM_NODES": "1",
            "PBS_NUM_PPN": str(row["cores"]),
            "PBS_O_HOME": owner.pw_dir,
            "PBS_O_HOST": host_name(),
            "PBS_O_LOGNAME": owner.pw_name,
            "PBS_O_WORKDIR": row["folder"],
            "PBS_QUEUE": QUEUE_NAME,
            MARK_VARIABLE: row["mark"],
        }
        if row["is_array"]:
            index = str(row["position"])
            environment |= {
                "PBS_ARRAY_ID": f"{row['number']}[]",
                "PBS_ARRAY_INDEX": index,
                "PBS_ARRAYID": index,
            }
        return environment

    def _become_job(self, go: int, output: int, errors: int, environment: dict[str, str]) -> NoReturn:
        """Turn this child into the job once its parent says so."""
        try:
            die_with_parent()
            os.setsid()
            if os.read(go, 1) != b"1":
                os._exit(_CANNOT_RUN)
            for target, source in ((1, output), (2, errors)):
                os.dup2(source, target)
            nothing = os.open("/dev/null", os.O_RDONLY)
            os.dup2(nothing, 0)
            prefer_in_memory_shortage()
            os.umask(self.row["umask"])
            os.chdir(self.row["folder"])
            signal.pthread_sigmask(signal.SIG_SETMASK, set())
            # What Python ignores, and what whoever started the keeper ignored, is not the job's affair.
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_DFL)
            interpreter = json.loads(self.row["interpreter"])
            script = str(self.spool.script(self.row["number"]))
            os.execve(interpreter[0], [*interpreter, script], environment)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.write(2, f"{self.row['name']} cannot start: {error}\n".encode())
        finally:
            os._exit(_CANNOT_RUN)


def remove_scratch(folder: str) -> None:
    """Remove a job's temporary folder, where it had one."""
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
