"""The ``#PBS`` lines that PBS Pro and Torque share.

Whatever stands in a request can only fill the place it is meant for: what could end a line or a word there is refused,
so that neither a name nor a path can smuggle in a directive.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from springtide.errors import ScriptError
from springtide.queues.model import After, JobArray, JobRequest, Mail

KIB = 2**10
JOB_ID = re.compile(r"[0-9]+(?:\[[0-9]*\])?(?:\.[A-Za-z0-9][A-Za-z0-9.-]*)?")
NOWHERE = "/dev/null"
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+=-]*")
_ADDRESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(?:@[A-Za-z0-9][A-Za-z0-9.-]*)?")
_SHELL = re.compile(r"/[A-Za-z0-9_./+=:, -]*")
# Printable ASCII: qsub takes nothing else in a path; and nothing that ends a quoted word or is expanded.
_PATH = re.compile(r"/[ !#%-&(-\[\]-_a-~]*")
_FIRST_OF_A_NAME = re.compile(r"[A-Za-z0-9_]")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.+-]")
_OWN_PARTS = re.compile(r"-l\s*(select|nodes)=")
_MACHINES_ZONE = Path("/etc/localtime")


def safe_name(name: str) -> str:
    """Return `name` as a PBS job may be called: ASCII letters, digits and ``_.+-``, the others replaced one by one."""
    plain = "".join(_plain(character) for character in unicodedata.normalize("NFC", name))
    return plain if _FIRST_OF_A_NAME.match(plain) else f"_{plain[1:]}"


def _plain(character: str) -> str:
    """Return the letter without its accents, or "_": always one character, so that a name's length stays."""
    return _NOT_IN_A_NAME.sub("_", unicodedata.normalize("NFKD", character)[:1])


def check(request: JobRequest) -> None:
    """Refuse a request that no scheduler could understand.

    Raises
    ------
    ScriptError
        If a number is out of all reason, or a text would not stay in its place.
    """
    numbers = {"cores": (request.cores, 1), "nodes": (request.nodes, 1), "ranks": (request.ranks, 0)}
    numbers |= {"gpus": (request.gpus, 0), "memory": (request.memory_bytes, 0), "walltime": (request.walltime_s, 0)}
    for what, (number, least) in numbers.items():
        if number < least:
            raise ScriptError(f"{number} is no number of {what}: at least {least} is needed.")
    if request.array is not None:
        _check_array(request.array)
    if not _SHELL.fullmatch(request.shell):
        raise ScriptError(f"“{printable(request.shell)}” is not the path of a shell, with options at most.")
    for line in request.directives:
        if not line.strip().isprintable():
            raise ScriptError(f"The directive “{printable(line)}” is more than one line.")


def _check_array(array: JobArray) -> None:
    """Refuse an array without a job, or with numbers that no scheduler takes.

    Raises
    ------
    ScriptError
        If it is one.
    """
    if array.first < 0 or array.step < 1 or array.at_once < 0 or len(array) == 0:
        raise ScriptError(f"{array.first}-{array.last}:{array.step} is no array of jobs.")


def own_parts(request: JobRequest) -> str:
    """Return "select" or "nodes" where a directive says itself which parts of nodes are wanted, else "".

    Parts of different kinds, and resources of the site's own, are known to its scheduler only. PBS heeds the first line
    that asks for parts, so that there must be no other.
    """
    found = (_OWN_PARTS.match(line.strip()) for line in request.directives)
    return next((match[1] for match in found if match), "")


def job_memory(request: JobRequest) -> list[str]:
    """Return the line that asks for the memory of all nodes together."""
    return [f"-l mem={max(1, request.nodes * request.memory_bytes // KIB)}kb"] if request.memory_bytes else []


def who_and_where(request: JobRequest, name: str) -> list[str]:
    """Return the lines with the job's name, queue and account."""
    lines = [f"-N {name}"]
    lines += [f"-q {_word(request.queue, 'queue')}"] if request.queue else []
    return lines + ([f"-A {_word(request.account, 'account')}"] if request.account else [])


def start(request: JobRequest) -> list[str]:
    """Return the lines that say from when the job may start."""
    lines = ["-h"] if request.held else []
    if request.start_after is not None:
        # Up to the next second: never before. qsub reads it as the local time of its machine, whatever our TZ says.
        moment = datetime.fromtimestamp(math.ceil(request.start_after), machines_zone())
        lines.append(f"-a {moment:%Y%m%d%H%M.%S}")
    return lines


def dependencies(request: JobRequest, words: Mapping[After, str], array_words: Mapping[After, str]) -> list[str]:
    """Return the line with the jobs that come first; `array_words` are for whole arrays."""
    items = []
    for dependency in request.dependencies:
        for job_id in dependency.ids:
            if not JOB_ID.fullmatch(job_id):
                raise ScriptError(f"“{printable(job_id)}” is not the id of a job to follow.")
            items.append(f"{(array_words if '[]' in job_id else words)[dependency.after]}:{job_id}")
    return [f"-W depend={','.join(items)}"] if items else []


def mail(wish: Mail | None) -> list[str]:
    """Return the lines that say who is written to; without a wish nobody is: PBS by itself writes about aborts."""
    if wish is None:
        return ["-m n"]
    points = (("a", wish.at_abort), ("b", wish.at_begin), ("e", wish.at_end))
    for address in wish.to:
        if not _ADDRESS.fullmatch(address):
            raise ScriptError(f"“{printable(address)}” is not an address to write to.")
    to = [f"-M {','.join(wish.to)}"] if wish.to else []
    return [f"-m {''.join(letter for letter, wanted in points if wanted) or 'n'}", *to]


def checked_path(path: str) -> str:
    """Return `path` if it can stand between double quotes in a directive.

    Raises
    ------
    ScriptError
        If it is not absolute, or holds what qsub does not take.
    """
    if not _PATH.fullmatch(path):
        raise ScriptError(
            f"The batch queue cannot write to “{printable(path)}”.",
            "Give an absolute path of unaccented letters, digits and ordinary signs.",
        )
    return path


def _word(text: str, what: str) -> str:
    if not _WORD.fullmatch(text):
        raise ScriptError(f"“{printable(text)}” is not the name of a {what}.")
    return text


def printable(text: str) -> str:
    """Return `text` for an error message: its control characters escaped, and not too long."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)[:80]


@cache
def machines_zone() -> tzinfo:
    """Return the time zone of this machine: the commands run without the TZ that this process may have."""
    try:
        with _MACHINES_ZONE.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC
