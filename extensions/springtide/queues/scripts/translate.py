"""From what a script asks for to a request that a certain site understands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from springtide.errors import ScriptError
from springtide.queues.model import JobRequest
from springtide.queues.scripts.asked import Asked
from springtide.queues.scripts.variables import (
    Shape,
    carried_environment,
    cd,
    exports,
    is_posix_shell,
    preamble,
    scheduler_variables,
)

FAMILIES = {"pbspro": "#PBS", "torque": "#PBS", "slurm": "#SBATCH", "slurm-pbs": "#SBATCH"}
"""Which directives a dialect's own users write."""
_WORDS = {"#PBS": "PBS", "#SBATCH": "Slurm"}
# PBS runs a script with a login shell, where `module` and the like are defined.
_LOGIN_SHELLS = {"/bin/bash": "/bin/bash -l", "/usr/bin/bash": "/usr/bin/bash -l", "": "/bin/bash -l"}
_JOB_ID = re.compile(r"%[jA]|\$\{?PBS_JOBID\}?")
_INDEX = re.compile(r"[._-]?(?:%a|\^array_index\^|\$\{?PBS_ARRAY(?:ID|_INDEX)\}?)")
_HOST = re.compile(r"^[A-Za-z0-9][A-Za-z0-9.-]*:(?=[/~.\w])")
_UNSAFE = re.compile(r"[^A-Za-z0-9.+-]+")
_FILE_NAME_LENGTH = 60
_HOME = "~"
_STARTS_AT_HOME = ("pbspro", "torque")


@dataclass(frozen=True)
class Target:
    """Where a script is to run, as far as its translation depends on it."""

    dialect: str = "local"
    folder: Path = Path("/")
    """From where it is submitted; relative paths start here."""
    chosen_folder: bool = False
    """Whether the submitter named the folder: then the job starts there in any case."""
    user: str = ""
    node_cores: int = 0
    """Of the largest node; 0: not known."""
    queues: frozenset[str] = frozenset()
    """Names of the site's queues; empty: not known."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The submitter's."""
    stamp: str = ""
    """What tells this submission's files from those of others."""


@dataclass(frozen=True)
class Translation:
    """A request, and what its submitter should know about it."""

    request: JobRequest
    notes: tuple[str, ...] = ()


def translate(
    asked: Asked, prefix: str, shebang: str, body: str, target: Target, overrides: Mapping[str, Any]
) -> Translation:
    """Return the request for `target`; `overrides` are fields of `JobRequest` that win over the script.

    Raises
    ------
    ScriptError
        If a directive means something that `target` cannot be told.
    """
    resources = asked.resources(target.node_cores)
    same_family = FAMILIES.get(target.dialect) == prefix
    request = JobRequest(
        body=body,
        name=asked.name,
        queue=_queue(asked, same_family, target),
        account=asked.account,
        directives=tuple(_passed_on(asked, same_family, prefix, target.dialect)),
        array=asked.array,
        dependencies=tuple(asked.dependencies),
        rerunnable=asked.rerunnable,
        held=asked.held,
        start_after=asked.start_after,
        mail=replace(asked.mail, to=asked.mail_to) if asked.mail else None,
        shell=_shell(asked.shell, shebang, prefix),
        **resources,
    )
    request = replace(request, **overrides)
    output, errors = _streams(asked, prefix, request, target)
    if _JOB_ID.search(asked.output + asked.errors):
        asked.notes.append(
            f"The job's number is not known before: its files have {target.stamp} in their names instead."
        )
    request = replace(request, **{"output": output, "errors": errors, **overrides})
    body = _added(asked, prefix, request, target) + request.body
    return Translation(replace(request, body=body), tuple(asked.notes))


def _shell(chosen: str, shebang: str, prefix: str) -> str:
    shell = chosen or shebang
    return _LOGIN_SHELLS.get(shell, shell) if prefix == "#PBS" or not shell else shell


def _queue(asked: Asked, same_family: bool, target: Target) -> str:
    """Return the queue, unless it is another cluster's: the names of queues mean nothing elsewhere."""
    if not asked.queue or same_family or asked.queue in target.queues:
        return asked.queue
    known = f" (it has {', '.join(sorted(target.queues))})" if target.queues else ""
    asked.notes.append(f"The queue “{asked.queue}” is left out: this site has none of that name{known}.")
    return ""


