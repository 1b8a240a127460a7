"""Jobs where real work is done: the LISA environment on this machine, and a Slurm cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.jobs.asked import Asked
from springtide.jobs.folder import provenance
from springtide.jobs.job import Job
from springtide.jobs.looking import Look
from springtide.jobs.spec import Follow, JobSpec
from springtide.ledger.records import RunRecord
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


async def test_a_chain_over_two_sites_goes_on_once_its_middle_is_run_again(
    cluster: JobsLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_queue.local_site(cluster.folder) as here:
        monkeypatch.setattr("springtide.queues.opening.commands_folder", lambda: here.bin)
        here.set(cores=4, memory="2G")
        simulate = await cluster.submit(asked=Asked(site="cluster"), first=1, sleep=1)
        analyse = await cluster.submit(asked=after(simulate, "local"), first=2, fail=True)
        report = await cluster.submit("merge", after(analyse, "cluster"))
        (look,) = await cluster.desk.look([analyse])
        assert (look.view.state, cluster.ledger.job(analyse.job)) == ("waiting", None)
        assert look.view.explanation == f"It is submitted once {simulate.token} is over at another site."
        # Whoever looks at the last step, in whatever process, moves the others on.
        assert (await looked_at(cluster, report)).view.cause == "dependency"
        assert (await looked_at(cluster, analyse)).view.exit_status == 3
        assert (await looked_at(cluster, simulate)).view.exit_status == 0

        second = await cluster.desk.submit_again(analyse, {"fail": False}, Asked())
        last = await cluster.desk.submit_again(report, {}, after(second, "cluster"))
        assert (await looked_at(cluster, last)).view.exit_status == 0
        outputs = Path(second.folder, "outputs", "total.txt")
        assert Path(last.folder, "log.txt").read_text().split() == [str(outputs)]
        assert [one.site for one in (simulate, second, last)] == ["cluster", "local", "cluster"]

        waiting = await cluster.submit(asked=Asked(site="cluster"), sleep=30)
        held = await cluster.submit(asked=after(waiting, "local"))
        assert await cluster.desk.cancel(held)
        assert (await looked_at(cluster, held)).view.cause == "cancelled"
        await cluster.desk.cancel(waiting)


def after(run: RunRecord, site: str) -> Asked:
    return Asked(site=site, after=(Follow("ok", run.token),))


async def looked_at(lab: JobsLab, run: RunRecord) -> Look:
    """Return a run once it is over, looking with a desk of its own."""
    desk = lab.new_desk()
    async with asyncio.timeout(60):
        while not (look := (await desk.look([await desk.run(run.token)]))[0]).view.over:
            await asyncio.sleep(0.2)
    return look
