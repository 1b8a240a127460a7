"""A user's runs as a stream of changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from springtide.jobs.looking import Look

if TYPE_CHECKING:
    from springtide.jobs.desk import Desk
    from springtide.jobs.remote import RemoteDesk

FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 3.0


async def changes_at(desk: Desk | RemoteDesk, *, limit: int | None) -> AsyncGenerator[list[Look], None]:
    """Yield the user's runs, the newest first; then again and again those that are new, or of which something changed.

    Called by whoever shows jobs. Schedulers are asked as seldom as their monitors do, and what is over is not looked
    at again. It never ends by itself.

    Parameters
    ----------
    limit : int or None
        The most runs that are watched: the newest.
    """
    known: dict[str, Look] = {}
    pause_s = FIRST_PAUSE_S
    while True:
        runs = await desk.runs(limit=limit)
        known = {run.token: known[run.token] for run in runs if run.token in known}
        open_runs = [run for run in runs if run.token not in known or not known[run.token].view.over]
        looks = await desk.look(open_runs) if open_runs else []
        changed = [look for look in looks if look.run.token not in known or _face(look) != _face(known[look.run.token])]
        known |= {look.run.token: look for look in looks}
        pause_s = FIRST_PAUSE_S if changed else min(2 * pause_s, _LONGEST_PAUSE_S)
        if changed:
            yield changed
        await asyncio.sleep(pause_s)


def _face(look: Look) -> tuple[object, ...]:
    """Return what people see of it that may change."""
    view, run = look.view, look.run
    return (view.state, view.exit_status, view.explanation, view.advice, run.progress, run.progress_words)
