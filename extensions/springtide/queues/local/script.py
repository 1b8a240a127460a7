"""The local queue's batch scripts: ``#SPRINGTIDE key=value`` lines, read strictly.

The lines stand at the script's head, among its other comments; a key that comes twice counts as the last one says,
``after`` adds up. What is not understood is refused, never skipped: a job must not run with less than it asked for.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import replace

from springtide.errors import ScriptError, SubmitRefused
from springtide.queues.local.directives import CONTROL, DIRECTIVE, Submission, with_directive
from springtide.queues.local.machine import Settings
from springtide.queues.model import JobArray, JobRequest
from springtide.units import format_memory, format_walltime

SCRIPT_LIMIT_BYTES = 2**20


def directives(request: JobRequest) -> list[str]:
    """Return the directives, without their prefix, that ask for what `request` needs.

    Raises
    ------
    ScriptError
        If a text in it holds a line break or another control character.
    """
    values: dict[str, object] = {
        "name": request.name,
        "queue": request.queue or None,
        "nodes": request.nodes if request.nodes != 1 else None,
        "cores": request.cores,
        "memory": request.memory_bytes or None,
        "walltime": format_walltime(request.walltime_s) if request.walltime_s else None,
        "ranks": request.ranks or None,
        "gpus": request.gpus or None,
        "array": _array_text(request.array) if request.array else None,
        "rerunnable": "yes" if request.rerunnable else "no",
        "held": "yes" if request.held else None,
        "start_after": repr(float(request.start_after)) if request.start_after is not None else None,
        "output": request.output,
        "errors": request.errors or None,
    }
    lines = [f"{key}={value}" for key, value in values.items() if value is not None]
    lines += [f"after={needed.after.value}:{','.join(needed.ids)}" for needed in request.dependencies]
    for line in lines:
        if CONTROL.search(line):
            raise ScriptError(f"{line.partition('=')[0]} must not hold line breaks or other control characters.")
    return lines


def read_script(raw: bytes) -> Submission:
    """Return what a script asks for.

    Raises
    ------
    ScriptError
        If it is not a text script, or one of its directives is not understood.
    """
    text = _text_of(raw)
    submission = Submission(text, _interpreter(text.partition("\n")[0]))
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith(DIRECTIVE):
            submission = with_directive(submission, line.removeprefix(DIRECTIVE), number)
    return submission


def fitted(submission: Submission, settings: Settings) -> Submission:
    """Return the submission with the site's values for what it leaves open.

    Raises
    ------
    SubmitRefused
        If it asks for more than this machine can ever give.
    """
    cores, gives = submission.cores, settings.memory_bytes
    if submission.unavailable:
        what, number = next(iter(submission.unavailable.items()))
        has = {"nodes": "is one", "gpus": "gives out none"}[what]
        raise SubmitRefused(f"The job asks for {number} {what}; this machine {has}.")
    if cores > settings.cores:
        raise SubmitRefused(f"The job asks for {cores} cores; this machine has {settings.cores}.")
    if submission.memory_bytes > gives:
        asked = format_memory(submission.memory_bytes)
        raise SubmitRefused(f"The job asks for {asked} of memory; this machine has {format_memory(gives)}.")
    longest = settings.walltime_s
    walltime_s = submission.walltime_s or min(settings.default_walltime_s, longest or settings.default_walltime_s)
    if longest is not None and walltime_s > longest:
        asked, allowed = format_walltime(walltime_s), format_walltime(longest)
        raise SubmitRefused(f"The job asks for a walltime of {asked}; the queue allows {allowed}.")
    memory_bytes = submission.memory_bytes or settings.default_memory_bytes(cores)
    return replace(submission, memory_bytes=memory_bytes, walltime_s=walltime_s)


def _text_of(raw: bytes) -> str:
    if len(raw) > SCRIPT_LIMIT_BYTES:
        raise ScriptError(f"The script is larger than {format_memory(SCRIPT_LIMIT_BYTES)}.")
    if not raw.strip():
        raise ScriptError("The script is empty.")
    if b"\0" in raw:
        raise ScriptError("The script holds NUL bytes: it is not a text.")
    if b"\r" in raw:
        raise ScriptError("The script has Windows line ends (CR).", "Convert it: sed -i 's/\\r$//' SCRIPT")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ScriptError(f"The script is not UTF-8 (byte {error.start + 1}).") from error


def _interpreter(first_line: str) -> tuple[str, ...]:
    try:
        words = shlex.split(first_line.removeprefix("#!")) if first_line.startswith("#!") else ["/bin/bash"]
    except ValueError:
        words = []
    if not words or not os.path.isabs(words[0]) or not os.access(words[0], os.X_OK):
        raise ScriptError(f"line 1: “{first_line[:80]}” names no program that can be run.")
    return tuple(words)


def _array_text(array: JobArray) -> str:
    return f"{array.first}-{array.last}:{array.step}" + (f"%{array.at_once}" if array.at_once else "")
