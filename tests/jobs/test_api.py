"""``springtide.run`` and its jobs, as a notebook calls them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import springtide
from springtide.errors import ChainError, JobError, JobFailed, ParameterError, UnknownApplication
from springtide.jobs import api
from springtide.jobs.chains import in_order
from tests.jobs.labs import JobsLab


@pytest.fixture
def here(lab: JobsLab, monkeypatch: pytest.MonkeyPatch) -> JobsLab:
    """Return a lab whose desk is that of this process."""
    monkeypatch.setattr(api, "_desk", lab.desk)
    return lab


def my_jobs(**options: Any) -> Any:
    return springtide.jobs(**options)  # type: ignore[operator]  # a package that can be called


def test_a_job_is_like_a_future(here: JobsLab) -> None:
    job = springtide.run("sum", first=3, seed=5)
    assert (job.site, job.reason) == ("machine", "machine is the only site.")
    result = job.result(timeout=180)
    assert [path.read_text() for path in result["total"]] == ["5.0"]
    assert (job.done(), job.state, job.progress, len(job)) == (True, "finished", 1.0, 1)
    assert "adding 3 2" in job.log
    assert job.provenance[0]["parameters"]["seed"] == 5
    assert [one.token for one in my_jobs()] == [job.token]
    assert springtide.job(job.token).parameters == job.parameters


async def test_a_job_can_be_awaited_while_others_work(here: JobsLab) -> None:
    job = await asyncio.to_thread(springtide.run, "sum", sleep=0.5)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    beside = asyncio.create_task(tick())
    assert "total" in await job
    beside.cancel()
    assert ticks > 10


def test_a_failure_tells_its_cause_and_the_end_of_the_log(here: JobsLab) -> None:
    job = springtide.run("sum", fail=True)
    with pytest.raises(JobFailed, match="did not succeed") as caught:
        job.result(timeout=180)
    assert (caught.value.cause, caught.value.exit_status) == ("exit", 3)
    assert "progress 1" in str(caught.value)
    with pytest.raises(JobError, match="No run of the job"):
        job.plot()


def test_waiting_ends_in_time_and_cancelling_ends_the_job(here: JobsLab) -> None:
    job = springtide.run("sum", sleep=50)
    with pytest.raises(TimeoutError):
        job.wait(timeout=0.5)
    assert job.cancel()
    with pytest.raises(JobFailed) as caught:
        job.result(timeout=180)
    assert caught.value.cause == "cancelled"


def test_a_sweep_has_a_table_of_results_and_one_figure(here: JobsLab) -> None:
    job = springtide.run("sum", first=[1, 2, 3]).wait(timeout=180)
    assert [(run.parameters["first"], run.exit_status) for run in job.runs] == [(1, 0), (2, 0), (3, 0)]
    assert len(job.outputs["total"]) == 3
    (line,) = job.plot().axes[0].lines
    assert list(line.get_ydata()) == [3.0, 4.0, 5.0]
    with pytest.raises(JobError, match="It has: totals"):
        job.plot("nothing")


def test_a_job_runs_again_with_the_same_inputs_even_if_they_have_changed_since(here: JobsLab) -> None:
    file = here.home / "in.txt"
    file.write_text("as it was")
    job = springtide.run("sum", data=file, first=4).wait(timeout=180)
    file.write_text("changed")
    again = job.again().wait(timeout=180)
    assert "data: as it was" in again.log
    assert again.parameters["seed"] == job.parameters["seed"]
    other = job.again(first=5, walltime="2m", data=file).wait(timeout=180)
    assert ("adding 5 2" in other.log, "data: changed" in other.log) == (True, True)
    assert here.ledger.run(other.token).parent == job.token  # type: ignore[union-attr]  # it is there
    with pytest.raises(ParameterError, match="too large"):
        job.again(first=500)


def test_a_chain_hands_its_outputs_on(here: JobsLab) -> None:
    jobs = springtide.chain(
        report=springtide.step("merge", after="simulate"), simulate=springtide.step("sum", first=2, sleep=0.3)
    )
    assert list(jobs) == ["report", "simulate"]
    jobs["report"].result(timeout=180)
    assert jobs["report"].log.split() == [str(jobs["simulate"].outputs["total"][0])]


def test_a_chain_that_goes_round_in_a_circle_is_shown_and_nothing_is_submitted(here: JobsLab) -> None:
    steps = {"a": springtide.step("sum", after="c"), "b": springtide.step("sum", after="a")}
    with pytest.raises(ChainError, match="round in a circle: a → b → c → a"):
        springtide.chain(**steps, c=springtide.step("sum", after="b"))
    with pytest.raises(ChainError, match="“b” follows “x”, which is no step"):
        springtide.chain(b=springtide.step("sum", after="x"))
    with pytest.raises(ParameterError, match="first"):
        springtide.chain(a=springtide.step("sum"), b=springtide.step("sum", first=999, after="a"))
    with pytest.raises(ParameterError, match="3 is no job"):
        springtide.run("sum", after=3)
    with pytest.raises(UnknownApplication):
        springtide.chain(a=springtide.step("sum"), b=springtide.step("none", after="a"))
    assert here.ledger.runs() == []


def test_steps_are_ordered_whatever_their_number() -> None:
    steps = {str(n): [str(n + 1)] for n in range(3000)} | {"3000": []}
    assert in_order(steps)[0] == "3000"
    with pytest.raises(ChainError, match="a → a"):
        in_order({"a": ["a"]})


def test_importing_springtide_brings_nothing_else() -> None:
    code = "import sys, springtide; print(sorted({'pydantic', 'sqlalchemy', 'yaml', 'click'} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_progress_helper_needs_nothing_but_its_own_file(tmp_path: Path) -> None:
    file = Path(springtide.__file__).with_name("progress.py")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import springtide_progress as p\n"
        "list(p.track(range(4), words='chain')); p.progress(2, 'a \"b\" \\n c')"
    )
    (tmp_path / "springtide_progress.py").write_text(file.read_text())
    answer = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    (tmp_path / "log").write_text(answer.stdout)
    assert springtide_last(tmp_path / "log") == (1.0, 'a "b" c')


def springtide_last(file: Path) -> tuple[float, str] | None:
    from springtide.progress import last_progress

    return last_progress(file)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("progress 0.5\n", (0.5, "")),
        ('progress 0.5 "a"\nprogress 0.7 "b', (0.5, "a")),
        ('x progress 0.5 "a"\n', None),
        ("progress 7\n", (1.0, "")),
        ('progress .25 "chain 3/8"\n' + "noise\n" * 20_000, (0.25, "chain 3/8")),
        ("progress 0.1\n" + "noise\n" * 400_000, None),
        ('progress 0.5 "\x1b[31m"\n', (0.5, " [31m")),
    ],
)
def test_the_last_line_of_progress_counts(tmp_path: Path, text: str, found: object) -> None:
    (tmp_path / "log").write_text(text)
    assert springtide_last(tmp_path / "log") == found
