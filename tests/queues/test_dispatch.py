"""Dispatching on a real Slurm: the row first, what is in doubt settled later, nothing submitted twice or lost."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from springtide.errors import LedgerError, QueueUnreachable, ScriptError
from springtide.ledger.records import LOST, REFUSED, SUBMITTING, JobRecord
from springtide.ledger.store import Ledger
from springtide.queues.accounts import Submitted, UserQueue
from springtide.queues.commands import run_command
from springtide.queues.dispatch import Dispatcher
from springtide.queues.model import JobArray
from springtide.queues.slurm.queue import SlurmQueue
from tests.queues.dispatching import SITE, USER, Commands, dispatcher_at, is_in, myself, refreshed_until, request
from tests.support.slurm import Slurm


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite", patience_s=0.2) as opened:
        yield opened


@pytest.fixture
def commands(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    """Yield the cluster's commands; what was submitted is cancelled at the end."""
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    yield Commands(tmp_path / "bin", slurm.commands)
    slurm.cancel_all()


@pytest.fixture
def dispatcher(commands: Commands, ledger: Ledger) -> Dispatcher:
    return dispatcher_at(commands.folder, ledger)


def names_of(slurm: Slurm) -> list[str]:
    return [job.name for job in slurm.jobs()]


async def in_doubt(dispatcher: Dispatcher, commands: Commands) -> JobRecord:
    """Return the row of a job that was submitted, but whose id nobody has seen."""
    commands.fail('"$real" "$@" >/dev/null; kill -9 $$', "sbatch")
    (row,) = await dispatcher.submit([request()])
    commands.heal()
    assert (row.state, row.job_id) == (SUBMITTING, "")
    return row


# --- submitting -----------------------------------------------------------------------------------------------------


async def test_the_rows_stand_before_anything_is_submitted(commands: Commands, ledger: Ledger) -> None:
    seen: list[list[tuple[str, str]]] = []

    class Watched(UserQueue):
        async def submit_all(self, scripts: Sequence[str], *, folder: str = "") -> list[Submitted]:
            seen.append([(row.state, row.scheduler_name) for row in ledger.jobs()])
            assert all(row.scheduler_name in script for row, script in zip(ledger.jobs()[::-1], scripts, strict=True))
            return await super().submit_all(scripts, folder=folder)

    user_queue = Watched(SlurmQueue(commands.folder, run_command), myself())
    rows = await dispatcher_at(commands.folder, ledger, user_queue=user_queue).submit([request(), request()])
    assert seen == [[(SUBMITTING, row.scheduler_name) for row in rows[::-1]]]
    assert [ledger.job(row.token) for row in rows] == rows
    assert [row.state for row in rows] == ["queued", "queued"]


async def test_a_job_is_followed_from_its_submission_to_its_end(dispatcher: Dispatcher, ledger: Ledger) -> None:
    good, bad = await dispatcher.submit([request("sleep 1"), request("exit 3", "Étude 7")])
    good = await refreshed_until(dispatcher, good.token, is_in("finished"))
    bad = await refreshed_until(dispatcher, bad.token, is_in("finished"))
    assert (good.exit_status, bad.exit_status, bad.cause, bad.name) == (0, 3, "exit", "Étude 7")
    assert good.submitted is not None
    assert good.started is not None
    assert good.ended is not None
    assert good.recorded - 1 <= good.submitted <= good.started <= good.ended
    kinds = [event.kind for event in ledger.events(good.token)]
    assert (kinds[0], set(kinds[1:])) == ("submitted", {"state"})


async def test_a_refused_job_has_the_schedulers_words_and_stops_no_other(dispatcher: Dispatcher) -> None:
    rows = await dispatcher.submit([request(), request(queue="nowhere"), request()])
    assert [row.state for row in rows] == ["queued", REFUSED, "queued"]
    assert "invalid partition" in rows[1].reason
    assert dispatcher.ledger.events(rows[1].token)[0].kind == "refused"


@pytest.mark.parametrize("name", ["", " ", 'a"b', "a\nb", "a\0b", "x" * 300, "$(id)", "a\\b"])
async def test_a_name_no_scheduler_would_take_is_an_error_before_anything_is_written(
    dispatcher: Dispatcher, name: str
) -> None:
    with pytest.raises(ScriptError, match="name"):
        await dispatcher.submit([request(), request(name=name)])
    assert dispatcher.ledger.jobs() == []


