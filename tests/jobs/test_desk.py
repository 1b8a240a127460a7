"""Jobs of applications, on the queue of this machine: submitted, followed, refused, cancelled, chained, swept."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from springtide.errors import (
    ChainError,
    JobError,
    LedgerError,
    NotSubmitted,
    ParameterError,
    SpringtideError,
    UnknownApplication,
)
from springtide.jobs.asked import Asked
from springtide.jobs.folder import provenance
from springtide.jobs.spec import Follow, JobSpec
from springtide.queues.bookkeeping import new_token
from springtide.queues.following import wait_until_over
from tests.jobs.labs import JobsLab


def log_of(run: Any, index: int | None = None) -> str:
    return Path(run.folder, "log.txt" if index is None else f"log.txt.{index}").read_text()


async def test_a_job_runs_in_its_own_folder_and_leaves_a_record(lab: JobsLab) -> None:
    (lab.home / "in.txt").write_text("hello")
    run = await lab.submit(first=4, second="3 s", seed=7, data="in.txt")
    look = await lab.ended(run)
    assert (look.view.state, look.view.exit_status, look.view.cause) == ("finished", 0, "exit")
    folder = Path(run.folder)
    assert (folder / "outputs" / "total.txt").read_text() == "7.0"
    assert "data: hello" in log_of(run)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    record = provenance(folder, 1, 1)
    assert record["token"] == run.token
    assert (record["parameters"]["seed"], record["exit_status"], record["signal"]) == (7, 0, None)
    assert record["versions"]["python"]
    assert record["outputs"][0]["file"] == "total.txt"
    assert len(record["outputs"][0]["sha256"]) == 64
    assert record["queue_job"]
    assert record["started"] <= record["ended"]
    assert stat.S_IMODE((folder / "provenance.json").stat().st_mode) == 0o600


async def test_progress_is_shown_and_kept_when_the_folder_is_gone(lab: JobsLab) -> None:
    look = await lab.ended(await lab.submit())
    assert (look.run.progress, look.run.progress_words) == (1.0, "done")
    os.unlink(Path(look.run.folder, "log.txt"))
    (again,) = await lab.new_desk().look([lab.ledger.run(look.run.token)])  # type: ignore[list-item]  # it is there
    assert again.run.progress == 1.0


async def test_a_running_job_tells_how_far_it_is_and_is_cancelled(lab: JobsLab) -> None:
    run = await lab.submit(sleep=30)
    async with asyncio.timeout(20):
        while True:
            (look,) = await lab.desk.look([run])
            if look.run.progress is not None:
                break
            await asyncio.sleep(0.1)
    assert (look.view.state, look.run.progress, look.run.progress_words) == ("running", 0.5, "half")
    assert await lab.desk.cancel(run)
    look = await lab.ended(run)
    assert look.view.cause == "cancelled"
    assert not await lab.desk.cancel(run)


async def test_a_program_that_fails_says_so_with_its_status(lab: JobsLab) -> None:
    look = await lab.ended(await lab.submit(fail=True))
    assert (look.view.exit_status, look.view.cause) == (3, "exit")
    assert look.view.explanation


async def test_a_sweep_is_one_job_with_a_folder_and_a_record_for_each_run(lab: JobsLab) -> None:
    run = await lab.submit(asked=Asked(sweep={"first": "1..3"}), seed=1)
    look = await lab.ended(run)
    assert (look.count, look.view.exit_status, look.run.progress) == (3, 0, 1.0)
    folder = Path(run.folder)
    assert [(folder / "outputs" / str(n) / "total.txt").read_text() for n in (1, 2, 3)] == ["3.0", "4.0", "5.0"]
    assert [provenance(folder, n, 3)["parameters"]["first"] for n in (1, 2, 3)] == [1, 2, 3]
    assert "adding 2 2" in log_of(run, 2)
    assert len(lab.ledger.jobs()) == 1


async def test_a_job_follows_another_and_gets_its_outputs(lab: JobsLab) -> None:
    first = await lab.submit(asked=Asked(sweep={"first": "1,2"}), sleep=0.5)
    merge = await lab.submit("merge", Asked(after=(Follow("ok", first.token),)))
    look = await lab.ended(merge)
    assert look.view.exit_status == 0
    assert sorted(log_of(merge).split()) == [f"{first.folder}/outputs/{n}/total.txt" for n in (1, 2)]


async def test_after_a_failure_only_what_waits_for_one_runs(lab: JobsLab) -> None:
    first = await lab.submit(fail=True, sleep=0.5)
    on_success = await lab.submit("merge", Asked(after=(Follow("ok", first.token),)))
    on_failure = await lab.submit("merge", Asked(after=(Follow("failure", first.token),)))
    always = await lab.submit("merge", Asked(after=(Follow("any", first.token),)))
    assert [(await lab.ended(run)).view.cause for run in (on_success, on_failure, always)] == [
        "dependency",
        "exit",
        "exit",
    ]
    # What is over already decides at once.
    with pytest.raises(ChainError, match="would never start"):
        await lab.submit("merge", Asked(after=(Follow("ok", first.token),)))
    assert (
        await lab.ended(await lab.submit("merge", Asked(after=(Follow("failure", first.token),))))
    ).view.exit_status == 0


WRONG: tuple[tuple[str, dict[str, Any], dict[str, Any], type[SpringtideError], str], ...] = (
    ("nothing", {}, {}, UnknownApplication, "There is no application “nothing”"),
    ("private", {}, {}, UnknownApplication, "There is no application “private”"),
    ("sum", {}, {"first": 101}, ParameterError, "first: “101” is too large"),
    ("sum", {}, {"second": "1 kg"}, ParameterError, "second: “1 kg” is in “kg”"),
    ("sum", {}, {"data": "none.txt"}, ParameterError, "does not exist"),
    ("sum", {}, {"data": "/etc/passwd"}, ParameterError, "lies outside your home folder"),
    (
        "sum",
        {"site": "moon"},
        {},
        ParameterError,
        "site: There is no site “moon” that runs jobs. There is: machine.",
    ),
    ("sum", {"cores": 5}, {}, ParameterError, "cores: 5 is too large. Allowed: 1 to 4."),
    ("sum", {"memory": "4X"}, {}, ParameterError, "memory: “4X” is not a number with a unit"),
    ("sum", {"walltime": "2h"}, {}, ParameterError, "walltime: 2 h is too large"),
    ("sum", {"name": 'a"b'}, {}, ParameterError, "quotes"),
    ("sum", {"after": (Follow("ok", "zzzzzzzz"),)}, {}, ParameterError, "after: There is no job “zzzzzzzz”"),
    ("sum", {"sweep": {"first": "1..5000"}}, {}, ParameterError, "At most 1000"),
)


async def test_what_is_wrong_is_one_message_and_nothing_is_submitted(lab: JobsLab) -> None:
    for name, asked, given, kind, words in WRONG:
        with pytest.raises(kind) as caught:
            await lab.submit(name, Asked(**asked), **given)
        assert words in str(caught.value)
        assert (lab.ledger.jobs(), lab.ledger.runs(), list((lab.folder / "jobs").glob("*"))) == ([], [], [])


async def test_applications_of_a_private_environment_are_private_too(lab: JobsLab) -> None:
    shutil.copytree(lab.folder / "mine", lab.folder / "secret")
    declared = "environments:\n  secret: {folder: secret, groups: [instrument]}\n"
    lab.lab_file.write_text(lab.lab_file.read_text().replace("environments:\n", declared))
    desk = lab.new_desk()
    with pytest.raises(UnknownApplication):
        await desk.submit("secret/sum", {}, Asked())
    desk.groups = {"instrument"}
    with pytest.raises(JobError, match="runs no containers"):
        await desk.submit("secret/sum", {}, Asked())
    assert lab.ledger.runs() == []


async def test_what_can_never_run_is_refused_with_figures(lab: JobsLab) -> None:
    (lab.folder / "queue-of-this-machine" / "queue" / "settings.json").write_text(
        json.dumps({"cores": 1, "memory": "1G"})
    )
    with pytest.raises(NotSubmitted, match=r"No site can run this job:\n- machine: .*2 cores"):
        await lab.submit(asked=Asked(cores=2))
    assert lab.ledger.runs() == []


async def test_another_users_job_does_not_exist(lab: JobsLab) -> None:
    run = await lab.submit()
    await lab.ended(run)
    lab.ledger.update_run(run.token, user="somebody-else")
    for asked in (Asked(after=(Follow("ok", run.token),)),):
        with pytest.raises(ParameterError, match="There is no job"):
            await lab.submit("merge", asked)
    assert await lab.desk.runs() == []


async def test_a_spec_is_the_same_after_json() -> None:
    spec = JobSpec(
        "base/sum", ({"first": 1, "x": None}, {"first": 2, "x": None}), ("first",), after=(Follow("ok", "t"),)
    )
    assert JobSpec.from_json(spec.as_json()) == spec
    assert spec.given == {"first": [1, 2], "x": None}


async def test_a_run_that_was_written_down_and_never_submitted_is_submitted_once(
    lab: JobsLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError("the process ends here")

    with monkeypatch.context() as patch:
        patch.setattr("springtide.queues.dispatch.Dispatcher.submit", dies)
        with pytest.raises(RuntimeError, match="ends here"):
            await lab.submit()
    (run,) = lab.ledger.runs()
    desks = [lab.new_desk(), lab.new_desk()]
    (look,) = await desks[0].look([run])
    assert look.view.explanation.startswith("It was never submitted")
    recovered = await asyncio.gather(*(desk.recover() for desk in desks))
    assert sorted(len(one) for one in recovered) == [0, 1]
    assert (await lab.ended(run)).view.exit_status == 0
    assert len(lab.ledger.jobs()) == 1


async def test_a_token_is_submitted_once_only(lab: JobsLab) -> None:
    run = await lab.submit()
    site = await lab.desk.site("machine")
    request = lab.desk.request(JobSpec.from_json(run.spec), Path(run.folder), ())
    with pytest.raises(LedgerError):
        await site.dispatcher.submit([request, request], tokens=[run.job, new_token()])
    assert len(lab.ledger.jobs()) == 1
    await lab.ended(run)


async def test_a_run_that_has_left_a_trace_is_never_submitted_again(lab: JobsLab) -> None:
    run = await lab.submit()
    await lab.ended(run)
    # The queue has forgotten it, and so has the ledger.
    lab.ledger.update_job(run.job, state="lost", job_id="", scheduler_name="sum-gone", exit_status=None)
    assert await lab.new_desk().recover() == []
    assert len(lab.ledger.jobs()) == 1


async def test_a_run_that_another_job_has_begun_does_not_run_twice(lab: JobsLab) -> None:
    run = await lab.submit()
    await lab.ended(run)
    site = await lab.desk.site("machine")
    request = lab.desk.request(JobSpec.from_json(run.spec), Path(run.folder), ())
    (row,) = await site.dispatcher.submit([request])
    row = await wait_until_over(site, row)
    assert row.exit_status == 125
    assert "does not run twice" in log_of(run)


async def test_runs_are_a_stream_of_changes(lab: JobsLab) -> None:
    changes = lab.desk.changes()
    run = await lab.submit(sleep=0.3)
    seen = []
    async for looks in changes:
        seen += [(look.view.state, look.run.progress) for look in looks]
        if looks[0].view.over:
            break
    await changes.aclose()
    assert seen[-1] == ("finished", 1.0)
    assert len(seen) == len(set(seen))
    assert {look.run.token for look in looks} == {run.token}
