"""Writes an Apptainer definition from a recipe's Dockerfile: the same folder, built without a daemon or privileges.

The instructions are done in their order in ``%post``, on a copy of the recipe's folder. What a definition cannot say,
such as several stages, is refused with its line rather than left out. ``USER`` and ``EXPOSE`` mean nothing there: under
Apptainer, everyone runs as oneself.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from springtide.environments.recipe import DOCKERFILE, Step, steps
from springtide.errors import EnvironmentsError

POST_STEPS = "apptainer.post"
"""A shell script of the recipe's folder, run at the end: what only the cluster needs."""
CONTEXT = "/.springtide-context"
"""Where the recipe's folder is while the image is built."""
SCRATCH_MARK = ".springtide-scratch"
"""A file in what the build has as ``/tmp``: without it, that would be everyone's, and cleaning up would harm."""
ARGUMENTS = "/tmp/.springtide-arguments"
"""Shell lines with the values of build arguments, which may be secrets: not in the definition, which an image keeps."""

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_ARGUMENT = re.compile(r"([A-Za-z_]\w*)(?:=(.*))?")
# As Docker does it: of a folder its content, of a file itself; patterns without a match are nothing.
_COPY = f"""copy() {{
    target=$1; shift
    for source in "$@"; do
        found=$(cd {CONTEXT} && ls -d -- $source 2>/dev/null) || continue
        for one in $found; do
            if [ -d "{CONTEXT}/$one" ]; then mkdir -p "$target" && cp -R "{CONTEXT}/$one/." "$target"
            elif [ "${{target%/}}" != "$target" ] || [ -d "$target" ]; then
                mkdir -p "$target" && cp "{CONTEXT}/$one" "$target"
            else mkdir -p "$(dirname "$target")" && cp "{CONTEXT}/$one" "$target"
            fi
        done
    done
}}"""


@dataclass
class _Definition:
    post: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    origins: int = 0


def definition(folder: Path, name: str, origin: Path, context: Path) -> str:
    """Return the definition of environment `name`.

    Parameters
    ----------
    folder : Path
        The recipe's folder.
    name : str
        The environment's.
    origin : Path
        The SIF or root file system that it starts from.
    context : Path
        The copy of the recipe's folder, with the site's certificate.

    Raises
    ------
    EnvironmentsError
        If its Dockerfile says something that a definition cannot.
    """
    made = _Definition()
    for step in steps(folder):
        kind, _, rest = step.instruction.partition(" ")
        if kind.upper() not in _INSTRUCTIONS:
            raise _cannot(step, folder)
        _INSTRUCTIONS[kind.upper()](made, step, rest.strip(), folder)
    if (folder / POST_STEPS).is_file():
        made.post.append(f"/bin/sh -eu {CONTEXT}/{POST_STEPS}")
    return _written(made, name, origin, context)


def _written(made: _Definition, name: str, origin: Path, context: Path) -> str:
    start = [
        "set -eu",
        f"[ -e /tmp/{SCRATCH_MARK} ] || {{ echo 'Build it with: springtide env build --with apptainer' >&2; exit 1; }}",
        f"[ ! -r {ARGUMENTS} ] || . {ARGUMENTS}",
        "workdir=/",
        *_COPY.splitlines(),
    ]
    run = shlex.join(made.entrypoint or ["env"])
    sections = {
        "%files": [f"{context} {CONTEXT}"],
        "%post": [*start, *made.post, f"rm -rf {CONTEXT}"],
        "%environment": made.environment,
        "%runscript": [f"[ $# -gt 0 ] || set -- {shlex.join(made.command)}", f'exec {run} "$@"'],
        "%labels": [f"springtide.environment {name}"],
    }
    head = f"# Made from {name}'s {DOCKERFILE} by: springtide env build --with apptainer\n"
    body = "".join(f"\n{title}\n" + "".join(f"    {line}\n" for line in lines) for title, lines in sections.items())
    return f"{head}Bootstrap: localimage\nFrom: {origin}\n{body}"


def _from(made: _Definition, step: Step, rest: str, folder: Path) -> None:
    made.origins += 1
    if made.origins > 1 or " " in rest:
        raise _cannot(step, folder)


def _arg(made: _Definition, step: Step, rest: str, folder: Path) -> None:
    match = _ARGUMENT.fullmatch(rest)
    if not match:
        raise _cannot(step, folder)
    if made.origins:
        default = "".join(shlex.split(match[2] or ""))
        made.post.append(f': "${{{match[1]}:={default}}}"; [ -z "${match[1]}" ] || export {match[1]}')


def _env(made: _Definition, step: Step, rest: str, folder: Path) -> None:
    for word in shlex.split(rest):
        match = _ASSIGNMENT.fullmatch(word)
        if not match:
            raise _cannot(step, folder)
        # Double quotes: a value may mean another variable, as PATH does.
        value = re.sub(r'(["`\\])', r"\\\1", match[2])
        line = f'export {match[1]}="{value}"'
        made.post.append(line)
        if match[1] != "HOME":  # which is everyone's own under Apptainer
            made.environment.append(line)


def _run(made: _Definition, step: Step, rest: str, folder: Path) -> None:
    if rest.startswith(("[", "--", "<<")):
        raise _cannot(step, folder)
    if step.title:
        made.post.append(f"echo {shlex.quote(f'#: {step.title}')}")
    made.post.append(f'cd "$workdir"; /bin/sh -c {shlex.quote(rest)}')


def _copy(made: _Definition, step: Step, rest: str, folder: Path) -> None:
    words = shlex.split(rest)
    if len(words) < 2 or rest.startswith(("[", "--", "<<")) or not words[-1].startswith("/"):
        raise _cannot(step, folder)
    if step.title:
        made.post.append(f"echo {shlex.quote(f'#: {step.title}')}")
    made.post.append(f"copy {shlex.join([words[-1], *words[:-1]])}")


def _workdir(made: _Definition, step: Step, rest: str, folder: Path) -> None:
    made.post.append(f'workdir={shlex.quote(rest)}; mkdir -p "$workdir"')


def _entrypoint(made: _Definition, step: Step, rest: str, folder: Path) -> None:
    made.entrypoint = _words(step, rest, folder)


def _command(made: _Definition, step: Step, rest: str, folder: Path) -> None:
    made.command = _words(step, rest, folder)


def _words(step: Step, rest: str, folder: Path) -> list[str]:
    try:
        return [str(word) for word in json.loads(rest)] if rest.startswith("[") else ["/bin/sh", "-c", rest]
    except ValueError:
        raise _cannot(step, folder) from None


def _nothing(made: _Definition, step: Step, rest: str, folder: Path) -> None:
    """Leave out what has no meaning under Apptainer."""


def _cannot(step: Step, folder: Path) -> EnvironmentsError:
    return EnvironmentsError(
        f"{folder / DOCKERFILE}: “{step.instruction[:60]}” cannot be said in an Apptainer definition.",
        "Say it in another way, or build with Docker and convert the image.",
    )


_INSTRUCTIONS: dict[str, Callable[[_Definition, Step, str, Path], None]] = {
    "ARG": _arg,
    "CMD": _command,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _nothing,
    "FROM": _from,
    "LABEL": _nothing,
    "RUN": _run,
    "USER": _nothing,
    "WORKDIR": _workdir,
}