async def test_a_ledger_that_is_locked_lets_nothing_be_submitted(
    dispatcher: Dispatcher, slurm: Slurm, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError):
            await dispatcher.submit([request()])
        other.execute("ROLLBACK")
    other.close()
    assert names_of(slurm) == []
    assert dispatcher.ledger.jobs() == []


async def test_what_is_not_tried_in_an_outage_never_existed(dispatcher: Dispatcher, commands: Commands) -> None:
    commands.fail("test -e $0.second && kill -9 $$; touch $0.second", "sbatch")
    rows = await dispatcher.submit([request()] * 4)
    assert [row.state for row in rows] == ["queued", SUBMITTING, REFUSED, REFUSED]
    assert rows == [dispatcher.ledger.job(row.token) for row in rows]


async def test_a_submission_that_fails_in_odd_words_is_looked_up_at_once(
    dispatcher: Dispatcher, commands: Commands, slurm: Slurm
) -> None:
    commands.fail('"$real" "$@" >/dev/null; echo oops >&2; exit 153', "sbatch")
    (made,) = await dispatcher.submit([request()])
    commands.fail("echo 'We take no jobs on Mondays.' >&2; exit 3", "sbatch")
    (refused,) = await dispatcher.submit([request()])
    assert (made.state, [made.job_id]) == ("queued", [job.id for job in slurm.jobs()])
    assert (refused.state, "no jobs on Mondays" in refused.reason) == (REFUSED, True)


async def test_an_array_is_one_command_and_one_row(dispatcher: Dispatcher, commands: Commands, slurm: Slurm) -> None:
    commands.fail("echo >>$0.count", "sbatch")
    body = "exit $((SLURM_ARRAY_TASK_ID == 2 ? 7 : 0))"
    (row,) = await dispatcher.submit([request(body, array=JobArray(0, 3))])
    row = await refreshed_until(dispatcher, row.token, is_in("finished"))
    assert (row.array_size, row.exit_status, row.reason) == (4, 7, "3 x exit 0, 1 x exit 7")
    assert (commands.folder / "sbatch.count").read_text() == "\n"


async def test_jobs_start_in_the_folder_they_were_submitted_from(
    dispatcher: Dispatcher, tmp_path: Path, slurm: Slurm
) -> None:
    (row,) = await dispatcher.submit([request(f"pwd >{tmp_path}/where")], folder=str(tmp_path))
    await refreshed_until(dispatcher, row.token, is_in("finished"))
    assert (row.folder, (tmp_path / "where").read_text().strip()) == (str(tmp_path), str(tmp_path))
    (row,) = await dispatcher.submit([request()], folder="relative")
    assert (row.state, "absolute" in row.reason) == (REFUSED, True)


# --- settling -------------------------------------------------------------------------------------------------------


async def test_a_job_whose_id_was_never_seen_is_adopted(
    dispatcher: Dispatcher, commands: Commands, slurm: Slurm
) -> None:
    row = await in_doubt(dispatcher, commands)
    (adopted,) = (await dispatcher.settle()).adopted
    assert slurm.job(adopted.job_id).name == row.scheduler_name  # type: ignore[union-attr]  # it is there
    assert dispatcher.ledger.job(row.token) == adopted
    assert (await dispatcher.settle()).adopted == ()
    assert names_of(slurm) == [row.scheduler_name]


async def test_a_job_that_was_over_before_it_was_found_is_adopted_with_its_end(
    dispatcher: Dispatcher, commands: Commands, slurm: Slurm
) -> None:
    commands.fail('"$real" "$@" >/dev/null; kill -9 $$', "sbatch")
    (row,) = await dispatcher.submit([request("exit 4")])
    commands.heal()
    slurm.wait_for(next(job.id for job in slurm.jobs(finished=True) if job.name == row.scheduler_name), "FAILED")
    (adopted,) = (await dispatcher.settle()).adopted
    assert (adopted.token, adopted.state, adopted.exit_status) == (row.token, "finished", 4)


async def test_a_job_that_never_came_to_be_is_lost_but_only_after_its_grace(commands: Commands, ledger: Ledger) -> None:
    commands.fail("kill -9 $$", "sbatch")
    patient = dispatcher_at(commands.folder, ledger, grace_s=300)
    (row,) = await patient.submit([request()])
    commands.heal()
    assert (await patient.settle()).lost == ()
    assert ledger.job(row.token) == row
    (lost,) = (await dispatcher_at(commands.folder, ledger).settle()).lost
    assert (lost.token, lost.state) == (row.token, LOST)


