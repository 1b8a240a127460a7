"""A program that has promised to submit jobs, and is killed; run as a process of its own.

``python -m tests.jobs.crashing LAB FOLDER QUEUE COUNT`` submits the jobs ``n0``, ``n1``, … that are not written down,
after those that are written down and were never submitted. What it prints at its end says that nothing is left to do.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from unittest import mock

from springtide.jobs.asked import Asked
from springtide.jobs.desk import Desk
from springtide.jobs.spec import JobSpec
from springtide.lab.load import load_lab
from springtide.ledger.store import Ledger

# Longer than a launcher that outlives this program may still be at it.
GRACE_S = 4.0


async def main(lab: Path, folder: Path, count: int) -> None:
    with Ledger.open(folder / "ledger.sqlite") as ledger:
        desk = Desk(load_lab(lab), ledger, folder / "jobs", folder / "home", folder / "environments")
        site = await desk.site("machine")
        site.dispatcher.grace_s, site.dispatcher.ask_again_after_s = GRACE_S, 0.2
        await desk.recover()
        promised = {JobSpec.from_json(run.spec).name for run in await desk.runs()}
        missing = [f"n{number}" for number in range(count) if f"n{number}" not in promised]
        for first in range(0, len(missing), 3):
            await asyncio.gather(*(desk.submit("mark", {}, Asked(name=name)) for name in missing[first : first + 3]))
        rows = [ledger.job(run.job) for run in await desk.runs()]
        if all(row is not None and row.job_id for row in rows):
            print("complete")


if __name__ == "__main__":
    _, lab, folder, queue, count = sys.argv
    with mock.patch("springtide.queues.opening.commands_folder", return_value=Path(queue)):
        asyncio.run(main(Path(lab), Path(folder), int(count)))
