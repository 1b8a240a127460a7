"""Jobs of the local queue that nobody watches any more: their shepherd was killed, or the machine was started anew."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Sequence

from springtide.queues.local import life
from springtide.queues.local.launch import remove_scratch
from springtide.queues.local.processes import ProcessName, is_alive, processes_of, signal_all
from springtide.queues.local.store import Store
from springtide.queues.model import Cause

_ENDS_WITHIN_S = 5.0
_LOOK_S = 0.02


def recover(store: Store, live: Sequence[sqlite3.Row], boot: str, is_starting: Callable[[sqlite3.Row], bool]) -> bool:
    """End what is left of jobs without a shepherd and say what became of them; whether there was any."""
    found = False
    for row in live:
        if row["state"] not in ("running", "ending"):
            continue
        shepherd = life.shepherd_of(row)
        if row["boot"] != boot:
            remove_scratch(row["scratch"])
            life.end(store, row["key"], row["claim"], life.Outcome(Cause.LOST, "The machine was restarted"))
            found = True
        elif shepherd is None:
            if not is_starting(row):
                life.give_up_start(store, row, "Its shepherd process did not start: see keeper.log of the queue")
                found = True
        elif not is_alive(shepherd):
            _end_lost(store, row)
            found = True
    return found


def _end_lost(store: Store, seen: sqlite3.Row) -> None:
    # Anew: it may have recorded the end just before it ended.
    row = store.job(seen["key"])
    if row is None or row["claim"] != seen["claim"] or row["state"] == "finished":
        return
    leader = None if row["leader"] is None else ProcessName(row["leader"], row["leader_start"] or 0)
    deadline = time.monotonic() + _ENDS_WITHIN_S
    while (left := processes_of(row["mark"], leader, str(store.spool.folder))) and time.monotonic() < deadline:
        signal_all(left, signal.SIGKILL)
        time.sleep(_LOOK_S)
    remove_scratch(row["scratch"])
    life.end(store, row["key"], row["claim"], life.Outcome(Cause.LOST, "Its shepherd process was killed"))
