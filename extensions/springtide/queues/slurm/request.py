"""What a job asks for, as sbatch's options: on a script's ``#SBATCH`` lines or on a command line.

Slurm reads an option's value between double quotes, a backslash before a quote or a backslash (measured with 22.05):
so every printable text can be carried, and no text can end its line and start another directive. What is not printable
is refused. In the paths of output files ``%`` starts a replacement (doubled: a plain one) and a backslash switches all
replacements off, so that one is refused there.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from springtide.errors import ScriptError
from springtide.queues.model import After, Dependency, JobArray, JobRequest, Mail
from springtide.units import format_walltime

NAME_LIMIT = 200
_MIB = 2**20
_NOWHERE = "/dev/null"
_PLAIN = re.compile(r"[\w@%+=:,./-]*", re.ASCII)
_NEEDS_BACKSLASH = re.compile(r'(["\\])')
_JOB_ID = re.compile(r"\d{1,12}(_\d{1,8})?", re.ASCII)
_AFTER = {After.OK: "afterok", After.FAILURE: "afternotok", After.ANY: "afterany", After.START: "after"}
_MAIL = (("at_begin", "BEGIN"), ("at_end", "END"), ("at_abort", "FAIL"))
_DIRECTIVES = ("#SBATCH", "#PBS", "#BSUB")


def directive_lines(request: JobRequest) -> list[str]:
    """Return the options of `request` as they stand behind ``#SBATCH``.

    Raises
    ------
    ScriptError
        If it cannot be asked of Slurm.
    """
    return [_as_directive(option) for option in _options(request)]


def command_line(request: JobRequest) -> list[str]:
    """Return the options of `request`, the site's own directives included, as arguments of a command."""
    try:
        site = [word for line in request.directives for word in shlex.split(line)]
    except ValueError as error:
        raise ScriptError(f"A directive of the site cannot be read: {error}.") from error
    return [*_options(request), *site]


def without_directives(body: str) -> str:
    """Return `body` with the directives at its head made plain comments: sbatch would obey them before ours.

    It reads all lines up to the first that is neither empty nor a comment, those of ``#PBS`` and ``#BSUB`` too.
    """
    lines = body.split("\n")
    for number, line in enumerate(lines):
        if line.strip() and not line.lstrip().startswith("#"):
            break
        if line.startswith(_DIRECTIVES):
            lines[number] = f"# {line[1:]}"
    return "\n".join(lines)


def check_printable(what: str, text: str) -> str:
    """Return `text`; ScriptError where it holds a line break or another character that cannot be printed."""
    if not text.isprintable():
        raise ScriptError(
            f"The {what} holds a character that cannot be printed: {text!r}.", "Leave out line breaks and tabs."
        )
    return text


def _options(request: JobRequest) -> list[str]:
    """Return ``--name=value`` for all that `request` says; what it leaves open is the site's default."""
    _check_numbers(request)
    for line in request.directives:
        check_printable("directive", line)
    if len(request.name) > NAME_LIMIT:
        raise ScriptError(f"The job's name has {len(request.name)} characters.", f"Slurm takes {NAME_LIMIT} at most.")
    options = [*_texts(request), *_resources(request), *_times(request), *_files(request)]
    options += [_array(request.array)] if request.array is not None else []
    options += _dependencies(request.dependencies)
    options += _mail(request.mail) if request.mail else []
    options += ["--hold"] if request.held else []
    return [*options, "--requeue" if request.rerunnable else "--no-requeue"]


def _check_numbers(request: JobRequest) -> None:
    least = {"cores": 1, "nodes": 1, "ranks": 0, "gpus": 0, "memory_bytes": 0, "walltime_s": 0}
    for name, minimum in least.items():
        number = getattr(request, name)
        if number < minimum:
            raise ScriptError(f"The job asks for {name} = {number}.", f"The least is {minimum}.")


def _texts(request: JobRequest) -> Iterator[str]:
    texts = (("job-name", "name"), ("partition", "queue"), ("account", "account"))
    for option, name in texts:
        value = check_printable(f"job's {name}", getattr(request, name))
        if value:
            yield f"--{option}={value}"


def _resources(request: JobRequest) -> Iterator[str]:
    """Yield nodes, tasks, cores and memory of each node; `--mincpus` where the tasks do not share the cores evenly."""
    ranks = request.ranks or request.cores
    yield f"--nodes={request.nodes}"
    yield f"--ntasks-per-node={ranks}"
    yield f"--cpus-per-task={max(1, request.cores // ranks)}"
    if ranks > request.cores:
        yield "--overcommit"
    if request.cores % ranks:
        yield f"--mincpus={request.cores}"
    # --mem=0 would be a whole node's memory.
    if request.memory_bytes:
        yield f"--mem={-(-request.memory_bytes // _MIB)}M"
    if request.gpus:
        yield f"--gres=gpu:{request.gpus}"


def _times(request: JobRequest) -> Iterator[str]:
    # --time=0 would be for ever.
    if request.walltime_s:
        yield f"--time={format_walltime(request.walltime_s)}"
    # Seconds since 1970: a time of day would be the submitting machine's.
    if request.start_after is not None:
        yield f"--begin=uts{int(request.start_after)}"


def _files(request: JobRequest) -> Iterator[str]:
    files = (("output", request.output), ("error", request.errors))
    for option, path in files:
        if path:
            yield f"--{option}={_path(path, of_array=request.array is not None)}"


def _path(path: str, *, of_array: bool) -> str:
    if "\\" in check_printable("path", path):
        raise ScriptError(f"The path {path} holds a backslash.", "Slurm cannot write to it; take another folder.")
    return path.replace("%", "%%") + (".%a" if of_array and path != _NOWHERE else "")


def _array(array: JobArray) -> str:
    if array.first < 0 or array.step < 1 or array.at_once < 0 or not len(array):
        raise ScriptError(f"The array {array.first}-{array.last}:{array.step} has no job.")
    at_once = f"%{array.at_once}" if array.at_once else ""
    return f"--array={array.first}-{array.last}:{array.step}{at_once}"


def _dependencies(dependencies: tuple[Dependency, ...]) -> Iterator[str]:
    """Yield the condition, and that a job whose condition can no longer come true ends instead of standing for ever."""
    terms = []
    for dependency in dependencies:
        wrong = [job_id for job_id in dependency.ids if not _JOB_ID.fullmatch(job_id)]
        if wrong or not dependency.ids:
            raise ScriptError(f"The job is to follow {', '.join(map(repr, wrong)) or 'no job'}.", "Name a job's id.")
        terms.append(":".join((_AFTER[dependency.after], *dependency.ids)))
    if terms:
        yield f"--dependency={','.join(terms)}"
        yield "--kill-on-invalid-dep=yes"


def _mail(mail: Mail) -> Iterator[str]:
    yield f"--mail-type={','.join(word for name, word in _MAIL if getattr(mail, name)) or 'NONE'}"
    if mail.to:
        yield f"--mail-user={check_printable('mail address', ','.join(mail.to))}"


def _as_directive(option: str) -> str:
    name, equals, value = option.partition("=")
    if _PLAIN.fullmatch(value):
        return option
    return f'{name}{equals}"{_NEEDS_BACKSLASH.sub(_BACKSLASHED, value)}"'


_BACKSLASHED = r"\\\1"
