"""Following a run on a terminal: a bar with the time left, or a line for each news where there is no terminal."""

from __future__ import annotations

import asyncio

import click
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from springtide.cli.sites import language
from springtide.jobs.desk import Desk
from springtide.jobs.looking import Look
from springtide.ledger.records import RunRecord
from springtide.texts import Translate, translator
from springtide.units import describe_duration

_BAR_SIGNS = 20
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 3.0


async def follow(desk: Desk, run: RunRecord) -> Look:
    """Return a run once it is over; show how far it is meanwhile."""
    console = Console(stderr=True, highlight=False)
    text = translator(language())
    pause_s, said = _FIRST_PAUSE_S, ""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            (look,) = await desk.look([run])
            run = look.run
            if look.view.over:
                return look
            if console.is_terminal:
                live.update(_line(look, text), refresh=True)
            elif (words := _words(look, text)) != said:
                click.echo(words, err=True)
                said, pause_s = words, _FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _words(look: Look, text: Translate) -> str:
    words = [text(f"cli.state_{look.view.state}"), look.view.explanation, progress_words(look, text)]
    return " ".join(filter(None, words))


def progress_words(look: Look, text: Translate) -> str:
    """Return how far a run is, in words; empty where it has not said."""
    if look.run.progress is None:
        return ""
    left = look.time_left_s
    parts = [f"{look.run.progress:.0%}", look.run.progress_words]
    parts += [text("jobs.time_left", duration=describe_duration(left))] if left and not look.view.over else []
    return ", ".join(filter(None, parts))


def bar(look: Look) -> ProgressBar | str:
    """Return a bar that shows how far a run is, "" where it has not said."""
    if look.run.progress is None:
        return ""
    return ProgressBar(total=1.0, completed=look.run.progress, width=_BAR_SIGNS)


def _line(look: Look, text: Translate) -> Table:
    grid = Table.grid(padding=(0, 1))
    state = escape(text(f"cli.state_{look.view.state}"))
    grid.add_row(state, bar(look), escape(progress_words(look, text) or look.view.explanation))
    return grid
