"""The ``#SPRINGTIDE key=value`` lines of the local queue: which keys there are, and what reads their values."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from springtide.errors import ScriptError
from springtide.queues.model import After, Dependency, JobArray
from springtide.units import parse_memory, parse_walltime

DIRECTIVE = "#SPRINGTIDE"
QUEUE_NAME = "local"
JOB_ID = re.compile(r"([0-9]{1,12})(?:\[([0-9]{0,8})\])?")
# Also what only some take for a line's end, and halves of characters, which no file can hold.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ARRAY = re.compile(r"([0-9]{1,8})-([0-9]{1,8})(?::([0-9]{1,8}))?(?:%([0-9]{1,8}))?")
_LARGEST_ARRAY = 10_000
_LONGEST_NAME = 200
_EXACT = ("name", "output", "errors")


@dataclass(frozen=True)
class Submission:
    """A script and all it asks for, checked."""

    script: str
    interpreter: tuple[str, ...]
    """What the first line says."""
    name: str = "job"
    cores: int = 1
    memory_bytes: int = 0
    walltime_s: int = 0
    ranks: int = 0
    array: JobArray | None = None
    after: tuple[Dependency, ...] = ()
    rerunnable: bool = False
    held: bool = False
    start_after: float | None = None
    output: str = "/dev/null"
    errors: str = ""
    unavailable: Mapping[str, int] = field(default_factory=dict)
    """What one machine cannot give, and how much of it was asked for."""


def parse_id(text: str) -> tuple[int, int | None, bool]:
    """Return a job id's number, its index (None: of the whole), and whether it names an array.

    Raises
    ------
    ScriptError
        If it is not an id.
    """
    match = JOB_ID.fullmatch(text)
    if not match:
        raise ScriptError(f"“{text[:40]}” is not a job id.")
    return int(match[1]), int(match[2]) if match[2] else None, match[2] is not None


def with_directive(submission: Submission, text: str, number: int) -> Submission:
    """Return the submission changed by the directive `text`, which stands on line `number`.

    Raises
    ------
    ScriptError
        If it is not understood.
    """
    key, equals, value = text.lstrip(" \t").partition("=")
    if not equals or key not in _KEYS or not text.startswith((" ", "\t")):
        raise ScriptError(f"line {number}: “{text.strip()[:80]}” is not understood.", f"Known: {', '.join(_KEYS)}.")
    try:
        return replace(submission, **_KEYS[key](value if key in _EXACT else value.strip(), submission))
    except ValueError as error:
        raise ScriptError(f"line {number}: {key}: “{value[:80]}” is not allowed: {error}.") from error


def _plain(text: str) -> str:
    if CONTROL.search(text):
        raise ValueError("it holds control characters")
    return text


def _name(text: str) -> str:
    if not text.strip() or len(text) > _LONGEST_NAME:
        raise ValueError(f"a name has 1 to {_LONGEST_NAME} characters")
    return _plain(text)


def _path(text: str) -> str:
    if not text:
        raise ValueError("it is empty")
    return os.path.abspath(os.path.expanduser(_plain(text)))


def _whole(lowest: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < lowest:
            raise ValueError(f"a whole number, {lowest} or more, is wanted")
        return int(text)

    return whole


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("yes or no is wanted")
    return text == "yes"


def _time(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", text):
        raise ValueError("seconds since 1970 are wanted")
    return float(text)


def _array(text: str) -> JobArray:
    match = _ARRAY.fullmatch(text)
    if not match:
        raise ValueError("FIRST-LAST[:STEP][%AT_ONCE] is wanted")
    array = JobArray(int(match[1]), int(match[2]), int(match[3] or 1), int(match[4] or 0))
    if array.step < 1 or not 1 <= len(array) <= _LARGEST_ARRAY:
        raise ValueError(f"an array has 1 to {_LARGEST_ARRAY} jobs")
    return array


def _after(text: str) -> Dependency:
    kind, _, ids = text.partition(":")
    if kind not in [after.value for after in After] or not all(map(JOB_ID.fullmatch, ids.split(","))):
        raise ValueError("ok, failure, any or start, a colon, and job ids with commas are wanted")
    return Dependency(After(kind), tuple(ids.split(",")))


def _queue(text: str) -> str:
    if text != QUEUE_NAME:
        raise ValueError(f"the only queue is {QUEUE_NAME}")
    return text


_Reader = Callable[[str, Submission], dict[str, Any]]


def _sets(name: str, read: Callable[[str], Any]) -> _Reader:
    return lambda text, _: {name: read(text)}


def _checks(read: Callable[[str], Any]) -> _Reader:
    def check(text: str, _: Submission) -> dict[str, Any]:
        read(text)
        return {}

    return check


def _lacks(name: str, given: int) -> _Reader:
    def read(text: str, submission: Submission) -> dict[str, Any]:
        asked = _whole(given)(text)
        others = {what: number for what, number in submission.unavailable.items() if what != name}
        return {"unavailable": others | ({name: asked} if asked > given else {})}

    return read


_KEYS: dict[str, _Reader] = {
    "name": _sets("name", _name),
    "queue": _checks(_queue),
    "nodes": _lacks("nodes", 1),
    "gpus": _lacks("gpus", 0),
    "cores": _sets("cores", _whole(1)),
    "memory": _sets("memory_bytes", parse_memory),
    "walltime": _sets("walltime_s", parse_walltime),
    "ranks": _sets("ranks", _whole(1)),
    "array": _sets("array", _array),
    "after": lambda text, submission: {"after": (*submission.after, _after(text))},
    "rerunnable": _sets("rerunnable", _yes),
    "held": _sets("held", _yes),
    "start_after": _sets("start_after", _time),
    "output": _sets("output", _path),
    "errors": _sets("errors", _path),
}
