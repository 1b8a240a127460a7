"""``springtide jobs``: one's jobs of applications, with how far they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import click
from rich.console import RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from springtide.cli.follow import bar, progress_words
from springtide.cli.run import token_of
from springtide.cli.sites import Options, lab_options, language
from springtide.cli.tables import is_terminal, print_json, print_screen
from springtide.jobs.desk import Desk
from springtide.jobs.looking import Look
from springtide.jobs.opening import own_desk
from springtide.jobs.spec import JobSpec
from springtide.ledger.store import Ledger
from springtide.queues.views import iso_time
from springtide.texts import Translate, translator
from springtide.units import describe_duration

_COLOURS = {"running": "green", "queued": "yellow", "held": "yellow", "waiting": "yellow", "unknown": "red"}
_PLAIN = ("token", "application", "site", "state", "progress", "exit_status", "recorded", "folder")
_WATCH_S = 1.0


@click.command()
@click.argument("names", nargs=-1, metavar="[JOB]...")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, help="The most jobs [default: 20].")
@click.option("--watch", is_flag=True, help="Stay, and show changes as they come; Ctrl-C ends.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of jobs as JSON.")
@lab_options
def jobs(options: Options, names: Sequence[str], limit: int, watch: bool, as_json: bool) -> None:
    """Show your jobs of applications, the newest first: how far each is, and how it ended.

    springtide logs, cancel and status take their tokens, too; springtide again JOB runs one again.
    """
    with options.ledger() as ledger:
        try:
            asyncio.run(_jobs(options, ledger, names, limit, watch, as_json))
        except KeyboardInterrupt:
            if not watch:
                raise


async def _jobs(options: Options, ledger: Ledger, names: Sequence[str], limit: int, watch: bool, as_json: bool) -> None:
    desk = own_desk(options.lab, ledger, state=options.state_path, language=language())
    text = translator(language())
    looks = await _looks(desk, ledger, names, limit)
    if as_json:
        print_json([look.as_json() for look in looks])
    elif watch and is_terminal():
        with Live(screen=True, auto_refresh=False) as live:
            while True:
                live.update(_table(looks, text), refresh=True)
                await asyncio.sleep(_WATCH_S)
                looks = await _looks(desk, ledger, names, limit)
    elif not is_terminal():
        click.echo(_plain(looks))
    elif looks:
        print_screen(_table(looks, text))
    else:
        click.echo(text("jobs.none"))


async def _looks(desk: Desk, ledger: Ledger, names: Sequence[str], limit: int) -> list[Look]:
    tokens = [await asyncio.to_thread(token_of, ledger, name) for name in names]
    return await desk.look([await desk.run(token) for token in tokens] if names else await desk.runs(limit=limit))


def _table(looks: Sequence[Look], text: Translate) -> Table:
    shown = Table(box=None, pad_edge=False)
    for key in ("job", "application", "parameters", "site", "state", "progress", "since", "how"):
        shown.add_column(text(f"jobs.head_{key}"), overflow="fold", no_wrap=key not in ("parameters", "how"))
    for look in looks:
        shown.add_row(*_cells(look, text))
    return shown


def _cells(look: Look, text: Translate) -> list[RenderableType]:
    view = look.view
    colour = _COLOURS.get(view.state, "red" if view.exit_status or view.cause not in ("", "exit") else "dim")
    begin = view.started or view.submitted
    since = describe_duration((view.ended or time.time()) - begin) if begin else ""
    succeeded = view.over and view.exit_status == 0
    words = view.explanation if not succeeded and (view.over or not look.run.progress) else progress_words(look, text)
    return [
        escape(look.run.token),
        escape(look.run.application.partition("/")[2]),
        escape(parameters_in_short(look)),
        escape(look.run.site),
        f"[{colour}]{escape(text(f'cli.state_{view.state}'))}[/]",
        bar(look),
        since,
        escape(words),
    ]


def parameters_in_short(look: Look) -> str:
    """Return the parameters of a run on one line, swept ones as their first and last value."""
    spec = JobSpec.from_json(look.run.spec)
    parts = []
    for name, value in spec.given.items():
        if isinstance(value, list):
            parts.append(f"{name}={value[0]}…{value[-1]} ({len(value)})")
        elif value not in (None, ""):
            parts.append(f"{name}={str(value)[:30]}")
    return " ".join(parts)[:120]


def _plain(looks: Sequence[Look]) -> str:
    lines = ["\t".join(_PLAIN)]
    for look in looks:
        view, run = look.view, look.run
        progress = "" if run.progress is None else f"{run.progress:.3f}"
        status = "" if view.exit_status is None else str(view.exit_status)
        recorded = iso_time(run.recorded) or ""
        lines.append(
            "\t".join([run.token, run.application, run.site, view.state, progress, status, recorded, run.folder])
        )
    return "\n".join(lines)
