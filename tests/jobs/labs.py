"""A lab with a queue of this machine and a few small applications, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from springtide.jobs.asked import Asked
from springtide.jobs.desk import Desk
from springtide.jobs.looking import Look
from springtide.lab.load import load_lab
from springtide.ledger.records import RunRecord
from springtide.ledger.store import Ledger
from springtide.queues.following import wait_until_over
from tests.support import local_queue

SUM = """\
springtide: 1
label: {en: Sum, fr: Somme}
parameters:
  first: {kind: integer, min: 0, max: 100, default: 1, label: First}
  second: {kind: number, unit: s, min: 0, max: 100, default: 2, label: Second}
  seed: {kind: seed, label: Seed}
  data: {kind: file, required: false, names: ["*.txt"], label: Data}
  fail: {kind: boolean, default: false, label: Fail}
  sleep: {kind: number, unit: s, min: 0, max: 60, default: 0, label: Sleep}
program: sum.py
command: [python, "{program}", "{first}", "{second}", "{seed}", "{fail}", "{sleep}", ["{data}"]]
resources: {cores: {default: 1, max: 4}, memory: {default: 64M, min: 64M, max: 1G}, walltime: {default: 1m, max: 10m}}
outputs: [{name: total, files: total.txt}]
plots: [{name: totals, entry: sum_plot.py:totals}]
"""
SUM_PROGRAM = """\
import sys, time
from springtide_progress import progress
first, second, seed, fail, sleep, *data = sys.argv[1:]
print("adding", first, second, flush=True)
progress(0.5, "half")
time.sleep(float(sleep))
with open("total.txt", "w") as file:
    file.write(str(int(first) + float(second)))
if data:
    print("data:", open(data[0]).read())
progress(1, "done")
sys.exit(3 if fail == "true" else 0)
"""
SUM_PLOT = """\
from pathlib import Path
from matplotlib.figure import Figure

def totals(runs):
    figure = Figure()
    axes = figure.subplots()
    totals = [float(Path(run.folder, "total.txt").read_text()) for run in runs]
    axes.plot([run.parameters["first"] for run in runs], totals)
    axes.set(title="Totals", xlabel="First", ylabel="Total [s]")
    return figure
"""
MERGE = """\
springtide: 1
label: {en: Merge, fr: Fusion}
command: [find, "{upstream.outputs}", -name, total.txt]
resources: {memory: 64M, walltime: 1m}
"""


def write_lab(folder: Path, sites: dict[str, Any] | None = None) -> Path:
    """Write a lab file and its applications; return the file."""
    apps = folder / "mine" / "apps"
    apps.mkdir(parents=True)
    for name, text in (
        ("sum.yaml", SUM),
        ("sum.py", SUM_PROGRAM),
        ("sum_plot.py", SUM_PLOT),
        ("merge.yaml", MERGE),
        ("private.yaml", "springtide: 1\nlabel: Private\ngroups: [somebody-else]\ncommand: [echo]\n"),
    ):
        (apps / name).write_text(text)
    (folder / "mine" / "Dockerfile").write_text("FROM scratch\n")
    file = folder / "lab.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "springtide": 1,
                "sites": sites or {"machine": {"kind": "local", "runtime": "host"}},
                # The session environment is the Python that runs the tests.
                "environments": {"base": {"folder": "mine"}},
                "profiles": [{"name": "x", "site": next(iter(sites or {"machine": 0}))}],
            }
        )
    )
    return file


@dataclass
class JobsLab:
    """A desk in a lab of its own."""

    folder: Path
    lab_file: Path
    ledger: Ledger
    desk: Desk = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir(exist_ok=True)
        self.desk = self.new_desk()

    def new_desk(self) -> Desk:
        """Return a desk that knows nothing but the ledger, as after a restart."""
        return Desk(load_lab(self.lab_file), self.ledger, self.folder / "jobs", self.home, self.folder / "environments")

    async def submit(self, name: str = "sum", asked: Asked | None = None, **given: Any) -> RunRecord:
        return await self.desk.submit(name, given, asked or Asked())

    async def ended(self, run: RunRecord) -> Look:
        """Return a run once it is over."""
        row = self.ledger.job(run.job)
        assert row
        await wait_until_over(await self.desk.site(row.site), row)
        (look,) = await self.desk.look([run])
        assert look.view.over
        return look


def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask more often than a scheduler that others use too should be asked."""
    monkeypatch.setattr("springtide.queues.opening._INTERVALS_S", {"local": 0.1, "slurm": 0.3})
    monkeypatch.setattr("springtide.queues.following._FIRST_PAUSE_S", 0.1)


@contextmanager
def jobs_lab(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobsLab]:
    """Yield a desk whose jobs run in a queue of this machine that lives in `folder`."""
    look_often(monkeypatch)
    (folder / "queue-of-this-machine").mkdir()
    with local_queue.local_site(folder / "queue-of-this-machine") as site:
        site.set(cores=4, memory="2G")
        monkeypatch.setattr("springtide.queues.opening.commands_folder", lambda: site.bin)
        with Ledger.open(folder / "ledger.sqlite") as ledger:
            yield JobsLab(folder, write_lab(folder), ledger)
