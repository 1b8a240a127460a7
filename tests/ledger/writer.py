"""One of several processes that write to the same ledger: ``python -m tests.ledger.writer PLACE NAME COUNT``.

It opens the ledger when it reads a line, so that all begin at once, and prints a line when it has ended well.
"""

from __future__ import annotations

import sys

from springtide.ledger.records import Event
from springtide.ledger.store import Ledger
from tests.ledger.make import job


def main(place: str, name: str, count: int) -> None:
    sys.stdin.readline()
    with Ledger.open(place, patience_s=30) as ledger:
        for number in range(count):
            tokens = [f"{name}-{number}-{letter}" for letter in "ab"]
            ledger.add_jobs([job(token, user=name) for token in tokens])
            changes = {token: {"state": "queued", "job_id": token} for token in tokens}
            ledger.update_jobs(changes, events=[Event(0.0, "submitted", token) for token in tokens])
    print("written", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
