"""``springtide ledger``: what was submitted, by whom, what became of it, and what it used of what it asked for."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO

import click

from springtide.cli.ledger_forms import CALIBRATIONS, EVENTS, JOBS, TOTALS, show
from springtide.errors import LedgerError
from springtide.lab.load import load_lab
from springtide.ledger.place import file_of, own_ledger_url, state_directory
from springtide.ledger.records import LOST, REFUSED, SUBMITTING, Event, JobRecord
from springtide.ledger.store import Ledger
from springtide.ledger.usage import totals
from springtide.queues.expected.calibration import calibrations
from springtide.queues.model import JobState
from springtide.share import share_path
from springtide.units import WALLTIME_FORMS, parse_walltime

_STATES = (SUBMITTING, *(state.value for state in JobState), REFUSED, LOST)
_ON_A_SCREEN = 50


def _since(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Return the time meant by a duration before now, or by a date with or without a time."""
    if value is None:
        return None
    try:
        return time.time() - parse_walltime(value)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(f"“{value}” is neither {WALLTIME_FORMS}, nor a date: 2026-11-23.") from None


@click.command()
@click.option("--ledger", "address", default="", metavar="URL", help="SQLite file or database URL of the ledger.")
@click.option("--lab", "lab_path", type=click.Path(path_type=Path), help="Lab file [default: the one shipped].")
@click.option("--site", default="", help="Jobs of this site only.")
@click.option("--user", default="", help="Jobs of this user only.")
@click.option("--kind", type=click.Choice(["job", "session", "worker"]), help="Such jobs only.")
@click.option("--state", "states", type=click.Choice(_STATES), multiple=True, help="Jobs in this state; many times.")
@click.option("--job", default="", metavar="ID", help="This job only: the scheduler's id or the token.")
@click.option("--since", callback=_since, metavar="WHEN", help="What was written since then: 7d, 12h, 2026-11-23.")
@click.option("--limit", type=click.IntRange(min=1), help="The newest only [default: 50 on a screen, else all].")
@click.option("--summary", is_flag=True, help="Show each user's jobs together.")
@click.option("--calibration", "as_calibration", is_flag=True, help="Show how often jobs started when it was foreseen.")
@click.option("--events", "as_events", is_flag=True, help="Show what happened rather than the jobs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "csv_file", type=click.File("w", encoding="utf-8", atomic=True), help="Write CSV; - prints it.")
def ledger(
    address: str,
    lab_path: Path | None,
    site: str,
    user: str,
    kind: str | None,
    states: tuple[str, ...],
    job: str,
    since: float | None,
    limit: int | None,
    summary: bool,
    as_calibration: bool,
    as_events: bool,
    as_json: bool,
    csv_file: IO[str] | None,
) -> None:
    """List what was submitted, the newest first, with what each job asked for and used.

    A table on a screen; when piped, columns with tabs between them.
    """
    if summary + as_calibration + as_events > 1 or (as_json and csv_file):
        raise click.UsageError("--summary, --calibration and --events exclude each other, and so do --json and --csv.")
    which = Which(site, user, kind or "", states, job, since)
    on_screen = not (as_json or csv_file or summary or as_calibration) and sys.stdout.isatty()
    most = _ON_A_SCREEN if limit is None and on_screen else limit
    with _opened(address, lab_path) as source:
        if as_events:
            show(EVENTS, which.events(source, most), as_json, csv_file)
        elif as_calibration:
            show(CALIBRATIONS, calibrations(which.jobs(source, most)), as_json, csv_file)
        elif summary:
            show(TOTALS, totals(which.jobs(source, most)), as_json, csv_file)
        else:
            show(JOBS, which.jobs(source, most), as_json, csv_file)


@dataclass(frozen=True)
class Which:
    """Which jobs, or whose events, are asked for."""

    site: str
    user: str
    kind: str
    states: tuple[str, ...]
    job: str
    since: float | None

    def jobs(self, source: Ledger, limit: int | None) -> list[JobRecord]:
        """Return the jobs, the newest first."""
        most = None if self.job else limit
        found = source.jobs(
            site=self.site, user=self.user, kind=self.kind, states=self.states, since=self.since, limit=most
        )
        return [one for one in found if self.job in ("", one.token, one.job_id)][:limit]

    def events(self, source: Ledger, limit: int | None) -> list[Event]:
        """Return what happened to the jobs, in order; of all that is in the ledger where no jobs are named."""
        anything = not (self.site or self.user or self.kind or self.states or self.job)
        if anything:
            return source.events(since=self.since, limit=limit)
        tokens = {one.token for one in replace(self, since=None).jobs(source, None)}
        found = [one for one in source.events(since=self.since) if one.token in tokens]
        return found[-limit:] if limit else found


def _opened(address: str, lab_path: Path | None) -> Ledger:
    if not address:
        lab = load_lab(lab_path or Path(os.environ.get("SPRINGTIDE_LAB") or share_path("hub_config", "lab.yaml")))
        address = own_ledger_url(lab.hub.ledger, state_directory(lab.hub.state_directory))
    # Looking must not make one: it would be somebody else's mistake to explain.
    if (file := file_of(address)) and not file.exists():
        raise LedgerError(f"There is no ledger at {file}.", "The first submission makes it; --ledger names another.")
    return Ledger.open(address)
