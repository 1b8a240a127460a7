"""``#SBATCH`` lines, long options and short ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from springtide.queues.model import After, Mail
from springtide.queues.scripts.asked import Asked, read_dependencies, read_name, read_path, read_word
from springtide.queues.scripts.values import (
    MOST_CORES,
    MOST_NODES,
    read_array,
    read_count,
    read_slurm_begin,
    read_slurm_memory,
    read_slurm_walltime,
)

_LONG = {
    "A": "account",
    "a": "array",
    "b": "begin",
    "C": "constraint",
    "c": "cpus-per-task",
    "D": "chdir",
    "d": "dependency",
    "e": "error",
    "F": "nodefile",
    "G": "gpus",
    "H": "hold",
    "i": "input",
    "J": "job-name",
    "k": "no-kill",
    "L": "licenses",
    "M": "clusters",
    "m": "distribution",
    "N": "nodes",
    "n": "ntasks",
    "O": "overcommit",
    "o": "output",
    "p": "partition",
    "Q": "quiet",
    "q": "qos",
    "S": "core-spec",
    "s": "oversubscribe",
    "t": "time",
    "v": "verbose",
    "W": "wait",
    "w": "nodelist",
    "x": "exclude",
}
# fmt: off
_FLAGS = frozenset((
    "hold", "requeue", "no-requeue", "no-kill", "overcommit", "oversubscribe", "quiet", "verbose", "wait",
    "parsable", "exclusive", "contiguous", "spread-job", "use-min-nodes", "reboot", "ignore-pbs", "test-only",
    "get-user-env",
))
# fmt: on
_DEPENDENCIES = {"after": After.START, "afterok": After.OK, "afternotok": After.FAILURE, "afterany": After.ANY}
_MAIL = {
    "BEGIN": {"at_begin"},
    "END": {"at_end"},
    "FAIL": {"at_abort"},
    "REQUEUE": {"at_abort"},
    "TIME_LIMIT": {"at_abort"},
    "INVALID_DEPEND": {"at_abort"},
    "ALL": {"at_begin", "at_end", "at_abort"},
    "NONE": set[str](),
}
_GRES_GPU = re.compile(r"gpu:(\d+)")
_VARIABLE = re.compile(r"([A-Za-z_]\w*)(?:=(.*))?", re.DOTALL)

Reader = Callable[[Asked, str], None]


def read_slurm_options(asked: Asked, arguments: Sequence[str]) -> None:
    """Take the options of one ``#SBATCH`` line."""
    for option, value in _options(asked, list(arguments)):
        if reader := _OPTIONS.get(option):
            asked.read(f"--{option}", value, reader)
        else:
            text = f"--{option}={_quoted(value)}" if value else f"--{option}"
            asked.native(text, essential=option not in _MINOR)


def _options(asked: Asked, arguments: list[str]) -> Iterator[tuple[str, str]]:
    """Yield long names and values; short ones are ``-n4`` or ``-n 4``, long ones ``--ntasks=4`` or ``--ntasks 4``."""
    while arguments:
        argument = arguments.pop(0)
        if argument in ("hetjob", "packjob"):
            asked.refuse("a job of several different parts is not supported.", "Submit each part as a job of its own.")
        if argument.startswith("--"):
            option, given, value = argument[2:].partition("=")
        elif argument.startswith("-") and argument[1:2] in _LONG:
            option, value = _LONG[argument[1]], argument[2:]
            given = value
        else:
            asked.refuse(
                f"“{argument}” is no option of sbatch.", "Quote values with blanks; begin each option with - or --."
            )
        if not given and option not in _FLAGS:
            if not arguments or (arguments[0].startswith("-") and option in _OPTIONS):
                asked.refuse(f"--{option} has no value.", "Give it one.")
            value = arguments.pop(0)
        yield option, value


def _quoted(text: str) -> str:
    return f'"{text}"' if re.search(r"[\s']", text) else text


def _count(field_name: str, most: int) -> Reader:
    def read(asked: Asked, text: str) -> None:
        setattr(asked, field_name, read_count(text, most))

    return read


def _nodes(asked: Asked, text: str) -> None:
    fewest, ranged, most = text.partition("-")
    asked.nodes = read_count(fewest, MOST_NODES)
    if ranged and read_count(most, MOST_NODES) > asked.nodes:
        asked.notes.append(f"{asked.place}: of {text} nodes, {fewest} are asked for.")


def _memory(field_name: str) -> Reader:
    def read(asked: Asked, text: str) -> None:
        if text == "0":
            # Slurm's word for all the memory of each node.
            asked.native(f"--{'mem' if field_name == 'memory_bytes' else 'mem-per-cpu'}=0", essential=True)
        else:
            setattr(asked, field_name, read_slurm_memory(text))

    return read