async def test_before_a_job_is_lost_it_is_looked_for_twice(dispatcher: Dispatcher, commands: Commands) -> None:
    commands.fail("kill -9 $$", "sbatch")
    (row,) = await dispatcher.submit([request()])
    commands.fail("test -e $0.second && exit 1; touch $0.second", "squeue")
    for _ in range(2):
        with pytest.raises(QueueUnreachable):
            await dispatcher.settle()
    assert dispatcher.ledger.job(row.token) == row


async def test_a_clock_that_was_set_back_lets_the_grace_begin_anew(commands: Commands, ledger: Ledger) -> None:
    commands.fail("kill -9 $$", "sbatch")
    dispatcher = dispatcher_at(commands.folder, ledger, grace_s=0.0)
    (row,) = await dispatcher.submit([request()])
    ledger.update_job(row.token, recorded=row.recorded + 86400)
    assert (await dispatcher.settle()).lost == ()
    assert ledger.job(row.token).recorded < row.recorded + 60  # type: ignore[union-attr]  # it is there
    assert len((await dispatcher.settle()).lost) == 1


async def test_a_job_that_was_thought_lost_and_lives_is_taken_up_again(dispatcher: Dispatcher, slurm: Slurm) -> None:
    (row,) = await dispatcher.submit([request()])
    dispatcher.ledger.update_job(row.token, state=LOST)
    (again,) = await dispatcher.refresh()
    assert (again.token, again.job_id, again.state in ("queued", "running")) == (row.token, row.job_id, True)
    assert dispatcher.ledger.job(row.token) == again


async def test_an_id_that_could_not_be_written_is_written_with_the_next_call(
    commands: Commands, ledger: Ledger, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None, check_same_thread=False)

    class Locking(UserQueue):
        async def submit_all(self, scripts: Sequence[str], *, folder: str = "") -> list[Submitted]:
            done = await super().submit_all(scripts, folder=folder)
            other.execute("BEGIN IMMEDIATE")
            return done

    user_queue = Locking(SlurmQueue(commands.folder, run_command), myself())
    dispatcher = dispatcher_at(commands.folder, ledger, user_queue=user_queue)
    (row,) = await dispatcher.submit([request()])
    assert (row.state, ledger.job(row.token).state) == ("queued", SUBMITTING)  # type: ignore[union-attr]
    with pytest.raises(LedgerError):
        await dispatcher.settle()
    other.close()
    await dispatcher.settle()
    assert ledger.job(row.token) == row


# --- cancelling -----------------------------------------------------------------------------------------------------


async def test_a_cancelled_job_ends_and_its_row_says_who_did_it(dispatcher: Dispatcher, slurm: Slurm) -> None:
    row, other = await dispatcher.submit([request(), request()])
    (wished,) = await dispatcher.cancel([row.token, "unknown"], "alice")
    assert (wished.token, wished.cancelled_by) == (row.token, "alice")
    row = await refreshed_until(dispatcher, row.token, is_in("finished"))
    assert (row.cause, row.cancelled_by) == ("cancelled", "alice")
    assert names_of(slurm) == [other.scheduler_name]
    assert [event.actor for event in dispatcher.ledger.events(row.token) if event.kind == "cancelled"] == ["alice"]


async def test_a_job_that_ended_by_itself_before_it_was_cancelled_was_not_cancelled(
    dispatcher: Dispatcher, slurm: Slurm
) -> None:
    (row,) = await dispatcher.submit([request("exit 5")])
    slurm.wait_for(row.job_id, "FAILED")
    await dispatcher.cancel([row.token], "alice")
    row = await refreshed_until(dispatcher, row.token, is_in("finished"))
    assert (row.cause, row.exit_status, row.cancelled_by) == ("exit", 5, "")


async def test_a_wish_to_cancel_outlives_an_outage_and_a_crash(
    dispatcher: Dispatcher, commands: Commands, slurm: Slurm
) -> None:
    (row,) = await dispatcher.submit([request()])
    commands.fail("echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1")
    with pytest.raises(QueueUnreachable):
        await dispatcher.cancel([row.token], "alice")
    with pytest.raises(QueueUnreachable):
        await dispatcher.settle()
    commands.heal()
    after = dispatcher_at(commands.folder, dispatcher.ledger)
    assert [one.token for one in (await after.settle()).reaped] == [row.token]
    row = await refreshed_until(after, row.token, is_in("finished"))
    assert (row.cause, row.cancelled_by) == ("cancelled", "alice")
    assert (await after.settle()).reaped == ()