def _passed_on(asked: Asked, same_family: bool, prefix: str, dialect: str) -> list[str]:
    """Return the directives that only their own schedulers know; elsewhere they are left out, or refused."""
    kept = []
    for native in asked.natives:
        if dialect in native.dialects or (same_family and not native.dialects):
            kept.append(native.text)
        elif native.essential:
            raise ScriptError(
                f"{native.place}: “{native.text}” has a meaning for {_WORDS[prefix]} only; this site is {dialect}.",
                f"Write #{prefix} in front of the line to leave it out, or choose a {_WORDS[prefix]} site with --site.",
            )
        elif not native.silent:
            words = f"“{native.text}” is left out; it has a meaning for {_WORDS[prefix]} only."
            asked.notes.append(f"{native.place}: {words}")
    return kept


def _streams(asked: Asked, prefix: str, request: JobRequest, target: Target) -> tuple[str, str]:
    """Return the absolute paths of the job's output and errors, as its own scheduler would have them."""
    stem = f"{safe_file_name(request.name)}{'-' if target.stamp else ''}{target.stamp}"
    apart = bool(asked.errors) if prefix != "#PBS" else not asked.joined
    if asked.errors and asked.joined and not asked.output:
        return _path(asked.errors, f"{stem}.out", request, target), ""
    output = _path(asked.output, f"{stem}.out", request, target)
    errors = _path(asked.errors, f"{stem}.err", request, target) if apart else ""
    return output, "" if errors == output else errors


def _path(said: str, usual: str, request: JobRequest, target: Target) -> str:
    said = _HOST.sub("", said)
    path = _INDEX.sub("", _JOB_ID.sub(lambda _: target.stamp, said)).replace("%x", safe_file_name(request.name))
    path = path.replace("%u", target.user).replace("%%", "%")
    whole = target.folder / path if path else target.folder / usual
    return str(whole / usual if path.endswith("/") or whole.is_dir() else whole)


def safe_file_name(name: str) -> str:
    """Return `name` as a part of a file's name that no shell stumbles over."""
    return _UNSAFE.sub("_", name).strip("._-")[:_FILE_NAME_LENGTH] or "job"


def _added(asked: Asked, prefix: str, request: JobRequest, target: Target) -> str:
    """Return the lines that come before the script's own: folder and variables."""
    lines = _variables(asked, prefix, request, target)
    if start := _start_folder(asked, prefix, target):
        lines = [cd(start), *lines]
    if lines and not is_posix_shell(request.shell):
        asked.notes.append(f"Its folder and variables cannot be set: “{request.shell}” is not a POSIX shell.")
        return ""
    return preamble(lines)


def _start_folder(asked: Asked, prefix: str, target: Target) -> str:
    """Return the folder to enter, "" where the job is there by itself.

    A script may rely on where its own scheduler starts it: PBS in the home folder, Slurm where it was submitted.
    """
    by_itself = _HOME if target.dialect in _STARTS_AT_HOME else str(target.folder)
    if target.chosen_folder:
        wanted = str(target.folder)
    elif asked.folder:
        wanted = str(target.folder / asked.folder)
    else:
        wanted = _HOME if prefix == "#PBS" else str(target.folder)
    return "" if wanted == by_itself else wanted


def _variables(asked: Asked, prefix: str, request: JobRequest, target: Target) -> list[str]:
    variables: dict[str, str] = {}
    if asked.whole_environment:
        variables, secrets = carried_environment(target.environment)
        if secrets:
            asked.notes.append(f"Not passed on, as they look like secrets: {', '.join(secrets)}.")
    for name, value in asked.variables.items():
        if value is not None or name in target.environment:
            variables[name] = target.environment[name] if value is None else value
    shape = Shape(
        request.name, str(target.folder), request.queue, request.nodes, request.cores, request.ranks or request.cores
    )
    return [*exports(variables), *scheduler_variables(request.body, target.dialect, shape)]
