"""Which jobs of the local queue may follow now, and which never can."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from springtide.queues.local import life
from springtide.queues.local.directives import parse_id
from springtide.queues.local.store import Store
from springtide.queues.model import After, Cause


def settle(store: Store, live: Sequence[sqlite3.Row]) -> bool:
    """Let go the jobs whose dependencies are fulfilled, end those whose never can be; whether anything changed."""
    changed = False
    seen: set[int] = set()
    for row in live:
        if row["waits_for"] == "[]" or row["number"] in seen:
            continue
        seen.add(row["number"])
        changed |= _settle_one(store, row["number"], json.loads(row["waits_for"]))
    return changed


def _settle_one(store: Store, number: int, needed: list[tuple[str, list[str]]]) -> bool:
    left = []
    for kind, ids in needed:
        verdicts = {job_id: _verdict(After(kind), store, job_id) for job_id in ids}
        failed = next((job_id for job_id, verdict in verdicts.items() if verdict is False), None)
        if failed:
            words = f"Dependency never satisfied: {kind} of job {failed}"
            life.finish_waiting(store, number, Cause.DEPENDENCY, words)
            return True
        waits = [job_id for job_id, verdict in verdicts.items() if verdict is None]
        left += [(kind, waits)] if waits else []
    if sum(len(ids) for _, ids in left) == sum(len(ids) for _, ids in needed):
        return False
    store.change("UPDATE submissions SET waits_for = ? WHERE number = ?", json.dumps(left), number)
    return True


def _verdict(after: After, store: Store, job_id: str) -> bool | None:
    """Return whether the dependency is fulfilled; None: not known yet, False: it never will be."""
    number, position, _ = parse_id(job_id)
    rows = [row for row in store.jobs_of([number]) if position is None or row["position"] == position]
    if not rows:
        # Forgotten since: nobody can say how it ended.
        return after is After.ANY
    if after is After.START:
        started = [row["runs"] > 0 or row["started"] is not None for row in rows]
        over = all(row["state"] == "finished" for row in rows)
        return True if all(started) else (False if over else None)
    if not all(row["state"] == "finished" for row in rows):
        return None
    good = all((row["cause"], row["exit_status"]) == (Cause.EXIT.value, 0) for row in rows)
    return {After.OK: good, After.FAILURE: not good, After.ANY: True}[after]
