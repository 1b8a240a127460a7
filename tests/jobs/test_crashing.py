"""Whoever submits is killed again and again: each job runs exactly once, and none is forgotten."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path

from springtide.jobs.spec import JobSpec
from tests.jobs.crashing import GRACE_S
from tests.jobs.labs import JobsLab

COUNT = 20
KILLS = 8
MARK = """\
springtide: 1
label: Mark
program: mark.py
command: [python, "{program}"]
resources: {memory: 64M, walltime: 1m}
"""


async def test_twenty_jobs_run_exactly_once_though_their_submitter_is_killed_at_random(lab: JobsLab) -> None:
    apps = lab.folder / "mine" / "apps"
    (apps / "mark.yaml").write_text(MARK)
    # One byte more each time it runs, whoever started it.
    (apps / "mark.py").write_text("open('../ran', 'a').write('x')\n")
    command = [sys.executable, "-m", "tests.jobs.crashing", str(lab.lab_file), str(lab.folder)]
    command += [str(lab.folder / "queue-of-this-machine" / "bin"), str(COUNT)]
    chance = random.Random(20351125)
    kills = 0
    while True:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                output, _ = process.communicate(timeout=None if kills == KILLS else chance.uniform(0.9, 2.4))
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
                continue
        assert process.returncode == 0
        if "complete" in output:
            break
        # What is in doubt is not known to be lost before its grace is over.
        await asyncio.sleep(GRACE_S / 4)
    looks = [await lab.ended(run) for run in lab.ledger.runs()]
    assert sorted(JobSpec.from_json(look.run.spec).name for look in looks) == sorted(f"n{n}" for n in range(COUNT))
    assert {(look.view.state, look.view.exit_status) for look in looks} == {("finished", 0)}
    assert [Path(look.run.folder, "ran").read_text() for look in looks] == ["x"] * COUNT
    assert kills > 3
