#!/usr/bin/python3 -I
"""The one small program that acts as a user: JSON on standard input, JSON on standard output, fixed verbs.

The hub does not run as root. Where its users have accounts of their own, sudoers lets its account run this program,
and only this, as them (``hub_config/deployment/sudoers``). It needs the standard library alone and reads nothing from
the caller's environment that sudo does not let through. Verbs:

``submit``  ``{"verb": "submit", "dialect": "pbspro", "scripts": ["#!/bin/bash…", …], "folder": "/home/me/runs"}`` ->
            ``{"ok": true, "jobs": [{"ok": true, "id": "12.server"}, {"ok": false, "kind": …, "error": "…"}, …]}``,
            in order; ``folder``, where the command runs, may be left out: the home folder
``cancel``  ``{"verb": "cancel", "dialect": "pbspro", "ids": ["12.server", …]}`` ->
            ``{"ok": true, "gone": ["11.server"], "failed": {"13.server": "…"}}``: over or unknown; still there, and why
``tail``    ``{"verb": "tail", "log": "st-0123456789ab.log"}`` -> ``{"ok": true, "lines": ["…"]}``
``remove``  ``{"verb": "remove", "log": "st-0123456789ab.log"}``
``check``   ``{"verb": "check"}`` -> who it runs as, and whether the home folder can be written

A failure is ``{"ok": false, "kind": "…", "error": "…"}``; its kind is ``refused`` (there is no job), ``unknown`` (the
scheduler did not answer: there may be a job, even later), ``unclear`` (it failed in nobody's words: most likely there
is none), ``not tried`` (so there is none) or ``bad request`` (nothing at all was done).
"""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Four scripts of the largest size that Slurm takes; a thousand of the usual ones. Who has more asks again.
REQUEST_LIMIT_BYTES = 2**24
MOST_AT_ONCE = 10_000
# After this no further script is submitted: whoever waits for the answer knows when none can follow any more.
SUBMITS_FOR_S = 240
COMMAND_WITHIN_S = 60
LOG_FOLDER = ".springtide"
_SILENT = "exit status"
_TAIL_LINES = 30
_TAIL_BYTES = 64 * 2**10
_SITE_FILE = Path("/etc/springtide/launcher.json")
_JOB_ID = re.compile(r"[0-9]{1,12}(?:\[[0-9]{0,8}\]|_[0-9]{1,8})?(?:\.[A-Za-z0-9][A-Za-z0-9.-]{0,100})?")
_LOG_NAME = re.compile(r"st-[0-9a-f]{12}\.log")
# Per dialect: what submits, what cancels.
_PROGRAMS = {
    "pbspro": (("qsub",), ("qdel",)),
    "torque": (("qsub",), ("qdel",)),
    "slurm": (("sbatch", "--parsable"), ("scancel",)),
    # These commands take a file only, and let -o and -e win over the script's own lines.
    "slurm-pbs": (("qsub", "-j", "oe", "-o", "/dev/null", "/dev/stdin"), ("qdel",)),
    "local": (("springtide-local-queue", "submit"), ("springtide-local-queue", "cancel")),
}
# Each id is a connection of its own to a PBS server, from a small pool of ports that the whole machine shares.
IDS_PER_COMMAND = 20
# Words of schedulers that are away. A refusal that is mistaken for them costs little: it is looked up again.
_OUTAGE = re.compile(
    r"connect|contact|timed out|not answer|zero bytes|munge|authentication error|no route|errno=15\d{3}|pbs_iff"
    r"|server is |not running|initializing|configuration source|try again|temporarily",
    re.IGNORECASE,
)
_REFUSAL = re.compile(r"^(?:qsub|sbatch|springtide-local-queue): |error running the Slurm sbatch", re.MULTILINE)
_OVER = re.compile(
    r"unknown job|invalid job id|no such job|job (?:has|is) finished|already complet|invalid for state of job",
    re.IGNORECASE,
)
_KEPT_VARIABLES = ("PBS_CONF_FILE", "PBS_SERVER", "PBS_DEFAULT", "SLURM_CONF", "SPRINGTIDE_LOCAL_QUEUE")


class BadRequest(ValueError):
    """The request is not one this program takes."""


