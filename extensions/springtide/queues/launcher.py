#!/usr/bin/python3 -I
"""The one small program that acts as a user: JSON on standard input, JSON on standard output, fixed verbs.

The hub does not run as root. Where its users have accounts of their own, sudoers lets its account run this program,
and only this, as them (``hub_config/deployment/sudoers``). It needs the standard library alone and reads nothing from
the caller's environment that sudo does not let through. Verbs:

``submit``  ``{"verb": "submit", "dialect": "pbspro", "script": "#!/bin/bash…"}`` -> ``{"ok": true, "id": "12.server"}``
``cancel``  ``{"verb": "cancel", "dialect": "pbspro", "id": "12.server"}``
``tail``    ``{"verb": "tail", "log": "st-0123456789ab.log"}`` -> ``{"ok": true, "lines": ["…"]}``
``remove``  ``{"verb": "remove", "log": "st-0123456789ab.log"}``
``check``   ``{"verb": "check"}`` -> who it runs as, and whether the home folder can be written

A failure is ``{"ok": false, "kind": "refused" | "bad request", "error": "…"}``.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

REQUEST_LIMIT_BYTES = 2**20
LOG_FOLDER = ".springtide"
_TAIL_LINES = 30
_TAIL_BYTES = 64 * 2**10
_COMMAND_TIMEOUT_S = 60
_SITE_FILE = Path("/etc/springtide/launcher.json")
_JOB_ID = re.compile(r"[0-9]{1,12}(?:\[[0-9]{0,8}\])?(?:\.[A-Za-z0-9][A-Za-z0-9.-]{0,100})?")
_LOG_NAME = re.compile(r"st-[0-9a-f]{12}\.log")
# -f: without it qsub leaves a process of the user's behind, which lives on for a minute.
_SUBMIT = {"pbspro": ("qsub", "-f"), "torque": ("qsub",), "slurm": ("sbatch", "--parsable")}
_CANCEL = {"pbspro": ("qdel",), "torque": ("qdel",), "slurm": ("scancel",)}
_KEPT_VARIABLES = ("PBS_CONF_FILE", "PBS_SERVER", "PBS_DEFAULT", "SLURM_CONF")


class BadRequest(ValueError):
    """The request is not one this program takes."""


def main() -> int:
    """Answer the one request on standard input; the exit status is 0 whenever an answer was printed."""
    os.umask(0o077)
    try:
        answer = answer_request(sys.stdin.buffer.read(REQUEST_LIMIT_BYTES + 1))
    except BadRequest as error:
        answer = {"ok": False, "kind": "bad request", "error": str(error)}
    except OSError as error:
        answer = {"ok": False, "kind": "refused", "error": f"{error.strerror}: {error.filename or ''}".rstrip(": ")}
    json.dump(answer, sys.stdout)
    return 0


def answer_request(raw: bytes) -> dict[str, Any]:
    """Return the answer to one request, checked whole before anything is done.

    Raises
    ------
    BadRequest
        If it is not a JSON object with a known verb and exactly that verb's arguments.
    """
    if len(raw) > REQUEST_LIMIT_BYTES:
        raise BadRequest(f"the request is larger than {REQUEST_LIMIT_BYTES} bytes")
    try:
        request = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the request is not JSON") from error
    if not isinstance(request, dict) or not isinstance(request.get("verb"), str):
        raise BadRequest("the request is not a JSON object with a verb")
    verb = request.pop("verb")
    if verb not in _VERBS:
        raise BadRequest(f"unknown verb; known: {', '.join(_VERBS)}")
    names, act = _VERBS[verb]
    if set(request) != set(names) or not all(isinstance(request[name], str) for name in names):
        raise BadRequest(f"{verb} takes exactly these texts: {', '.join(names) or 'none'}")
    return act(**request)


def _submit(dialect: str, script: str) -> dict[str, Any]:
    if not script.startswith("#!/") or "\0" in script or "\r" in script:
        raise BadRequest("the script must start with #!/ and hold neither NUL nor CR")
    answer = _run(_command(_SUBMIT, dialect), script)
    lines = answer.stdout.strip().splitlines()
    job_id = lines[-1].partition(";")[0].strip() if lines else ""
    if answer.returncode != 0 or not _JOB_ID.fullmatch(job_id):
        return _refused(answer)
    return {"ok": True, "id": job_id}


def _cancel(dialect: str, id: str) -> dict[str, Any]:
    if not _JOB_ID.fullmatch(id):
        raise BadRequest("not a job id")
    answer = _run([*_command(_CANCEL, dialect), id], "")
    return {"ok": True} if answer.returncode == 0 else _refused(answer)


def _tail(log: str) -> dict[str, Any]:
    path = _log_path(log)
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return {"ok": True, "lines": []}
    return {"ok": True, "lines": text.splitlines()[-_TAIL_LINES:]}


def _remove(log: str) -> dict[str, Any]:
    _log_path(log).unlink(missing_ok=True)
    return {"ok": True}


def _check() -> dict[str, Any]:
    home = _home()
    return {"ok": True, "user": pwd.getpwuid(os.geteuid()).pw_name, "home_writable": os.access(home, os.W_OK)}


_VERBS: dict[str, tuple[tuple[str, ...], Callable[..., dict[str, Any]]]] = {
    "submit": (("dialect", "script"), _submit),
    "cancel": (("dialect", "id"), _cancel),
    "tail": (("log",), _tail),
    "remove": (("log",), _remove),
    "check": ((), _check),
}


def _log_path(log: str) -> Path:
    if not _LOG_NAME.fullmatch(log):
        raise BadRequest("not the name of a session's log")
    return _home() / LOG_FOLDER / log


def _home() -> Path:
    return Path(pwd.getpwuid(os.geteuid()).pw_dir)


def _command(table: Mapping[str, tuple[str, ...]], dialect: str) -> list[str]:
    if dialect not in table:
        raise BadRequest(f"unknown dialect; known: {', '.join(table)}")
    program, *arguments = table[dialect]
    return [str(_commands_folder() / program), *arguments]


def _commands_folder() -> Path:
    """Return the scheduler's folder: root's site file first, then a variable that sudo drops, then /usr/bin."""
    if os.environ.get("SPRINGTIDE_COMMANDS") and "SUDO_USER" not in os.environ:
        return Path(os.environ["SPRINGTIDE_COMMANDS"])
    return Path(_site().get("commands", "/usr/bin"))


def _site() -> dict[str, Any]:
    """Return what root fixed for this machine: ``commands`` and ``environment``."""
    try:
        site = json.loads(_SITE_FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BadRequest(f"{_SITE_FILE} is not JSON: ask the administrator") from error
    return site if isinstance(site, dict) else {}


def _environment() -> dict[str, str]:
    account = pwd.getpwuid(os.geteuid())
    environment = {
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": "/bin/bash",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
    }
    if "SUDO_USER" not in os.environ:
        environment |= {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return environment | {str(name): str(value) for name, value in _site().get("environment", {}).items()}


def _run(argv: list[str], stdin: str) -> subprocess.CompletedProcess[str]:
    # A folder the user can write: PBS delivers a job's files there, and hangs for 40 s on one she cannot.
    home = _home()
    try:
        return subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_TIMEOUT_S,
            env=_environment(),
            cwd=home if os.access(home, os.X_OK) else "/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 124, "", f"{argv[0]} did not answer within {_COMMAND_TIMEOUT_S} s")


def _refused(answer: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    words = answer.stderr.strip() or answer.stdout.strip() or f"exit status {answer.returncode}"
    return {"ok": False, "kind": "refused", "error": words, "exit_status": answer.returncode}


if __name__ == "__main__":
    sys.exit(main())
