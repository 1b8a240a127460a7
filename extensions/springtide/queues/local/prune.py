"""What the local queue forgets: old jobs, and scripts that no job needs any more."""

from __future__ import annotations

import json
import time

from springtide.queues.local.directives import parse_id
from springtide.queues.local.machine import Settings
from springtide.queues.local.store import LIVE, Store


def prune(store: Store, settings: Settings) -> None:
    """Forget the jobs that ended too long ago, and the oldest beyond the number kept.

    A submission goes as a whole, and not before the jobs that are to follow it.
    """
    with store.writing() as connection:
        numbers = {
            int(row["number"])
            for row in connection.execute(
                "SELECT number FROM jobs GROUP BY number HAVING min(state = 'finished') AND max(ended) < ?"
                " UNION SELECT number FROM jobs WHERE state = 'finished'"
                " AND key NOT IN (SELECT key FROM jobs WHERE state = 'finished' ORDER BY ended DESC LIMIT ?)",
                (time.time() - settings.kept_s, settings.kept_jobs),
            )
        }
        live = {int(row["number"]) for row in connection.execute(f"SELECT DISTINCT number FROM jobs WHERE {LIVE}")}
        gone = [(number,) for number in numbers - live - _needed(store)]
        connection.executemany("DELETE FROM jobs WHERE number = ?", gone)
        connection.executemany("DELETE FROM submissions WHERE number = ?", gone)
        for script in (store.spool.folder / "scripts").glob("*.sh"):
            if script.stem.isdecimal() and int(script.stem) not in live:
                script.unlink(missing_ok=True)


def _needed(store: Store) -> set[int]:
    rows = store.rows(f"SELECT waits_for FROM submissions JOIN jobs USING (number) WHERE {LIVE} AND waits_for != '[]'")
    return {parse_id(job_id)[0] for row in rows for _, ids in json.loads(row["waits_for"]) for job_id in ids}