async def test_a_job_in_doubt_that_was_cancelled_is_reaped_when_it_is_found(
    dispatcher: Dispatcher, commands: Commands, slurm: Slurm
) -> None:
    row = await in_doubt(dispatcher, commands)
    await dispatcher.cancel([row.token], "alice")
    settled = await dispatcher.settle()
    assert [one.token for one in settled.reaped] == [row.token]
    row = await refreshed_until(dispatcher, row.token, is_in("finished"))
    assert (row.cause, row.cancelled_by) == ("cancelled", "alice")


# --- watching -------------------------------------------------------------------------------------------------------


async def test_in_an_outage_the_rows_stay_as_they_are(dispatcher: Dispatcher, commands: Commands) -> None:
    (row,) = await dispatcher.submit([request()])
    for fault in (
        "exit 153",
        "echo garbage; exit 0",
        "echo garbage",
        "echo 'Zero Bytes were transmitted' >&2; exit 1",
        "kill -9 $$",
    ):
        commands.fail(fault, "squeue", "scontrol", "sacct")
        with pytest.raises(QueueUnreachable):
            await dispatcher.refresh()
        assert dispatcher.ledger.job(row.token) == row


async def test_a_job_the_scheduler_has_forgotten_is_lost_after_it_was_asked_twice(
    dispatcher: Dispatcher, commands: Commands
) -> None:
    (row,) = await dispatcher.submit([request()])
    dispatcher.ledger.update_job(row.token, job_id="999999", scheduler_name="work-gone")
    (lost,) = await dispatcher.refresh()
    assert (lost.state, lost.cause, lost.ended is not None) == (LOST, LOST, True)
    assert dispatcher.ledger.job(row.token) == lost
    assert dispatcher.ledger.events(row.token)[-1].kind == "lost"


async def test_an_id_that_now_belongs_to_somebody_else_is_not_ones_job(commands: Commands, ledger: Ledger) -> None:
    dispatcher = dispatcher_at(commands.folder, ledger)
    (row,) = await dispatcher.submit([request()])
    queue = dispatcher.user_queue
    stranger = replace(queue, account=replace(queue.account, name="somebody-else"))
    dispatcher.user_queue = stranger
    (lost,) = await dispatcher.refresh()
    assert (lost.token, lost.state) == (row.token, LOST)


async def test_a_number_that_was_taken_for_an_id_and_was_none_is_corrected(
    dispatcher: Dispatcher, commands: Commands
) -> None:
    row, _ = await dispatcher.submit([request(), request()])
    dispatcher.ledger.update_job(row.token, job_id="999999")
    again = next(one for one in await dispatcher.refresh() if one.token == row.token)
    assert (again.token, again.job_id, again.over) == (row.token, row.job_id, False)


async def test_an_id_that_was_given_anew_is_not_ones_job(dispatcher: Dispatcher, slurm: Slurm) -> None:
    (other,) = await dispatcher.submit([request("true", "other")])
    await refreshed_until(dispatcher, other.token, is_in("finished"))
    later = replace(other, state="running", recorded=time.time() + 3600)
    row = replace(later, token="zzzzzzzz", scheduler_name="work-zzzzzzzz")
    dispatcher.ledger.add_jobs([row])
    (lost,) = await dispatcher.refresh()
    assert (lost.token, lost.state) == (row.token, LOST)


async def test_sessions_and_other_users_are_left_alone(dispatcher: Dispatcher) -> None:
    (row,) = await dispatcher.submit([request()])
    others = [
        replace(row, token="s1", kind="session", cancelled_by="x"),
        replace(row, token="u1", user="dave", cancelled_by="x"),
        replace(row, token="p1", site="elsewhere", cancelled_by="x"),
    ]
    dispatcher.ledger.add_jobs(others)
    assert [one.token for one in await dispatcher.refresh()] == [row.token]
    assert (await dispatcher.settle()).reaped == ()
    assert await dispatcher.cancel(["s1", "u1", "p1"], "x") == []


async def test_ten_thousand_jobs_of_the_past_do_not_slow_a_look(dispatcher: Dispatcher) -> None:
    past = [
        JobRecord(f"t{n}", SITE, USER, myself().name, "old", f"old-t{n}", job_id=str(10**6 + n), state="finished")
        for n in range(10_000)
    ]
    dispatcher.ledger.add_jobs(past)
    (row,) = await dispatcher.submit([request()])
    begun = time.perf_counter()
    for _ in range(5):
        assert [one.token for one in await dispatcher.refresh()] == [row.token]
        await dispatcher.settle()
    assert time.perf_counter() - begun < 2.5