def main() -> int:
    """Answer the one request on standard input; the exit status is 0 whenever an answer was printed."""
    os.umask(0o077)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        answer = answer_request(sys.stdin.buffer.read(REQUEST_LIMIT_BYTES + 1))
    except BadRequest as error:
        answer = {"ok": False, "kind": "bad request", "error": str(error)}
    except OSError as error:
        answer = _failure(error)
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
    if (verb := request.pop("verb")) not in _VERBS:
        raise BadRequest(f"unknown verb; known: {', '.join(_VERBS)}")
    kinds, act = _VERBS[verb]
    if not set(request) <= set(kinds) or not all(_FITS[kind](request.get(name)) for name, kind in kinds.items()):
        raise BadRequest(f"{verb} takes exactly: {', '.join(map(': '.join, kinds.items())) or 'nothing'}")
    return act(**request)


def _submit(dialect: str, scripts: Sequence[str], folder: str | None = None) -> dict[str, Any]:
    command, where = _command(dialect, 0), _folder(folder)
    # Without it, qsub leaves a process of the user's behind for a minute; with it, each job has its own connection.
    command += ["-f"] * (dialect == "pbspro" and len(scripts) == 1)
    for script in scripts:
        if not script.startswith("#!/") or "\0" in script or "\r" in script:
            raise BadRequest("each script must start with #!/ and hold neither NUL nor CR")
    jobs: list[dict[str, Any]] = []
    last_begins = time.monotonic() + SUBMITS_FOR_S
    for script in scripts:
        jobs.append(_submit_one(command, script, where))
        if jobs[-1].get("kind", "refused") != "refused" or time.monotonic() > last_begins:
            break
    rest = {"ok": False, "kind": "not tried", "error": "the scheduler stopped answering before"}
    return {"ok": True, "jobs": jobs + [rest] * (len(scripts) - len(jobs))}


def _submit_one(command: Sequence[str], script: str, folder: str) -> dict[str, Any]:
    try:
        answer = _run(command, script, folder)
    except OSError as error:
        return _failure(error)
    lines = [line.partition(";")[0].strip() for line in answer.stdout.strip().splitlines()]
    ids = [line for line in lines if _JOB_ID.fullmatch(line)]
    readable = all(line.isprintable() and "\ufffd" not in line for line in lines)
    if answer.returncode == 0 and readable and ids and ids[-1] == lines[-1]:
        return {"ok": True, "id": ids[-1]}
    words = _words(answer)
    # Who refuses says why, in a program's own name, and names no job.
    unknown = answer.returncode <= 0 or ids or words.startswith(_SILENT) or _OUTAGE.search(words)
    kind = "unknown" if unknown else "refused" if _REFUSAL.search(words) else "unclear"
    return {"ok": False, "kind": kind, "error": words}


def _cancel(dialect: str, ids: Sequence[str]) -> dict[str, Any]:
    command = _command(dialect, 1)
    if not all(_JOB_ID.fullmatch(job_id) for job_id in ids):
        raise BadRequest("not a job id")
    gone: list[str] = []
    failed: dict[str, str] = {}
    for start in range(0, len(ids), IDS_PER_COMMAND):
        some = list(ids[start : start + IDS_PER_COMMAND])
        answer = _run([*command, *some], "", _folder(None))
        if answer.returncode == 0:
            continue
        complaints = _complaints(answer, some)
        gone += [job_id for job_id, words in complaints.items() if _OVER.search(words)]
        failed |= {job_id: words for job_id, words in complaints.items() if job_id not in gone}
    return {"ok": True, "gone": gone, "failed": failed}


def _complaints(answer: subprocess.CompletedProcess[str], ids: Sequence[str]) -> dict[str, str]:
    """Return the scheduler's words about each id it did not cancel; words that name none are about all."""
    lines = (answer.stderr + answer.stdout).splitlines()
    whole = {job_id: re.compile(rf"(?<![\w.\[]){re.escape(job_id)}(?![\w\[])") for job_id in ids}
    return {job_id: line for line in lines for job_id in ids if whole[job_id].search(line)} or dict.fromkeys(
        ids, _words(answer)
    )


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
    return {"ok": True, "user": _me().pw_name, "home_writable": os.access(_home(), os.W_OK)}


