"""``#PBS`` lines, of PBS Pro (``select=``, ``place=``, ``-J``) and of Torque (``nodes=:ppn=``, ``-t``) alike."""

from __future__ import annotations

import getopt
import re
from collections.abc import Callable, Sequence
from datetime import datetime

from springtide.queues.model import After, Mail
from springtide.queues.scripts.asked import Asked, read_dependencies, read_name, read_path, read_word
from springtide.queues.scripts.chunks import read_nodes, read_select
from springtide.queues.scripts.values import (
    MOST_CORES,
    read_array,
    read_count,
    read_pbs_date,
    read_pbs_memory,
    read_pbs_walltime,
)

# The options of both qsub programs together; -h, -I, … take no value in either.
_LETTERS = "a:A:b:c:C:d:D:e:fF:Ghj:IJ:k:K:l:m:M:nN:o:p:P:q:r:R:S:t:T:u:v:Vw:W:xXzZ:"
_DEPENDENCIES = {"after": After.START, "afterok": After.OK, "afternotok": After.FAILURE, "afterany": After.ANY} | {
    "afterstartarray": After.START,
    "afterokarray": After.OK,
    "afternotokarray": After.FAILURE,
    "afteranyarray": After.ANY,
}
# A comma ends a resource only where another NAME= follows.
_NEXT = re.compile(r",(?=\s*[A-Za-z_][\w.]*=)")
_VARIABLE = re.compile(r"([A-Za-z_]\w*)(?:=(.*))?", re.DOTALL)
_NEXT_VARIABLE = re.compile(r",(?=\s*[A-Za-z_]\w*(?:=|,|$))")

Reader = Callable[[Asked, str], None]


def read_pbs_options(asked: Asked, arguments: Sequence[str]) -> None:
    """Take the options of one ``#PBS`` line."""
    try:
        options, rest = getopt.getopt(list(arguments), _LETTERS)
    except getopt.GetoptError as error:
        asked.refuse(f"qsub has no such option: {error.msg}.", "Correct the line, or write ##PBS to leave it out.")
    if rest:
        asked.refuse(f"“{rest[0]}” belongs to no option.", "Quote values with blanks; begin each option with -.")
    for option, value in options:
        asked.read(option, value, _OPTIONS[option.removeprefix("-")])


def _native(option: str, *, essential: bool) -> Reader:
    def keep(asked: Asked, text: str) -> None:
        asked.native(f"{option} {_quoted(text)}" if text else option, essential=essential)

    return keep


def _quoted(text: str) -> str:
    return f'"{text}"' if re.search(r"[\s']", text) else text


def _dropped(asked: Asked, text: str) -> None:
    """Leave out what changes nothing here: output is written live, qsub's chatter is not shown."""


def _resources(asked: Asked, text: str) -> None:
    for resource in filter(None, (part.strip() for part in _NEXT.split(text))):
        name, found, value = resource.partition("=")
        if not found or not value:
            raise ValueError("resources as NAME=VALUE: select=1:ncpus=4:mem=2gb or walltime=01:00:00")
        if reader := _RESOURCES.get(name.strip()):
            asked.read(f"-l {name.strip()}", value.strip(), reader)
        else:
            asked.native(f"-l {_quoted(resource)}", essential=True)


def _place(asked: Asked, text: str) -> None:
    # Elsewhere the parts go to as many nodes, as with "scatter"; that nobody else is there is more than a wish.
    simple = set(text.split(":")) <= {"free", "pack", "scatter", "vscatter", "shared"}
    asked.native(f"-l place={_quoted(text)}", essential=not simple, silent=simple, dialects=("pbspro",))


def _count(field_name: str) -> Reader:
    def read(asked: Asked, text: str) -> None:
        setattr(asked, field_name, read_count(text, MOST_CORES))

    return read


def _memory(field_name: str) -> Reader:
    def read(asked: Asked, text: str) -> None:
        setattr(asked, field_name, read_pbs_memory(text))

    return read


def _walltime(asked: Asked, text: str) -> None:
    asked.walltime_s = read_pbs_walltime(text)


def _minor_resource(name: str) -> Reader:
    return lambda asked, text: asked.native(f"-l {name}={_quoted(text)}", essential=False)