def _gpus(field_name: str, option: str) -> Reader:
    def read(asked: Asked, text: str) -> None:
        _, typed, number = text.rpartition(":")
        if typed:
            asked.native(f"--{option}={text}", essential=True)
            read_count(number, MOST_CORES)
        else:
            setattr(asked, field_name, read_count(text, MOST_CORES))

    return read


def _gres(asked: Asked, text: str) -> None:
    if text == "gpu":
        asked.gpus = 1
    elif match := _GRES_GPU.fullmatch(text):
        asked.gpus = read_count(match[1], MOST_CORES)
    elif text != "none":
        asked.native(f"--gres={text}", essential=True)


def _time(asked: Asked, text: str) -> None:
    asked.walltime_s = 0 if text.upper() in ("UNLIMITED", "INFINITE") else read_slurm_walltime(text)


def _array(asked: Asked, text: str) -> None:
    asked.array = read_array(text)


def _begin(asked: Asked, text: str) -> None:
    asked.start_after = read_slurm_begin(text, datetime.now())


def _dependency(asked: Asked, text: str) -> None:
    if text == "singleton" or "+" in text:
        asked.native(f"--dependency={text}", essential=True)
    else:
        read_dependencies(asked, text, _DEPENDENCIES)


def _mail_type(asked: Asked, text: str) -> None:
    words = [word.strip().upper() for word in text.split(",")]
    if not set(words) <= set(_MAIL) | {"TIME_LIMIT_50", "TIME_LIMIT_80", "TIME_LIMIT_90", "STAGE_OUT", "ARRAY_TASKS"}:
        raise ValueError(f"of {', '.join(_MAIL)}, with commas between")
    when = set[str]().union(*(_MAIL.get(word, set()) for word in words))
    asked.mail = Mail(**dict.fromkeys(when, True)) if when else None  # type: ignore[arg-type]  # names of its flags


def _mail_user(asked: Asked, text: str) -> None:
    asked.mail_to = tuple(filter(None, (name.strip() for name in text.split(","))))


def _hold(asked: Asked, text: str) -> None:
    asked.held = True


def _rerunnable(yes: bool) -> Reader:
    def read(asked: Asked, text: str) -> None:
        asked.rerunnable = yes

    return read


def _export(asked: Asked, text: str) -> None:
    asked.whole_environment = False
    for part in text.split(","):
        if part in ("ALL", "NONE", "NIL"):
            asked.whole_environment = asked.whole_environment or part == "ALL"
        elif match := _VARIABLE.fullmatch(part.strip()):
            asked.variables[match[1]] = match[2]
        else:
            raise ValueError("ALL, NONE, NAME or NAME=VALUE, with commas between")


def _dropped(asked: Asked, text: str) -> None:
    """Leave out what changes nothing here."""


_OPTIONS: dict[str, Reader] = {
    "job-name": read_name,
    "partition": read_word("queue"),
    "account": read_word("account"),
    "nodes": _nodes,
    "ntasks": _count("tasks", MOST_CORES),
    "ntasks-per-node": _count("tasks_per_node", MOST_CORES),
    "tasks-per-node": _count("tasks_per_node", MOST_CORES),
    "cpus-per-task": _count("cores_per_task", MOST_CORES),
    "mem": _memory("memory_bytes"),
    "mem-per-cpu": _memory("core_memory_bytes"),
    "gpus": _gpus("job_gpus", "gpus"),
    "gpus-per-node": _gpus("gpus", "gpus-per-node"),
    "gres": _gres,
    "time": _time,
    "array": _array,
    "begin": _begin,
    "dependency": _dependency,
    "mail-type": _mail_type,
    "mail-user": _mail_user,
    "hold": _hold,
    "requeue": _rerunnable(True),
    "no-requeue": _rerunnable(False),
    "output": read_path("output"),
    "error": read_path("errors"),
    "chdir": read_path("folder"),
    "export": _export,
    **dict.fromkeys(("quiet", "verbose", "parsable", "wait", "open-mode", "ignore-pbs", "get-user-env"), _dropped),
}
# fmt: off
_MINOR = frozenset((
    "qos", "comment", "nice", "priority", "profile", "propagate", "wckey", "no-kill", "hint", "distribution",
    "threads-per-core", "ntasks-per-socket", "ntasks-per-core", "kill-on-invalid-dep", "acctg-freq", "spread-job",
    "overcommit", "oversubscribe", "use-min-nodes", "time-min", "deadline", "reservation", "mem-bind", "contiguous",
))
# fmt: on
