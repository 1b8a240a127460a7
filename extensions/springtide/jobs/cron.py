"""Cron expressions: when something is due, in a time zone with its daylight saving.

As Debian's cron has it: what is due in the hour that is left out in spring is due right after it, and what is due at
a fixed time in the hour that comes twice in autumn is due once.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from springtide.errors import ParameterError

if TYPE_CHECKING:
    from cronsim import CronSimError

_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_HINT = "Five fields: minute, hour, day of the month, month, day of the week: “30 2 * * mon-fri”; or @daily."
_LONGEST = 100
_LOCAL_TIME = Path("/etc/localtime")
_ZONES = "zoneinfo/"


def read_cron(text: str) -> str:
    """Return an expression in five fields, checked.

    Raises
    ------
    ParameterError
        If it is none, or is never due.
    """
    shown = f"“{text[:40]}”"
    if len(text) > _LONGEST:
        raise ParameterError("cron", f"{shown}… is too long for a cron expression.", _HINT)
    # Read when it is needed: a session in a container has not got it, and leaves schedules to the broker.
    from cronsim import CronSim, CronSimError

    fields = _NAMED.get(text.strip().lower(), text).split()
    if len(fields) != 5:
        raise ParameterError("cron", f"{shown} has {len(fields)} fields.", _HINT)
    cron = " ".join(fields)
    try:
        next(CronSim(cron, datetime.now(ZoneInfo("UTC"))))
    except CronSimError as error:
        raise ParameterError("cron", f"{shown} cannot be: {_in_words(error)}.", _HINT) from None
    except StopIteration:
        raise ParameterError("cron", f"{shown} is never due: there is no such day.", _HINT) from None
    return cron


def _in_words(error: CronSimError) -> str:
    return f"its {str(error).removeprefix('Bad ').replace('-', ' ')} is none, or never comes"


def read_zone(name: str) -> str:
    """Return the name of a time zone, checked; where none is said, this machine's.

    Raises
    ------
    ParameterError
        If there is none of this name.
    """
    name = name.strip() or local_zone()
    if not _is_zone(name):
        raise ParameterError("zone", f"There is no time zone “{name[:40]}”.", "For example: Europe/Paris, or UTC.")
    return name


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True


def local_zone() -> str:
    """Return the name of this machine's time zone, UTC where it has none."""
    linked = os.path.realpath(_LOCAL_TIME).rpartition(_ZONES)[2]
    return next((name for name in (os.environ.get("TZ", ""), linked) if name and _is_zone(name)), "UTC")


def due_after(cron: str, zone: str, after: float) -> float | None:
    """Return when an expression is due next after a time, None if never again."""
    return next(_dues(cron, zone, after), None)


def due_within(cron: str, zone: str, first: float, until: float, most: int) -> list[float]:
    """Return when an expression was due from `first`, one of those times, to `until`: the last `most` times."""
    found = deque([first], maxlen=most)
    for due in _dues(cron, zone, first):
        if due > until:
            break
        found.append(due)
    return list(found)


def _dues(cron: str, zone: str, after: float) -> Iterator[float]:
    from cronsim import CronSim

    last = after
    for due in CronSim(cron, datetime.fromtimestamp(after, ZoneInfo(zone))):
        if (time := due.timestamp()) > last:
            yield time
            last = time
