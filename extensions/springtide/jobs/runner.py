"""Runs one run of a job where the job runs, and writes down what it did. Copied into each job's folder.

Needs nothing but Python 3.7: it is started by whatever Python a node has. It reads ``job.json``, starts the program
with its arguments (no shell reads them), passes on signals, and leaves ``provenance.json`` beside the outputs: what
ran, where, with which versions, when, how it ended, and what it left.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import pwd
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

_INDEX_VARIABLES = ("PBS_ARRAY_INDEX", "PBS_ARRAYID", "SLURM_ARRAY_TASK_ID")
_ID_VARIABLES = ("PBS_JOBID", "SLURM_JOB_ID")
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_MOST_HASHED_BYTES = 2**30
_MOST_LISTED = 1000
_NOT_FOUND = 127
_BEGUN_BEFORE = 125
VERSIONS = """
import json, platform, sys
from importlib.metadata import distributions
found = {d.metadata["Name"]: d.version for d in distributions()}
print(json.dumps({"python": platform.python_version(), **dict(sorted(found.items()))}))
"""


def main(folder: str) -> int:
    """Run it, and return the exit status."""
    os.umask(0o077)
    with open(os.path.join(folder, "job.json"), encoding="utf-8") as file:
        job = json.load(file)
    index = _index() if len(job["runs"]) > 1 else 1
    run = job["runs"][index - 1]
    several = len(job["runs"]) > 1
    outputs = os.path.join(folder, "outputs", str(index)) if several else os.path.join(folder, "outputs")
    os.makedirs(outputs, exist_ok=True)
    if not _is_first(os.path.join(folder, f".began-{index}")):
        print("This run has begun before, as another job: it does not run twice.", file=sys.stderr, flush=True)
        return _BEGUN_BEFORE
    record = _record(folder, index, len(job["runs"]))
    environment = dict(os.environ, **job["variables"])
    if job["prefix"]:
        environment["PATH"] = os.path.join(job["prefix"], "bin") + os.pathsep + environment.get("PATH", os.defpath)
    known = _began(job, run, index)
    _write(record, known)
    container = job.get("container")
    if container:
        environment.update(container["environment"])
        known.update(_run_in_image(container, run["argv"], outputs, environment))
        known["versions"] = _asked(_at_hand(container["versions"]), environment)
    else:
        known.update(_run(run["command"], outputs, environment))
        known["versions"] = _versions(environment) if job["prefix"] else {}
    known["outputs"] = _listed(outputs)
    _write(record, known)
    if container and all(_is_over(folder, one, len(job["runs"])) for one in range(1, len(job["runs"]) + 1)):
        # Whoever needs room may remove the image; where another account has left the mark, it sees by itself.
        with contextlib.suppress(OSError):
            os.unlink(container["mark"])
    return int(known["exit_status"])


def _is_first(mark: str) -> bool:
    """Whether no other job runs or ran this; one that its scheduler starts again from the beginning is the same job."""
    job = next((os.environ[name] for name in _ID_VARIABLES if os.environ.get(name)), "")
    try:
        with open(mark, "x", encoding="utf-8") as file:
            file.write(job)
    except FileExistsError:
        with open(mark, encoding="utf-8") as file:
            return file.read() == job
    return True


def _index() -> int:
    return next(int(os.environ[name]) for name in _INDEX_VARIABLES if os.environ.get(name, "").isdigit())


def _began(job: dict[str, Any], run: dict[str, Any], index: int) -> dict[str, Any]:
    return {
        "token": job["token"],
        "application": job["application"],
        "environment": job["environment"],
        "site": job["site"],
        "springtide": job["springtide"],
        "queue_job": next((os.environ[name] for name in _ID_VARIABLES if os.environ.get(name)), ""),
        "index": index,
        "parameters": run["parameters"],
        "command": run["command"],
        "host": platform.node(),
        "system": platform.platform(),
        "user": _user(),
        "started": time.time(),
    }


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _run(command: list[str], outputs: str, environment: dict[str, str]) -> dict[str, Any]:
    """Run the program to its end, in the folder of its outputs."""
    program = shutil.which(command[0], path=environment.get("PATH"))
    if program is None:
        print(f"There is no program “{command[0]}” in this environment.", file=sys.stderr, flush=True)
        return {"exit_status": _NOT_FOUND, "signal": None, "ended": time.time()}
    try:
        child = subprocess.Popen(
            [program, *command[1:]], cwd=outputs, env=environment, stdin=subprocess.DEVNULL, close_fds=True
        )
    except OSError as error:
        print(f"{program} cannot be run: {error.strerror}", file=sys.stderr, flush=True)
        return {"exit_status": _NOT_FOUND - 1, "signal": None, "ended": time.time()}
    for number in _PASSED_ON:
        signal.signal(number, lambda received, _: _pass_on(child, received))
    status = child.wait()
    return {
        "exit_status": status if status >= 0 else 128 - status,
        "signal": -status if status < 0 else None,
        "ended": time.time(),
    }


def _run_in_image(
    container: dict[str, Any], command: list[str], outputs: str, environment: dict[str, str]
) -> dict[str, Any]:
    """Run the program in the image, if both the image and what runs it are here."""
    command, problem = _at_hand(command), ""
    if shutil.which(command[0], path=environment.get("PATH")) is None:
        problem = (
            f"This node has no {container['name']}, in which its site runs jobs: the administrator can say where it is "
            "with “runtime_program” of the site in the lab file."
        )
    elif not os.path.exists(container["image"]):
        problem = f"This node does not see the image {container['image']}: it was removed, or is on no shared disk."
    elif container["bytes"] and os.path.getsize(container["image"]) != container["bytes"]:
        problem = f"The image {container['image']} is damaged: submit the job again, and it is made again."
    if not problem:
        return _run(command, outputs, environment)
    print(problem, file=sys.stderr, flush=True)
    return {"exit_status": _NOT_FOUND, "signal": None, "ended": time.time()}


def _at_hand(command: list[str]) -> list[str]:
    """Return a command with its program found on this node, where it is not where it was when it was submitted."""
    program = command[0]
    if os.path.isabs(program) and not os.path.exists(program):
        program = shutil.which(os.path.basename(program)) or program
    return [program, *command[1:]]


def _is_over(folder: str, index: int, count: int) -> bool:
    try:
        with open(_record(folder, index, count), encoding="utf-8") as file:
            return "ended" in json.load(file)
    except (OSError, ValueError):
        return False


def _record(folder: str, index: int, count: int) -> str:
    return os.path.join(folder, f"provenance-{index}.json" if count > 1 else "provenance.json")


def _pass_on(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(OSError):
        child.send_signal(number)


def _versions(environment: dict[str, str]) -> dict[str, str]:
    python = shutil.which("python", path=environment["PATH"]) or sys.executable
    return _asked([python, "-I", "-c", VERSIONS], environment)


def _asked(command: list[str], environment: dict[str, str]) -> dict[str, str]:
    try:
        answer = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=30,
            env=environment,
        )
        return dict(json.loads(answer.stdout.decode("utf-8")))
    except (OSError, TypeError, ValueError, subprocess.SubprocessError):
        return {}


def _listed(folder: str) -> list[dict[str, Any]]:
    """Return what the run left: names, sizes and, unless there is too much of it, checksums."""
    found: list[dict[str, Any]] = []
    left = _MOST_HASHED_BYTES
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            size = os.path.getsize(path)
            left -= size
            entry: dict[str, Any] = {"file": os.path.relpath(path, folder), "bytes": size}
            if left >= 0:
                entry["sha256"] = _checksum(path)
            found.append(entry)
            if len(found) == _MOST_LISTED:
                return found
    return found


def _checksum(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(2**20), b""):
            digest.update(piece)
    return digest.hexdigest()


def _write(path: str, values: dict[str, Any]) -> None:
    """Write JSON, complete or not at all."""
    beside = f"{path}.{os.getpid()}"
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(values, file, indent=2, ensure_ascii=False)
    os.replace(beside, path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
