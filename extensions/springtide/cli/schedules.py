"""``springtide schedules``: one's applications that run again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import click
from rich.markup import escape

from springtide.cli.sites import Options, lab_options, language
from springtide.cli.tables import Column, is_terminal, plain, print_json, print_screen, table
from springtide.jobs.desk import Desk
from springtide.jobs.opening import own_desk
from springtide.jobs.schedules import schedule_as_json
from springtide.jobs.starting import keep_own
from springtide.ledger.records import ENDED, ON, PAUSED, ScheduleRecord
from springtide.ledger.store import Ledger
from springtide.queues.views import iso_time
from springtide.texts import translator


def shown_in_zone(time: float | None, zone: str) -> str:
    """Return a time as the clocks of a zone show it, "" where there is none."""
    return "" if time is None else f"{datetime.fromtimestamp(time, ZoneInfo(zone)):%Y-%m-%d %H:%M %Z}"


def _column(name: str, key: str = "") -> Column:
    field = key or name
    return Column(
        name,
        f"schedules.head_{name}",
        lambda record, _: escape(str(getattr(record, field))),
        lambda record: str(getattr(record, field)),
    )


_COLUMNS = (
    _column("schedule", "token"),
    _column("application"),
    _column("cron"),
    _column("zone"),
    _column("missed"),
    Column(
        "state",
        "schedules.head_state",
        lambda record, text: text(f"schedules.state_{record.state}"),
        lambda record: record.state,
    ),
    Column(
        "due",
        "schedules.head_due",
        lambda record, _: shown_in_zone(record.due, record.zone),
        lambda record: iso_time(record.due) or "",
    ),
    _column("last_job", "last_run"),
    _column("problem"),
)


@click.group(invoke_without_command=True)
@click.option("--ended", is_flag=True, help="Also those that have ended.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of schedules as JSON.")
@lab_options
@click.pass_context
def schedules(context: click.Context, options: Options, ended: bool, as_json: bool) -> None:
    """List your applications that run again and again; springtide run APPLICATION --cron … makes one.

    They start while springtide schedules keep runs, or the broker's own while the platform does.
    """
    if context.invoked_subcommand:
        return
    with options.ledger() as ledger:
        _print(asyncio.run(_desk(options, ledger).schedules(ended=ended)), as_json)


def _print(found: Sequence[ScheduleRecord], as_json: bool) -> None:
    text = translator(language())
    if as_json:
        print_json([schedule_as_json(record) for record in found])
    elif not is_terminal():
        click.echo(plain(_COLUMNS, found))
    elif found:
        print_screen(table(_COLUMNS, found, text))
    else:
        click.echo(text("schedules.none"))


def _desk(options: Options, ledger: Ledger) -> Desk:
    return own_desk(options.lab, ledger, state=options.state_path, language=language(), say=click.echo)


def _change(name: str, state: str, words: str) -> None:
    @click.argument("tokens", nargs=-1, required=True, metavar="SCHEDULE...")
    @lab_options
    def change(options: Options, tokens: Sequence[str]) -> None:
        with options.ledger() as ledger:
            desk = _desk(options, ledger)
            _print(asyncio.run(_set_all(desk, tokens, state)), False)

    schedules.command(name, help=words)(change)


async def _set_all(desk: Desk, tokens: Sequence[str], state: str) -> list[ScheduleRecord]:
    return [await desk.set_schedule(token, state) for token in tokens]


_change("pause", PAUSED, "Pause SCHEDULEs: what is due meanwhile is not missed.")
_change("resume", ON, "Go on with SCHEDULEs that are paused.")
_change("end", ENDED, "End SCHEDULEs for ever; their jobs go on.")


@schedules.command()
@lab_options
def keep(options: Options) -> None:
    """Start what is due of your own schedules, until Ctrl-C."""
    with options.ledger() as ledger:
        click.echo(translator(language())("schedules.keeping"), err=True)
        try:
            asyncio.run(keep_own(_desk(options, ledger)))
        except KeyboardInterrupt:
            return
