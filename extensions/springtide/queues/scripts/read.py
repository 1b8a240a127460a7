"""Ordinary batch scripts, read as their schedulers read them, and made ready for any site.

A script's ``#PBS`` or ``#SBATCH`` lines become a `JobRequest`; everything else runs as it is. Directives end, as the
schedulers have it, at the first line that is neither blank nor a comment. In what is submitted they are disarmed
(``##PBS``), as Slurm's sbatch would obey ``#PBS`` lines as well.

What a script may rely on, wherever it runs: it starts where its scheduler would start it (PBS: the home folder, Slurm:
where it was submitted), with ``-v`` and ``--export`` variables set, and with those variables of its own scheduler that
it mentions (``PBS_O_WORKDIR``, ``SLURM_ARRAY_TASK_ID``, …). ``-V``, and Slurm's habit of exporting everything, carry
the submitter's environment without what belongs to her login only, and without what looks like a secret.
"""

from __future__ import annotations

import re
import shlex
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from springtide.errors import ScriptError
from springtide.queues.bookkeeping import check_name
from springtide.queues.model import JobRequest
from springtide.queues.scripts.asked import Asked, Directive
from springtide.queues.scripts.pbs import read_pbs_options
from springtide.queues.scripts.slurm import read_slurm_options
from springtide.queues.scripts.translate import FAMILIES, Target, Translation, safe_file_name, translate

MOST_BYTES = 1_000_000
_SHEBANG = re.compile(r"#!\s*(/\S+(?:[ \t]+\S.*)?)")
_READERS: dict[str, Callable[[Asked, Sequence[str]], None]] = {
    "#PBS": read_pbs_options,
    "#SBATCH": read_slurm_options,
}


@dataclass(frozen=True)
class BatchScript:
    """A script that has been read and whose directives make sense."""

    name: str
    """Of its file."""
    shebang: str
    """The program behind ``#!``; empty where the script has no such line."""
    body: str
    """Its lines without the ``#!``, directives disarmed."""
    directives: tuple[Directive, ...] = ()

    def prefix_for(self, dialect: str) -> str:
        """Return which directives count at a site of `dialect`, as a script may have both; empty: it has none."""
        written = list(dict.fromkeys(directive.prefix for directive in self.directives))
        own = FAMILIES.get(dialect, "")
        return own if own in written else next(iter(written), "")

    def translate(self, target: Target, **overrides: Any) -> Translation:
        """Return the request for `target`, with notes on what could not be taken over.

        Parameters
        ----------
        target : Target
            Where it is to run.
        **overrides
            Fields of `JobRequest` that win over the script.

        Raises
        ------
        ScriptError
            If a directive means something that `target` cannot be told.
        """
        prefix = self.prefix_for(target.dialect)
        return translate(self.asked(prefix), prefix, self.shebang, self.body, target, overrides)

    def request(self, target: Target | None = None, **overrides: Any) -> JobRequest:
        """Return the request alone; without a target as the local queue takes it."""
        return self.translate(target or Target(), **overrides).request

    def asked(self, prefix: str) -> Asked:
        """Return what its directives with `prefix` ask for."""
        # Slurm gives a job its submitter's environment unless told otherwise.
        asked = Asked(name=_job_name(self.name), whole_environment=prefix == "#SBATCH")
        for directive in self.directives:
            if directive.prefix == prefix:
                asked.place = directive.place
                _READERS[prefix](asked, _arguments(asked, directive.text))
        return asked


def read_script(source: Path | str, *, name: str = "") -> BatchScript:
    """Return the script in the file `source`, or the script `source` itself where it is a text.

    Parameters
    ----------
    name : str
        What errors call it, and the job where no directive names it; default: the file's name.

    Raises
    ------
    ScriptError
        If it cannot be read, is no script, or has a directive that makes no sense; with its line.
    """
    raw = _read(source) if isinstance(source, Path) else source.encode(errors="surrogatepass")
    name = name or (source.name if isinstance(source, Path) and str(source) != "-" else "STDIN")
    text = _checked_text(raw, name)
    lines = text.removesuffix("\n").split("\n")
    shebang = _shebang(lines, name)
    directives, body = _split(lines, name)
    script = BatchScript(name, shebang, body, tuple(directives))
    for prefix in _READERS:
        script.asked(prefix)
    return script


def _job_name(file_name: str) -> str:
    """Return the name of a job that is called after its file, whatever that one is called."""
    try:
        check_name(file_name)
    except ScriptError:
        return safe_file_name(file_name)
    return file_name


