"""``springtide.run`` and its jobs in a session that has a broker: the same as in the process itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import springtide
from springtide.errors import ChainError, JobError, JobFailed, ParameterError, UnknownApplication
from springtide.jobs import api
from springtide.jobs.asked import Asked
from springtide.jobs.remote import RemoteDesk, remote_desk
from springtide.jobs.transport import BROKER_VARIABLE, TOKEN_VARIABLE, BrokerUnreachable, Transport
from tests.broker.serving import Serving


@pytest.fixture(autouse=True)
def session(broker: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be a session with a home and a token, as the spawner makes one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(BROKER_VARIABLE, broker.url)
    monkeypatch.setenv(TOKEN_VARIABLE, "carol")
    monkeypatch.setattr(api, "_desk", None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def my_jobs(**options: Any) -> Any:
    return springtide.jobs(**options)  # type: ignore[operator]  # a package that can be called


def test_a_job_is_like_a_future(broker: Serving) -> None:
    job = springtide.run("sum", first=3, seed=5)
    assert isinstance(job, springtide.Job)
    assert (job.site, job.reason) == ("machine", "machine is the only site.")
    result = job.result(timeout=180)
    assert [path.read_text() for path in result["total"]] == ["5.0"]
    assert (job.done(), job.state, job.progress, len(job)) == (True, "finished", 1.0, 1)
    assert "adding 3 2" in job.log
    assert job.provenance[0]["parameters"]["seed"] == 5
    assert my_jobs()[0].token == job.token
    assert springtide.job(job.token).parameters == job.parameters
    assert job.look().view.started


async def test_a_job_can_be_awaited(broker: Serving) -> None:
    job = await asyncio.to_thread(springtide.run, "sum", sleep=0.3)
    assert "total" in await job


def test_a_failure_tells_its_cause_and_the_end_of_the_log() -> None:
    job = springtide.run("sum", fail=True)
    with pytest.raises(JobFailed, match="did not succeed") as caught:
        job.result(timeout=180)
    assert (caught.value.cause, caught.value.exit_status) == ("exit", 3)
    assert "progress 1" in str(caught.value)
    with pytest.raises(JobError, match="No run of the job"):
        job.plot()


def test_waiting_ends_in_time_and_cancelling_ends_the_job() -> None:
    job = springtide.run("sum", sleep=50)
    with pytest.raises(TimeoutError):
        job.wait(timeout=0.5)
    assert job.cancel()
    with pytest.raises(JobFailed) as caught:
        job.result(timeout=180)
    assert caught.value.cause == "cancelled"


def test_a_sweep_has_a_table_of_results_and_one_figure() -> None:
    job = springtide.run("sum", first=range(1, 4)).wait(timeout=180)
    assert [(run.parameters["first"], run.exit_status) for run in job.runs] == [(1, 0), (2, 0), (3, 0)]
    (line,) = job.plot().axes[0].lines
    assert list(line.get_ydata()) == [3.0, 4.0, 5.0]
    with pytest.raises(JobError, match="It has: totals"):
        job.plot("nothing")


def test_a_job_runs_again_with_the_same_inputs_even_if_they_have_changed_since(session: Path) -> None:
    file = session / "in.txt"
    file.write_text("as it was")
    job = springtide.run("sum", data="in.txt", first=4).wait(timeout=180)
    file.write_text("changed")
    again = job.again().wait(timeout=180)
    assert "data: as it was" in again.log
    assert again.parameters["seed"] == job.parameters["seed"]
    other = job.again(first=5, walltime="2m", data=file).wait(timeout=180)
    assert ("adding 5 2" in other.log, "data: changed" in other.log) == (True, True)
    with pytest.raises(ParameterError, match="too large"):
        job.again(first=500)


def test_a_chain_hands_its_outputs_on() -> None:
    jobs = springtide.chain(
        report=springtide.step("merge", after="simulate"), simulate=springtide.step("sum", first=2, sleep=0.3)
    )
    assert list(jobs) == ["report", "simulate"]
    jobs["report"].result(timeout=180)
    assert "total.txt" in jobs["report"].log
    with pytest.raises(ChainError, match="round in a circle: a → b → a"):
        springtide.chain(a=springtide.step("sum", after="b"), b=springtide.step("sum", after="a"))


def test_what_is_wrong_is_the_same_error_as_without_a_broker(session: Path) -> None:
    before = len(my_jobs())
    wrong: tuple[tuple[type[Exception], str, Callable[[], object]], ...] = (
        (UnknownApplication, "Did you mean “sum”", lambda: springtide.run("sun")),
        (ParameterError, "first: “101” is too large. Allowed: a whole", lambda: springtide.run("sum", first=101)),
        (ParameterError, "data: .*does not exist", lambda: springtide.run("sum", data="none.txt")),
        (ParameterError, "data: .*is no file", lambda: springtide.run("sum", data=session)),
        (ParameterError, "site: There is no site “moon”", lambda: springtide.run("sum", site="moon")),
        (ParameterError, "after: There is no job", lambda: springtide.run("sum", after="zzzzzzzz")),
        (ParameterError, "job: There is no job", lambda: springtide.job("zzzzzzzz")),
        (ParameterError, "job: There is no job", lambda: springtide.job("../me")),
    )
    for kind, words, call in wrong:
        with pytest.raises(kind, match=words):
            call()
    assert len(my_jobs()) == before


async def test_changes_come_as_they_do_without_a_broker() -> None:
    desk = remote_desk()
    assert isinstance(desk, RemoteDesk)
    changes = desk.changes(limit=5)
    await anext(changes)
    run = await desk.submit("sum", {"first": 1}, Asked())
    seen: set[str] = set()
    async with asyncio.timeout(30):
        while "finished" not in seen:
            seen |= {look.view.state for look in await anext(changes) if look.run.token == run.token}
    await changes.aclose()


def test_a_broker_that_is_away_is_waited_for_and_named(broker: Serving) -> None:
    with pytest.raises(BrokerUnreachable, match="does not answer") as caught:
        Transport("http://127.0.0.1:9/", "carol", patience_s=0.3).get("me")
    assert caught.value.transient
    with pytest.raises(JobError, match="not known to the hub"):
        Transport(broker.url, "stranger", patience_s=0.3).get("me")


def test_without_a_broker_the_desk_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BROKER_VARIABLE)
    assert remote_desk() is None
