"""What PBS Pro's commands print, read.

Asked for in the delimited form, with a delimiter drawn anew for each command (`new_delimiter`): no user can have put it
into an attribute, so that nobody forges a field or a job, whatever a server escapes or forgets to.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from springtide.errors import QueueUnreachable
from springtide.queues.model import Node, QueueLimits
from springtide.queues.pbs import words as pbs_words

# A line that a user broke inside an attribute may begin like a job, but not go on like one: no attribute that users
# write stands before this one.
_FIRST_ATTRIBUTE = {"Job Id": "Job_Name=", "Queue": "", "Server": ""}
_UNUSABLE = {"down", "offline", "unknown", "state-unknown", "stale", "unresolvable", "maintenance", "initializing"}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def new_delimiter() -> str:
    """Return a delimiter that nobody can have foreseen."""
    return f"|{secrets.token_hex(6)}|"


def parse_records(text: str, kind: str, delimiter: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the names and attributes of a ``-F dsv`` answer about jobs ("Job Id"), queues ("Queue") or the server.

    Raises
    ------
    QueueUnreachable
        If it is cut off, or is something else.
    """
    if text and not text.endswith("\n"):
        raise QueueUnreachable("qstat: the answer is cut off")
    head, first, record = f"{kind}: ", f"{delimiter}{_FIRST_ATTRIBUTE[kind]}", ""
    # Not splitlines(): it also ends lines where a job's name has a form feed or a line separator of Unicode.
    for line in text.split("\n"):
        if line.startswith(head) and line.startswith(first, line.find(delimiter)):
            if record:
                yield _record(record, head, delimiter)
            record = line
        elif record:
            # A line break inside an attribute, which servers before 20.0 print as it is.
            record = f"{record}\n{line}"
        elif line.strip():
            raise QueueUnreachable(f"qstat: the answer cannot be read: {line[:80]}")
    if record:
        yield _record(record, head, delimiter)


def _record(record: str, head: str, delimiter: str) -> tuple[str, dict[str, str]]:
    name, *fields = record.rstrip("\n").split(delimiter)
    attributes: dict[str, str] = {}
    for field in fields:
        attribute, _, value = field.partition("=")
        attributes[attribute] = value
    return name.removeprefix(head).strip(), attributes


def unescaped(value: str) -> str:
    """Return an attribute's value as it was given: qstat puts a backslash before what it escapes."""
    if "\\" not in value:
        return value
    return _ESCAPED.sub(lambda found: {"n": "\n", "f": "\f"}.get(found[1], found[1]), value)


def parse_nodes(text: str) -> tuple[Node, ...]:
    """Return the nodes of a ``pbsnodes -a -F json`` answer (JSON is sound without ids).

    Raises
    ------
    QueueUnreachable
        If it is cut off, or is something else.
    """
    try:
        nodes = json.loads(text)["nodes"]
        return tuple(_node(name, node) for name, node in nodes.items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise QueueUnreachable(f"pbsnodes: the answer cannot be read ({error})") from error


def parse_mom(text: str, node: str) -> str:
    """Return the host of a node's execution daemon as ``pbsnodes -v`` says in JSON, "" where it does not."""
    try:
        return str(json.loads(text)["nodes"][node]["Mom"])
    except (ValueError, KeyError, TypeError):
        return ""


def _node(name: str, node: Mapping[str, Any]) -> Node:
    has, taken = node.get("resources_available", {}), node.get("resources_assigned", {})
    memory = pbs_words.size_bytes(str(has.get("mem", ""))) or 0
    cores, queue = int(has.get("ncpus", 0)), str(node.get("queue", ""))
    return Node(
        name=name,
        usable=not _UNUSABLE & {word.strip() for word in node["state"].split(",")},
        state=node["state"],
        cores=cores,
        free_cores=max(0, cores - int(taken.get("ncpus", 0))),
        memory_bytes=memory,
        free_memory_bytes=max(0, memory - (pbs_words.size_bytes(str(taken.get("mem", ""))) or 0)),
        gpus=int(has.get("ngpus", 0)),
        queues=(queue,) if queue else (),
    )


def parse_queues(queues: str, server: str, delimiter: str) -> tuple[QueueLimits, ...]:
    """Return the queues of a ``qstat -Qf`` answer, with the server's limits where they have none of their own."""
    whole = next((attributes for _, attributes in parse_records(server, "Server", delimiter)), None)
    if whole is None:
        raise QueueUnreachable("qstat: the answer about the server is empty")
    return tuple(pbs_words.queue_limits(name, own, whole) for name, own in parse_records(queues, "Queue", delimiter))