def _read(path: Path) -> bytes:
    """Return the bytes of a file, at most one more than a script may have; ``-`` is standard input."""
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(MOST_BYTES + 1)
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise ScriptError(f"{path} is a folder.", "Name the script in it.")
        # Whoever opens a pipe that nobody writes to waits for ever.
        if not stat.S_ISREG(kind):
            raise ScriptError(f"{path} is not a file.", "Name a batch script, or - for standard input.")
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ScriptError(f"There is no file {path}.", "Look for a slip in its name.") from None
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise ScriptError(f"{path} cannot be read: {words}.", "Check its permissions.") from None


def _checked_text(raw: bytes, name: str) -> str:
    """Return the text of a script, if it is one that every scheduler takes."""
    if not raw.strip():
        raise ScriptError(f"{name} is empty.", "Write the commands of the job into it.")
    if len(raw) > MOST_BYTES:
        raise ScriptError(
            f"{name} is larger than {MOST_BYTES:,} bytes.", "Keep data in files of their own, which the script reads."
        )
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise ScriptError(
            f"{name}:{line}: there is a NUL byte: this is a program or data, not a script.",
            "Write a script that starts it, and submit that.",
        )
    if b"\r" in raw:
        line = raw[: raw.index(b"\r")].count(b"\n") + 1
        raise ScriptError(
            f"{name}:{line}: the line ends as on Windows (CR LF); the shell would take the CR for a part of a word.",
            f"Convert it: sed -i 's/\\r$//' {shlex.quote(name)}, or dos2unix.",
        )
    if raw.startswith(b"\xef\xbb\xbf"):
        raise ScriptError(
            f"{name}:1: there is a byte order mark before the first line.",
            f"Remove it: sed -i '1s/^\\xEF\\xBB\\xBF//' {shlex.quote(name)}.",
        )
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ScriptError(
            f"{name}:{line}: the text is not UTF-8 (byte 0x{raw[error.start]:02x}).",
            f"Convert it, e.g. from Latin-1: iconv -f latin1 -t utf-8 {shlex.quote(name)}.",
        ) from None


def _shebang(lines: Sequence[str], name: str) -> str:
    if not lines[0].startswith("#!"):
        return ""
    match = _SHEBANG.fullmatch(lines[0].rstrip())
    if not match:
        raise ScriptError(
            f"{name}:1: “{lines[0]}” does not name a program by its absolute path.", "Write, e.g., #!/bin/bash."
        )
    return match[1]


def _split(lines: Sequence[str], name: str) -> tuple[list[Directive], str]:
    """Return the directives, and the body with its directives disarmed.

    Raises
    ------
    ScriptError
        If there is nothing but directives and comments.
    """
    directives, body = [], list(lines)
    first = 1 if lines[0].startswith("#!") else 0
    end = next((number for number, line in enumerate(lines) if number >= first and _executable(lines, number)), None)
    if end is None:
        raise ScriptError(f"{name}: there are no commands, only comments.", "Write the commands of the job into it.")
    for start, stop, prefix, text in _directives(lines, first, end):
        directives.append(Directive(f"{name}:{start + 1}", prefix, text))
        for number in range(start, stop):
            body[number] = f"#{lines[number]}" if number == start else f"##{lines[number]}"
    return directives, "\n".join(body[first:])


def _executable(lines: Sequence[str], number: int) -> bool:
    """Whether the directives end at this line. The rest of a directive that goes on after a backslash does not."""
    line = lines[number].strip()
    if not line or line.startswith("#"):
        return False
    start = number
    while start and lines[start - 1].endswith("\\"):
        start -= 1
    return start == number or _prefix(lines[start]) != "#PBS"


def _directives(lines: Sequence[str], first: int, end: int) -> Iterator[tuple[int, int, str, str]]:
    """Yield the first and last+1 line, prefix and text of each directive."""
    number = first
    while number < end:
        start, prefix = number, _prefix(lines[number])
        number += 1
        if not prefix:
            continue
        text = lines[start].strip().removeprefix(prefix)
        while prefix == "#PBS" and text.endswith("\\") and number < end:
            text = f"{text[:-1]} {lines[number].strip()}"
            number += 1
        yield start, number, prefix, text


def _prefix(line: str) -> str:
    """Return the directive prefix of `line`: Slurm wants it at the very beginning, PBS allows blanks before it."""
    stripped = line.lstrip()
    for prefix in _READERS:
        candidate = stripped if prefix == "#PBS" else line
        if candidate.startswith(prefix) and candidate[len(prefix) : len(prefix) + 1] in ("", " ", "\t"):
            return prefix
    return ""


def _arguments(asked: Asked, text: str) -> list[str]:
    """Return the words of a directive, quotes resolved, without a comment at its end."""
    try:
        words = shlex.split(text)
    except ValueError:
        asked.refuse("a quotation mark is not closed.", "Close it.")
    comment = next((number for number, word in enumerate(words) if word.startswith("#")), len(words))
    return words[:comment]