def _is_text(value: object) -> bool:
    # JSON may hold halves of characters, which nothing can write.
    return isinstance(value, str) and value == value.encode(errors="replace").decode()


_FITS: dict[str, Callable[[object], bool]] = {
    "text": _is_text,
    "texts": lambda value: isinstance(value, list) and 0 < len(value) <= MOST_AT_ONCE and all(map(_is_text, value)),
    "text or nothing": lambda value: value is None or _is_text(value),
}
_VERBS: dict[str, tuple[dict[str, str], Callable[..., dict[str, Any]]]] = {
    "submit": ({"dialect": "text", "scripts": "texts", "folder": "text or nothing"}, _submit),
    "cancel": ({"dialect": "text", "ids": "texts"}, _cancel),
    "tail": ({"log": "text"}, _tail),
    "remove": ({"log": "text"}, _remove),
    "check": ({}, _check),
}


def _log_path(log: str) -> Path:
    if not _LOG_NAME.fullmatch(log):
        raise BadRequest("not the name of a session's log")
    return _home() / LOG_FOLDER / log


def _home() -> Path:
    return Path(_me().pw_dir)


def _me() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.geteuid())
    except KeyError:
        raise BadRequest(f"this machine has no account of number {os.geteuid()}") from None


def _command(dialect: str, which: int) -> list[str]:
    if dialect not in _PROGRAMS:
        raise BadRequest(f"unknown dialect; known: {', '.join(_PROGRAMS)}")
    program, *arguments = _PROGRAMS[dialect][which]
    # A variable that sudo drops, then root's site file.
    own = "" if "SUDO_USER" in os.environ else os.environ.get("SPRINGTIDE_COMMANDS", "")
    return [str(Path(own or str(_site().get("commands", "/usr/bin")), program)), *arguments]


def _site() -> dict[str, Any]:
    """Return what root fixed for this machine: ``commands`` and ``environment``."""
    try:
        site = json.loads(_SITE_FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        site = None
    if not isinstance(site, dict) or not isinstance(site.get("environment", {}), dict):
        raise BadRequest(f"{_SITE_FILE} does not hold what it should: ask the administrator")
    return site


def _environment() -> dict[str, str]:
    account = _me()
    environment = {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
    environment |= {"SHELL": "/bin/bash", "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    if "SUDO_USER" not in os.environ:
        environment |= {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return environment | {str(name): str(value) for name, value in _site().get("environment", {}).items()}


def _folder(wanted: str | None) -> str:
    """Return where commands run: PBS delivers a job's files there, and hangs for 40 s where the user cannot write."""
    if not wanted:
        return str(_home()) if os.access(_home(), os.X_OK) else "/"
    if not os.path.isabs(wanted) or "\0" in wanted:
        raise BadRequest("the folder must be an absolute path")
    if not os.path.isdir(wanted) or not os.access(wanted, os.X_OK):
        raise BadRequest(f"there is no folder {wanted} that {_me().pw_name} may enter")
    return wanted


def _run(argv: Sequence[str], stdin: str, folder: str) -> subprocess.CompletedProcess[str]:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    text: dict[str, Any] = {"encoding": "utf-8", "errors": "replace", **pipes}
    process = subprocess.Popen(argv, env=_environment(), cwd=folder, start_new_session=True, **text)
    try:
        output, errors = process.communicate(stdin, timeout=COMMAND_WITHIN_S)
    except subprocess.TimeoutExpired:
        output, errors = "", f"{argv[0]} did not answer within {COMMAND_WITHIN_S} s"
    finally:
        # With all it started, also when this program is told to end: no job is submitted much later.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return subprocess.CompletedProcess(argv, process.returncode, output, errors)


def _failure(error: OSError) -> dict[str, Any]:
    return {"ok": False, "kind": "refused", "error": f"{error.strerror}: {error.filename or ''}".rstrip(": ")}


def _words(answer: subprocess.CompletedProcess[str]) -> str:
    return answer.stderr.strip() or answer.stdout.strip() or f"{_SILENT} {answer.returncode}"


if __name__ == "__main__":
    sys.exit(main())
