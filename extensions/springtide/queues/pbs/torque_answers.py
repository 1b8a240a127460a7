"""What Torque's commands print, read: XML about jobs and nodes, lines about queues and the server."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from typing import Any, cast

from springtide.errors import QueueUnreachable
from springtide.queues.model import Cause, JobInfo, JobState, Node, QueueLimits
from springtide.queues.pbs import words as pbs_words

STATES = {
    "Q": JobState.QUEUED,
    "H": JobState.HELD,
    "W": JobState.WAITING,
    "T": JobState.WAITING,
    "R": JobState.RUNNING,
    "S": JobState.SUSPENDED,
    "E": JobState.ENDING,
    "C": JobState.FINISHED,
}
_DELETED = 271
# exit_status below 0 is Torque's own: pbs_mom's reasons why a job did not start, or was ended.
_OWN_STATUS = {
    -4: (Cause.LOST, "its node was started anew"),
    -5: (Cause.LOST, "its node was started anew"),
    -6: (Cause.LOST, "its node was started anew"),
    -10: (Cause.MEMORY, "it used more memory than it had asked for"),
    -11: (Cause.WALLTIME, "it ran longer than it had asked for"),
    -12: (Cause.SIGNAL, "it used more CPU time than it had asked for"),
}
_NOT_STARTED = (Cause.NEVER_RUNS, "it could not be started")
_UNUSABLE = {"down", "offline", "unknown"}
_ARRAY_JOB = re.compile(r"(\d+)(?:\[(\d+)\]|-(\d+))(\..*)?")
_GROUPS = ("Resource_List", "resources_used")
_PIECE = 2**16
_XML_DECLARATION = re.compile(r"<\?xml[^>]*\?>")


def parse_jobs(text: str) -> Iterator[JobInfo]:
    """Yield the jobs of a ``qstat -x`` answer; no job at all is an empty answer.

    Raises
    ------
    QueueUnreachable
        If it is cut off, is not XML, or names a job twice: then nothing is known.
    """
    seen = set()
    for attributes in _records_of_xml(text, "Job"):
        job_id = attributes.get("Job_Id", "")
        if not job_id or job_id in seen or not attributes.get("job_state"):
            raise QueueUnreachable(f"qstat: the answer about “{job_id}” cannot be read")
        seen.add(job_id)
        yield _job(job_id, attributes)


def _records_of_xml(text: str, tag: str) -> Iterator[dict[str, str]]:
    """Yield the attributes of each element `tag`, those within another as "Resource_List.mem".

    All documents of the answer stand under one root: Torque prints one for each id it was asked for.
    """
    parser: ElementTree.XMLPullParser[Any] = ElementTree.XMLPullParser(["end"])
    last: ElementTree.Element | None = None
    try:
        for piece in _pieces(f"<All>{_XML_DECLARATION.sub('', text)}</All>"):
            parser.feed(piece)
            for _, last in cast("Iterator[tuple[str, ElementTree.Element]]", parser.read_events()):
                if last.tag == tag:
                    yield _attributes(last)
                    last.clear()
        parser.close()
    except ElementTree.ParseError as error:
        raise QueueUnreachable(f"the answer is not XML: {error}") from error
    # What ends last is the root.
    _check_only_documents(last, text)


def _pieces(text: str) -> Iterator[str]:
    """Yield `text` in pieces: what was read of one is let go before the next."""
    for start in range(0, len(text), _PIECE):
        yield text[start : start + _PIECE]


def _attributes(element: ElementTree.Element) -> dict[str, str]:
    attributes = {child.tag: (child.text or "").strip() for child in element}
    for group in filter(None, map(element.find, _GROUPS)):
        attributes.update((f"{group.tag}.{part.tag}", (part.text or "").strip()) for part in group)
    return attributes


def _check_only_documents(root: ElementTree.Element | None, text: str) -> None:
    documents = () if root is None else tuple(root)
    between = ["" if root is None else root.text, *(document.tail for document in documents)]
    if any(document.tag != "Data" for document in documents) or any((words or "").strip() for words in between):
        raise QueueUnreachable(f"the answer is not XML: {text[:80]}")


def _job(job_id: str, said: Mapping[str, str]) -> JobInfo:
    state = _state(said)
    starts = pbs_words.number(said.get("start_count", ""))
    begun = state.placed or not state.alive
    reason = said.get("comment", "")
    status, cause = None, Cause.REQUEUED if state.waits and starts else None
    if not state.alive:
        status, cause, reason = _end(said)
    return JobInfo(
        id=job_id,
        name=said.get("Job_Name", ""),
        state=state,
        owner=pbs_words.user_of(said.get("Job_Owner", "")),
        queue=said.get("queue", ""),
        nodes=pbs_words.hosts_of(said.get("exec_host", "")) if begun else (),
        reason=reason or _why_without_a_comment(state, said),
        exit_status=status,
        cause=cause,
        cores=_cores(said),
        memory_bytes=pbs_words.size_bytes(said.get("Resource_List.mem", "")) or 0,
        node_count=pbs_words.number(said.get("Resource_List.nodect", "")) or 0,
        walltime_s=pbs_words.duration_s(said.get("Resource_List.walltime", "")),
        submitted=pbs_words.moment(said.get("ctime", "")),
        started=pbs_words.moment(said.get("start_time", "")) if begun else None,
        ended=None if state.alive else pbs_words.moment(said.get("comp_time", "") or said.get("mtime", "")),
        runs=starts,
        array=_array_of(job_id),
        used=pbs_words.used(*(said.get(f"resources_used.{name}", "") for name in ("cput", "mem", "walltime"))),
    )


def _state(said: Mapping[str, str]) -> JobState:
    """Return the state; Torque calls a job held by the system, too, that waits for another."""
    state = STATES.get(said.get("job_state", ""), JobState.QUEUED)
    waits_for_another = said.get("Hold_Types", "") == "s" and "after" in said.get("depend", "")
    return JobState.WAITING if state is JobState.HELD and waits_for_another else state


def _why_without_a_comment(state: JobState, said: Mapping[str, str]) -> str:
    if state is JobState.WAITING and "after" in said.get("depend", ""):
        return f"depend = {said.get('depend', '')}"
    return f"held: Hold_Types = {said.get('Hold_Types', '')}" if state is JobState.HELD else ""


def _end(said: Mapping[str, str]) -> tuple[int | None, Cause, str]:
    """Return a job's exit status, why it ended, and Torque's own words for it."""
    words = said.get("comment", "") or said.get("sched_hint", "")
    code = pbs_words.number(said.get("exit_status", ""))
    if code is not None and code < 0:
        cause, meaning = _OWN_STATUS.get(code, _NOT_STARTED)
        return None, cause, f"{words} ({meaning})".strip()
    if code is None or code == _DELETED:
        # A cancelled job, one past its time, and one whose dependency failed all end so.
        return (143 if said.get("start_time", "") else None), _who_ended(said), words
    return *pbs_words.status_of(code), words


def _who_ended(said: Mapping[str, str]) -> Cause:
    if not said.get("start_time", "") and "after" in said.get("depend", ""):
        return Cause.DEPENDENCY
    asked = pbs_words.duration_s(said.get("Resource_List.walltime", ""))
    ran = pbs_words.duration_s(said.get("resources_used.walltime", ""))
    return Cause.WALLTIME if asked and ran and ran >= asked else Cause.CANCELLED


def _cores(said: Mapping[str, str]) -> int:
    """Return the processors of "2:ppn=4" or "node1:ppn=2+node2:ppn=2"; ``ncpus`` where that is asked for instead."""
    total = 0
    for part in filter(None, said.get("Resource_List.nodes", "").split("+")):
        first, *properties = part.split(":")
        ppn = next((word.removeprefix("ppn=") for word in properties if word.startswith("ppn=")), "1")
        total += (pbs_words.number(first) or 1) * (pbs_words.number(ppn) or 1)
    return total or pbs_words.number(said.get("Resource_List.ncpus", "")) or 0


def _array_of(job_id: str) -> str:
    """Return the array that "12[3].server" (or "12-3.server", before 2.5) is one of, "" for a single job."""
    match = _ARRAY_JOB.fullmatch(job_id)
    return f"{match[1]}[]{match[4] or ''}" if match else ""


def parse_nodes(text: str) -> tuple[Node, ...]:
    """Return the nodes of a ``pbsnodes -x`` answer.

    Raises
    ------
    QueueUnreachable
        If it is not XML.
    """
    return tuple(_node(said) for said in _records_of_xml(text, "Node"))


def _node(said: Mapping[str, str]) -> Node:
    state, cores = said.get("state", ""), pbs_words.number(said.get("np", "")) or 0
    status = dict(part.partition("=")[::2] for part in said.get("status", "").split(","))
    memory, available, total = (
        pbs_words.size_bytes(status.get(name, "")) or 0 for name in ("physmem", "availmem", "totmem")
    )
    return Node(
        name=said.get("name", ""),
        usable=not _UNUSABLE & {word.strip() for word in state.split(",")},
        state=state,
        cores=cores,
        free_cores=max(0, cores - _cores_taken(said.get("jobs", ""))),
        memory_bytes=memory,
        # availmem counts swap, too: what is taken of both together is taken from the memory first.
        free_memory_bytes=min(memory, max(0, memory - max(0, total - available))),
        gpus=pbs_words.number(said.get("gpus", "")) or 0,
    )


def _cores_taken(jobs: str) -> int:
    """Count the processors in a node's ``jobs``: "0/12.server, 1-3/13.server"; before a job, a list of ranges."""
    taken = 0
    for part in filter(None, (part.strip() for part in jobs.split(","))):
        first, _, last = part.partition("/")[0].partition("-")
        taken += int(last) - int(first) + 1 if last.isdecimal() and first.isdecimal() else 1
    return taken


def parse_queues(queues: str, server: str) -> tuple[QueueLimits, ...]:
    """Return the queues of a ``qstat -Q -f`` answer, with the server's limits where they have none of their own.

    Raises
    ------
    QueueUnreachable
        If the answer about the server is something else.
    """
    whole = next((attributes for _, attributes in _records(server, "Server: ")), None)
    if whole is None:
        raise QueueUnreachable("qstat: the answer about the server cannot be read")
    return tuple(pbs_words.queue_limits(name, own, whole) for name, own in _records(queues, "Queue: "))


def _records(text: str, head: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the name and attributes of each block; only administrators write into them. A tab goes on with a line."""
    for block in text.replace("\n\t", "").split(head)[1:]:
        name, *lines = block.splitlines()
        pairs = (line.strip().partition(" = ") for line in lines)
        yield name.strip(), {attribute: value for attribute, found, value in pairs if found}
