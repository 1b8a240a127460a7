"""Jobs where real work is done: the LISA environment on this machine, and a Slurm cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.jobs.asked import Asked
from springtide.jobs.folder import provenance
from springtide.jobs.job import Job
from springtide.jobs.spec import Follow, JobSpec
from springtide.ledger.store import Ledger
from tests.jobs.labs import JobsLab, look_often, write_lab
from tests.support import local_queue
from tests.support.need import require
from tests.support.slurm import Slurm

# Shared by all runs of the tests: making it takes a minute.
ENVIRONMENTS = Path("/var/cache/springtide-tests/environments")


@pytest.mark.timeout(600)
async def test_lisa_instrument_noise_meets_its_model(lab: JobsLab) -> None:
    numpy = pytest.importorskip("numpy")
    try:
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    except PermissionError:
        require("a folder for shared environments", False, f"sudo mkdir -p {ENVIRONMENTS}")
    lab.desk.environments = ENVIRONMENTS
    run = await lab.submit("instrument-noise", Asked(memory="1G"), seed=2035, duration="0.5 d", dt="4 s")
    look = await lab.ended(run)
    assert (look.view.exit_status, look.run.progress) == (0, 1.0)
    table = numpy.loadtxt(Path(run.folder, "outputs", "spectrum.csv"), delimiter=",", skiprows=1)
    f, simulated, model, _ = table.T
    band = (f > 3e-3) & (f < 10e-3)
    assert (simulated[band] / model[band]).mean() == pytest.approx(1, abs=0.35)
    record = provenance(Path(run.folder), 1, 1)
    assert record["versions"]["lisainstrument"] == "2.3.0"
    assert record["environment"]["name"] == "lisa"
    assert Job(lab.desk, look.run).plot().axes[0].get_xlabel() == "Frequency [Hz]"


@pytest.fixture
def cluster(tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobsLab]:
    """Yield a lab with a Slurm cluster and this machine."""
    look_often(monkeypatch)
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    sites = {"cluster": {"kind": "slurm", "commands": str(slurm.commands)}}
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        yield JobsLab(tmp_path, write_lab(tmp_path, sites), ledger)


async def test_a_sweep_and_what_follows_it_run_on_slurm(cluster: JobsLab) -> None:
    sweep = await cluster.submit("sum", Asked(site="cluster", sweep={"first": "1..2"}), sleep=1)
    merge = await cluster.submit("merge", Asked(after=(Follow("ok", sweep.token),)))
    assert merge.site == "cluster"
    look = await cluster.ended(sweep)
    assert (look.view.exit_status, look.view.cause, look.count) == (0, "exit", 2)
    outputs = Path(sweep.folder, "outputs")
    assert [(outputs / str(n) / "total.txt").read_text() for n in (1, 2)] == ["3.0", "4.0"]
    assert provenance(Path(sweep.folder), 2, 2)["site"] == "cluster"
    assert (await cluster.ended(merge)).view.exit_status == 0
    assert len(Path(merge.folder, "log.txt").read_text().split()) == 2


async def test_the_site_that_starts_first_is_chosen_and_the_reason_is_said(
    cluster: JobsLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_queue.local_site(cluster.folder) as here:
        monkeypatch.setattr("springtide.queues.opening.commands_folder", lambda: here.bin)
        here.set(cores=1, memory="1G")
        blocker = here.submit("sleep 60", cores=1, walltime_s=3600)
        await here.running(blocker)
        run = await cluster.submit("sum")
        spec = JobSpec.from_json(run.spec)
        assert run.site == "cluster"
        assert spec.reason.startswith("cluster is where it should start first: cluster: at once; local: in about ")
        chosen = await cluster.submit("sum", Asked(site="local"))
        assert (chosen.site, JobSpec.from_json(chosen.spec).reason) == ("local", "")
        assert await cluster.desk.cancel(chosen)
        await cluster.ended(run)