def _ncpus(asked: Asked, text: str) -> None:
    asked.cores = read_count(text, MOST_CORES)
    asked.tasks_per_node = asked.tasks_per_node or 1


_RESOURCES: dict[str, Reader] = {
    "select": read_select,
    "place": _place,
    "nodes": read_nodes,
    "ncpus": _ncpus,
    "mpiprocs": _count("tasks_per_node"),
    "procs": _count("tasks"),
    "ngpus": _count("gpus"),
    "gpus": _count("gpus"),
    "mem": _memory("job_memory_bytes"),
    "pmem": _memory("task_memory_bytes"),
    "walltime": _walltime,
} | {name: _minor_resource(name) for name in ("cput", "pcput", "vmem", "pvmem", "nice", "file", "ompthreads", "nodect")}


def _attributes(asked: Asked, text: str) -> None:
    for attribute in _NEXT.split(text):
        name, found, value = attribute.strip().partition("=")
        if not found:
            raise ValueError("attributes as NAME=VALUE: depend=afterok:123")
        if name == "depend" and value.partition(":")[0] in _DEPENDENCIES:
            read_dependencies(asked, value, _DEPENDENCIES)
        else:
            asked.native(f"-W {_quoted(attribute.strip())}", essential=name not in _MINOR_ATTRIBUTES)


_MINOR_ATTRIBUTES = ("umask", "group_list", "run_count", "job_radix", "tolerate_node_failures", "pwd")


def _variables(asked: Asked, text: str) -> None:
    for part in _NEXT_VARIABLE.split(text):
        match = _VARIABLE.fullmatch(part.strip())
        if not match:
            raise ValueError("variables as NAME or NAME=VALUE, with commas between")
        asked.variables[match[1]] = match[2].strip("\"'") if match[2] is not None else None


def _whole_environment(asked: Asked, text: str) -> None:
    asked.whole_environment = True


def _date(asked: Asked, text: str) -> None:
    asked.start_after = read_pbs_date(text, datetime.now())


def _hold(asked: Asked, text: str) -> None:
    asked.held = True


def _join(asked: Asked, text: str) -> None:
    if text not in ("oe", "eo", "n"):
        raise ValueError("oe, eo or n")
    asked.joined = text != "n"


def _mail(asked: Asked, text: str) -> None:
    letters = set(text)
    if not letters or not letters <= set("abefnpj"):
        raise ValueError("letters of: a (abort), b (begin), e (end); or n")
    if letters & set("abe"):
        asked.mail = Mail(at_begin="b" in letters, at_end="e" in letters, at_abort="a" in letters)


def _mail_to(asked: Asked, text: str) -> None:
    asked.mail_to = tuple(filter(None, (name.strip() for name in text.split(","))))


def _rerun(asked: Asked, text: str) -> None:
    if text not in ("y", "n"):
        raise ValueError("y or n")
    asked.rerunnable = text == "y"


def _array(asked: Asked, text: str) -> None:
    asked.array = read_array(text)


def _shell(asked: Asked, text: str) -> None:
    # SHELL@HOST,SHELL: the one for all hosts, else the first.
    shells = [shell.strip() for shell in text.split(",")]
    chosen = next((shell for shell in shells if "@" not in shell), shells[0].partition("@")[0])
    if not chosen.startswith("/"):
        raise ValueError("the absolute path of a shell")
    asked.shell = chosen


def _interactive(asked: Asked, text: str) -> None:
    asked.refuse("-I asks for an interactive job; a script is not one.", "Remove it.")


_OPTIONS: dict[str, Reader] = {
    "N": read_name,
    "q": read_word("queue"),
    "A": read_word("account"),
    "l": _resources,
    "W": _attributes,
    "J": _array,
    "t": _array,
    "a": _date,
    "h": _hold,
    "m": _mail,
    "M": _mail_to,
    "o": read_path("output"),
    "e": read_path("errors"),
    "j": _join,
    "r": _rerun,
    "S": _shell,
    "d": read_path("folder"),
    "w": read_path("folder"),
    "v": _variables,
    "V": _whole_environment,
    "I": _interactive,
    **dict.fromkeys("kzfcGRZ", _dropped),
    **{letter: _native(f"-{letter}", essential=False) for letter in "pPuXx"},
    **{letter: _native(f"-{letter}", essential=True) for letter in "bCDFKnT"},
}
