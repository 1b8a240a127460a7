"""Jobs and nodes on a terminal as a table, in a pipe as plain text between tabs, and as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from springtide.queues.model import JobState
from springtide.queues.views import JobView, iso_time
from springtide.texts import Translate
from springtide.units import describe_duration, format_memory

_COLOURS = {"running": "green", "queued": "yellow", "held": "yellow", "waiting": "yellow", "unknown": "red"}


_PLACED = tuple(state.value for state in JobState if state.placed)
_WHOLE = ("cores", "free_cores", "free_memory", "exit_status", "since")
"""Columns that are never made narrower: half a number is another number."""


@dataclass(frozen=True)
class Column:
    """One column: what it is called in a pipe, its heading for people, and what stands in it."""

    key: str
    heading: str
    """Key of the text."""
    shown: Callable[[Any, Translate], str]
    plain: Callable[[Any], object]


def _short_id(job: JobView) -> str:
    """Return the id without its server, by which people call a job; all commands take it."""
    return escape(job.id.partition(".")[0] or job.token)


def _state(job: JobView, text: Translate) -> str:
    colour = _COLOURS.get(job.state, "red" if job.exit_status or job.cause not in ("", "exit") else "dim")
    return f"[{colour}]{escape(text(f'cli.state_{job.state}'))}[/]"


def _since(job: JobView, text: Translate) -> str:
    begin = job.started or job.submitted
    return describe_duration((job.ended or time.time()) - begin) if begin else ""


def _expected(job: JobView, text: Translate) -> str:
    if job.expected_start is None:
        return ""
    left_s = job.expected_start - time.time()
    # What passed without a start is no forecast any more.
    return text("cli.in_about", duration=describe_duration(left_s)) if left_s > 0 else ""


def _end(job: JobView, text: Translate) -> str:
    return "" if job.exit_status is None or not job.over else str(job.exit_status)


def _words(job: JobView) -> str:
    """Return what there is to say; schedulers have a word for jobs that run, too, which says nothing new."""
    words = job.explanation or ("" if job.state in _PLACED else job.reason)
    return " ".join(filter(None, (words, job.advice)))


def _why(job: JobView, text: Translate) -> str:
    return escape(_words(job))


JOB_COLUMNS = (
    Column("id", "cli.head_id", lambda job, _: _short_id(job), lambda job: job.id or job.token),
    Column("site", "cli.head_site", lambda job, _: escape(job.site), lambda job: job.site),
    Column("name", "cli.head_name", lambda job, _: escape(job.name), lambda job: job.name),
    Column("user", "cli.head_user", lambda job, _: escape(job.user), lambda job: job.user),
    Column("state", "cli.head_state", _state, lambda job: job.state),
    Column("cores", "cli.head_cores", lambda job, _: str(job.cores or ""), lambda job: job.cores or ""),
    Column("queue", "cli.head_queue", lambda job, _: escape(job.queue), lambda job: job.queue),
    Column("since", "cli.head_since", _since, lambda job: iso_time(job.started or job.submitted) or ""),
    Column("expected_start", "cli.head_expected", _expected, lambda job: iso_time(job.expected_start) or ""),
    Column("exit_status", "cli.head_end", _end, lambda job: "" if job.exit_status is None else job.exit_status),
    Column("reason", "cli.head_why", _why, _words),
)
NODE_COLUMNS = (
    Column("node", "cli.head_node", lambda node, _: escape(node.name), lambda node: node.name),
    Column("state", "cli.head_state", lambda node, _: escape(node.state), lambda node: node.state),
    Column(
        "free_cores",
        "cli.head_free_cores",
        lambda node, _: f"{node.free_cores}/{node.cores}",
        lambda node: f"{node.free_cores}/{node.cores}",
    ),
    Column(
        "free_memory",
        "cli.head_free_memory",
        lambda node, _: f"{format_memory(node.free_memory_bytes)}/{format_memory(node.memory_bytes)}",
        lambda node: f"{node.free_memory_bytes}/{node.memory_bytes}",
    ),
)


def is_terminal() -> bool:
    """Whether a person reads the output as it comes."""
    return sys.stdout.isatty()


def table(columns: Sequence[Column], rows: Iterable[Any], text: Translate) -> RenderableType:
    """Return a table for people; a column in which nothing stands is left out."""
    cells = [[column.shown(row, text) for column in columns] for row in rows]
    used = [number for number in range(len(columns)) if any(line[number] for line in cells)]
    shown = Table(box=None, pad_edge=False)
    for number in used:
        shown.add_column(text(columns[number].heading), overflow="fold", no_wrap=columns[number].key in _WHOLE)
    for line in cells:
        shown.add_row(*(line[number] for number in used))
    return shown


def jobs_table(columns: Sequence[Column], jobs: Sequence[JobView], text: Translate) -> RenderableType:
    """Return a table of jobs, and below it what there is to say of them: sentences need the whole width."""
    shown = table([column for column in columns if column.key != "reason"], jobs, text)
    words = Table.grid(padding=(0, 2, 0, 0))
    words.add_column(no_wrap=True)
    words.add_column(overflow="fold")
    for job in jobs:
        if _words(job) and not (job.cause == "exit" and job.exit_status == 0):
            words.add_row(_short_id(job), escape(_words(job)))
    return Group(shown, "", words) if words.row_count else shown


def plain(columns: Sequence[Column], rows: Iterable[Any]) -> str:
    """Return lines of values between tabs, below a line of their names: for programs, so the same in every language."""
    lines = ["\t".join(column.key for column in columns)]
    lines += ["\t".join(_one_line(str(column.plain(row))) for column in columns) for row in rows]
    return "\n".join(lines)


def _one_line(text: str) -> str:
    """Return `text` without tabs and line breaks, which separate values here."""
    return " ".join(text.split())


def show_jobs(jobs: Sequence[JobView], text: Translate) -> None:
    """Print jobs, for people or for a pipe."""
    columns = tuple(column for column in JOB_COLUMNS if column.key != "user")
    if is_terminal():
        print_screen(jobs_table(columns, jobs, text))
    else:
        click.echo(plain(columns, jobs))


def print_screen(what: RenderableType) -> None:
    """Print for people."""
    Console(highlight=False).print(what)


def print_json(value: object) -> None:
    """Print JSON as all commands do."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_line(value: object) -> None:
    """Print JSON on one line, at once: of a stream whose end is not known."""
    click.echo(json.dumps(value, ensure_ascii=False))
    sys.stdout.flush()


def stacked(*parts: RenderableType) -> RenderableType:
    """Return parts one below the other."""
    return Group(*parts)
