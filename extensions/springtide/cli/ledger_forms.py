"""How ``springtide ledger`` shows rows: a table, columns with tabs between them, CSV, JSON."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import IO, Any, Generic, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from springtide.ledger.records import Event, JobRecord
from springtide.ledger.usage import Share, Total, Usage, usage_of
from springtide.queues.expected.calibration import Calibration
from springtide.queues.views import iso_time
from springtide.units import describe_duration, format_memory

T = TypeVar("T")

# What spreadsheets take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TIMES = (
    "recorded",
    "submitted",
    "started",
    "ended",
    "expected_start_low",
    "expected_start",
    "expected_start_high",
    "time",
)


@dataclass(frozen=True)
class Form(Generic[T]):
    """How one kind of row is shown."""

    headings: tuple[str, ...]
    cells: Callable[[T], tuple[str, ...]]
    """For people, one for each heading."""
    values: Callable[[T], dict[str, Any]]
    """For programs."""
    names: tuple[str, ...]
    """Of `values`, so that a file without rows has its first line too."""


def show(form: Form[T], rows: Sequence[T], as_json: bool, csv_file: IO[str] | None) -> None:
    """Print `rows`, or write them to `csv_file`."""
    if csv_file:
        writer = csv.writer(csv_file, lineterminator="\n")
        writer.writerow(form.names)
        writer.writerows([_csv_cell(form.values(row)[name]) for name in form.names] for row in rows)
    elif as_json:
        click.echo(json.dumps([form.values(row) for row in rows], indent=2, ensure_ascii=False))
    elif sys.stdout.isatty():
        _print_table(form.headings, map(form.cells, rows))
    else:
        for cells in (form.headings, *map(form.cells, rows)):
            click.echo("\t".join(map(_printable, cells)))


def _print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for cells in rows:
        # Names and schedulers' words may hold brackets, which rich would read as its own.
        table.add_row(*(escape(_printable(cell)) for cell in cells))
    Console().print(table)


def _printable(text: str) -> str:
    """Return `text` without what moves a terminal's cursor or breaks a line."""
    return "".join(character if character.isprintable() else " " for character in text)


def _csv_cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _with_times(values: dict[str, Any]) -> dict[str, Any]:
    return {name: iso_time(value) if name in _TIMES else value for name, value in values.items()}


# --- jobs -----------------------------------------------------------------------------------------------------------


def _job_cells(record: JobRecord) -> tuple[str, ...]:
    usage = usage_of(record)
    return (
        _clock(record.submitted or record.recorded),
        record.site,
        record.job_id or "-",
        record.user,
        record.kind,
        record.name,
        _state(record),
        str(record.cores),
        "-" if record.waited_s is None else describe_duration(record.waited_s),
        *_usage_cells(usage),
    )


def _state(record: JobRecord) -> str:
    """Return the state, with how the job ended: "finished: exit 3", "finished: cancelled by bob"."""
    said = record.cause
    if record.cause in ("", "exit") and record.exit_status is not None:
        said = f"exit {record.exit_status}"
    elif record.cancelled_by:
        said = f"cancelled by {record.cancelled_by}"
    return f"{record.state}: {said}" if said else record.state


def _usage_cells(usage: Usage) -> tuple[str, ...]:
    return (
        _share(usage.walltime_s, describe_duration),
        _share(usage.core_s, describe_duration),
        _share(usage.memory_bytes, lambda number: format_memory(round(number))),
    )


def _share(share: Share, words: Callable[[float], str]) -> str:
    """Return a share in words: "20 % of 1 h"; where nothing was asked for, what was used: "12 min"."""
    if share.percent is not None:
        return f"{share.percent:.0f} % of {words(share.asked)}"
    if share.asked:
        return f"? of {words(share.asked)}"
    return "-" if share.used is None else words(share.used)


def _clock(time: float) -> str:
    """Return a time as this machine's clocks show it."""
    return datetime.fromtimestamp(time).strftime("%Y-%m-%d %H:%M")


def _percents(usage: Usage) -> dict[str, float | None]:
    named = {f"{name}_percent": share.percent for name, share in usage.named.items()}
    return {name: None if percent is None else round(percent, 1) for name, percent in named.items()}


def _job_values(record: JobRecord) -> dict[str, Any]:
    # The scheduler's id is called so wherever the command line prints JSON.
    values = {"id" if name == "job_id" else name: value for name, value in asdict(record).items()}
    return {**_with_times(values), "waited_s": record.waited_s, **_percents(usage_of(record))}


# --- events and totals ----------------------------------------------------------------------------------------------


def _event_cells(event: Event) -> tuple[str, ...]:
    when = datetime.fromtimestamp(event.time).strftime("%Y-%m-%d %H:%M:%S")
    return (when, event.site, event.token, event.kind, event.text, event.actor)


def _total_cells(total: Total) -> tuple[str, ...]:
    return (
        total.user,
        str(total.jobs),
        str(total.open),
        str(total.failed),
        f"{total.asked_core_s / 3600:.2f} h",
        f"{total.used_core_s / 3600:.2f} h",
        *("-" if share.percent is None else f"{share.percent:.0f} %" for share in total.usage.named.values()),
        "-" if total.median_wait_s is None else describe_duration(total.median_wait_s),
    )


def _total_values(total: Total) -> dict[str, Any]:
    values = {name: value for name, value in asdict(total).items() if name != "usage"}
    return {**values, **_percents(total.usage)}


def _calibration_cells(row: tuple[str, Calibration]) -> tuple[str, ...]:
    site, found = row
    return (
        site,
        str(found.n),
        str(found.inside),
        "-" if found.share is None else f"{100 * found.share:.0f} %",
        f"{100 * found.nominal:.0f} %",
        "-" if found.median_width_s is None else describe_duration(found.median_width_s),
    )


_NOTHING = Share(0, None)
_SOME_JOB = JobRecord("", "", "", "", "", "")
_SOME_TOTAL = Total("", 0, 0, 0, 0, 0, Usage(_NOTHING, _NOTHING, _NOTHING), None)

JOBS = Form(
    ("submitted", "site", "id", "user", "kind", "name", "state", "cores", "waited", "walltime", "cpu time", "memory"),
    _job_cells,
    _job_values,
    tuple(_job_values(_SOME_JOB)),
)
EVENTS = Form(
    ("time", "site", "token", "what", "words", "by"),
    _event_cells,
    lambda event: _with_times(asdict(event)),
    tuple(asdict(Event(0, "", ""))),
)
CALIBRATIONS = Form(
    ("site", "foreseen", "inside", "share", "should be", "median width"),
    _calibration_cells,
    lambda row: {"site": row[0], **asdict(row[1])},
    ("site", *asdict(Calibration(0, 0, None))),
)
TOTALS = Form(
    ("user", "jobs", "open", "failed", "core time asked", "used", "cpu", "memory", "walltime", "median wait"),
    _total_cells,
    _total_values,
    tuple(_total_values(_SOME_TOTAL)),
)
