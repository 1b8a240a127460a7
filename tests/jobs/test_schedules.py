"""Applications that run again and again, over months that pass in a second."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from springtide.errors import JobError, ParameterError, QueueUnreachable
from springtide.jobs.asked import Asked
from springtide.jobs.desk import Desk
from springtide.jobs.schedules import MISSED, Repeat
from springtide.jobs.spec import Follow, JobSpec
from springtide.jobs.starting import Starter, start_due, to_start, token_at
from springtide.ledger.records import ENDED, ON, PAUSED, RunRecord, ScheduleRecord
from tests.jobs.labs import JobsLab

PARIS = ZoneInfo("Europe/Paris")
DAY_S = 86400.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS).timestamp()


@dataclass
class Clerk(Desk):
    """A desk that writes submissions down, and when they came."""

    now: float = 0.0
    came: list[float] = field(default_factory=list)
    fails: Exception | None = None
    takes_s: float = 0.0

    async def submit(self, name: str, given: Mapping[str, Any], asked: Asked) -> RunRecord:
        await asyncio.sleep(self.takes_s)
        if self.fails:
            raise self.fails
        run = RunRecord(asked.token, asked.token, self.user, name, "machine", "/", "{}")
        self.ledger.add_run(run)
        self.came.append(self.now)
        return run

    async def submit_promised(self, run: RunRecord, *, told: bool = True) -> bool:
        return False


def clerk(lab: JobsLab) -> Clerk:
    desk = lab.desk
    return Clerk(desk.lab, desk.ledger, desk.folder, desk.home, desk.environments)


async def made(
    lab: JobsLab, cron: str, first_due: float, missed: str = "once", *, overlap: bool = True
) -> ScheduleRecord:
    """Return a schedule as if it had been made just before it was due first."""
    record = await lab.desk.schedule("sum", {}, Asked(), Repeat(cron, "Europe/Paris", missed, overlap))
    assert lab.ledger.change_schedule(record, due=first_due)
    return replace(record, due=first_due)


@pytest.mark.parametrize(
    ("first", "last", "moved"),
    [("2026-10-01 02:30", "2026-10-31 12:00", {}), ("2027-03-01 02:30", "2027-03-31 12:00", {28: "2027-03-28 03:00"})],
)
async def test_a_month_with_a_change_of_clocks_has_a_run_each_night(
    lab: JobsLab, first: str, last: str, moved: dict[int, str]
) -> None:
    record = await made(lab, "30 2 * * *", at(first))
    dice, lates = random.Random(3), []
    desk = clerk(lab)
    while True:
        stored = lab.ledger.schedule(record.token)
        assert stored
        assert stored.due is not None
        if stored.due > at(last):
            break
        # Nothing is started before; whoever looks, and however often, it is started once.
        lates.append(dice.uniform(0, 59))
        desk.now = stored.due + lates[-1]
        assert lab.ledger.schedules(due_at=stored.due - 1) == []
        for _ in range(2):
            await Starter().round(lambda _: desk, lab.ledger.schedules(due_at=desk.now), desk.now)
    nights = [at(moved.get(day, f"{first[:8]}{day:02} 02:30")) for day in range(1, 32)]
    assert [came - late for came, late in zip(desk.came, lates, strict=True)] == pytest.approx(nights)
    assert len({run.token for run in lab.ledger.runs()}) == 31


@pytest.mark.parametrize(("missed", "count"), [("skip", 0), ("once", 1), ("all", 4)])
async def test_nights_without_anybody_follow_the_policy(lab: JobsLab, missed: str, count: int) -> None:
    record = await made(lab, "30 2 * * *", at("2026-10-23 02:30"), missed)
    desk = clerk(lab)
    desk.now = at("2026-10-26 09:00")
    assert len(await start_due(desk, record, desk.now)) == count
    stored = lab.ledger.schedule(record.token)
    assert stored
    assert (stored.due, stored.last_due) == (at("2026-10-27 02:30"), at("2026-10-26 02:30"))
    assert await start_due(desk, stored, desk.now) == []


def test_what_was_missed_long_ago_is_told_apart_from_what_is_due_now() -> None:
    dues = [0.0, 3600.0, 7200.0]
    assert [to_start(dues, missed, 7210.0) for missed in MISSED] == [[7200.0], [7200.0], dues]
    assert [to_start(dues, missed, 9000.0) for missed in MISSED] == [[], [7200.0], dues]


async def test_a_pause_of_months_starts_a_hundred_at_most(lab: JobsLab) -> None:
    record = await made(lab, "0 * * * *", at("2026-01-01 00:00"), "all")
    assert len(await start_due(clerk(lab), record, at("2026-06-01 00:00"))) == 100


async def test_who_dies_between_the_submission_and_writing_it_down_starts_nothing_twice(
    lab: JobsLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await made(lab, "30 2 * * *", at("2026-10-01 02:30"))
    now = at("2026-10-01 02:30")
    with monkeypatch.context() as patch:
        patch.setattr(type(lab.ledger), "change_schedule", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await start_due(clerk(lab), record, now)
    desk = clerk(lab)
    (run,) = await start_due(desk, record, now + 5)
    assert (desk.came, run.token) == ([], token_at(record.token, now))
    assert len(lab.ledger.runs()) == 1


async def test_who_dies_before_the_promise_leaves_a_folder_that_hinders_nobody(
    lab: JobsLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await lab.desk.schedule("sum", {}, Asked(), Repeat("@daily"))
    assert record.due is not None
    with monkeypatch.context() as patch:
        patch.setattr(type(lab.ledger), "add_run", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await start_due(lab.desk, record, record.due)
    (run,) = await start_due(lab.new_desk(), record, record.due)
    assert (await lab.ended(run)).view.exit_status == 0
    assert len(list((lab.folder / "jobs").iterdir())) == 1


async def test_of_several_keepers_one_starts_what_is_due(lab: JobsLab) -> None:
    record = await made(lab, "30 2 * * *", at("2026-10-01 02:30"))
    clerks = [clerk(lab) for _ in range(4)]
    for one in clerks:
        one.takes_s = 0.3
    now = at("2026-10-01 02:30")
    started = await asyncio.gather(*(start_due(one, record, now) for one in clerks))
    assert sorted(len(runs) for runs in started) == [0, 0, 0, 1]
    assert sum(len(one.came) for one in clerks) == 1
    # Who is slower than the others looks at what they have left.
    assert await start_due(clerk(lab), record, now) == []


async def test_a_keeper_that_was_killed_holds_a_schedule_for_a_while_only(lab: JobsLab) -> None:
    record = await made(lab, "30 2 * * *", at("2026-10-01 02:30"))
    now = time.time()
    assert lab.ledger.claim_schedule(record.token, "killed", now, now + 3600)
    assert await start_due(clerk(lab), record, at("2026-10-01 02:30")) == []
    assert not lab.ledger.claim_schedule(record.token, "another", now + 3599, now + 7200)
    assert lab.ledger.claim_schedule(record.token, "killed", now, now - 1)
    assert len(await start_due(clerk(lab), record, at("2026-10-01 02:30"))) == 1


@pytest.mark.parametrize(("missed", "nights"), [("once", [2]), ("skip", []), ("all", [1, 2])])
async def test_one_run_at_a_time_and_what_was_due_meanwhile_was_missed(
    lab: JobsLab, missed: str, nights: list[int]
) -> None:
    record = await lab.desk.schedule("sum", {"sleep": 60}, Asked(), Repeat("0 2 * * *", "UTC", missed))
    first = record.due
    assert first is not None
    (run,) = await start_due(lab.desk, record, first)
    late = first + 2 * DAY_S + 3600
    (stored,) = lab.ledger.schedules()
    assert await start_due(lab.desk, stored, late) == []
    (stored,) = lab.ledger.schedules()
    assert (stored.due, stored.problem) == (first + DAY_S, f"The run {run.token} still goes on.")
    await lab.desk.cancel(run)
    await lab.ended(run)
    desk, found = clerk(lab), []
    # Each is over at once: a clerk's runs have no job.
    while stored.due is not None and stored.due <= late:
        found += [one.token for one in await start_due(desk, stored, late)]
        (stored,) = lab.ledger.schedules()
    assert found == [token_at(record.token, first + night * DAY_S) for night in nights]
    assert stored.problem == ""


async def test_a_scheduler_that_is_away_is_asked_again_and_a_wrong_job_is_told(lab: JobsLab) -> None:
    record = await made(lab, "30 2 * * *", at("2026-10-01 02:30"))
    now, desk, starter = at("2026-10-01 02:30"), clerk(lab), Starter()
    desk.fails = QueueUnreachable("Nobody answers.")
    assert await starter.round(lambda _: desk, [record], now) == []
    desk.fails = None
    # Not at once, though.
    assert await starter.round(lambda _: desk, [record], now + 1) == []
    assert len(await starter.round(lambda _: desk, [record], now + 20)) == 1
    (stored,) = lab.ledger.schedules()
    desk.fails = ParameterError("first", "It is too large.")
    assert await starter.round(lambda _: desk, [stored], now + DAY_S) == []
    (stored,) = lab.ledger.schedules()
    assert (stored.problem, stored.due) == ("first: It is too large.", at("2026-10-03 02:30"))


async def test_what_is_due_really_runs(lab: JobsLab) -> None:
    record = await lab.desk.schedule("sum", {"first": range(2)}, Asked(cores=2, name="nightly"), Repeat("@daily"))
    assert record.due is not None
    assert record.due > time.time()
    (run,) = await start_due(lab.new_desk(), record, record.due)
    spec = JobSpec.from_json(run.spec)
    assert (spec.cores, spec.name, len(spec.runs)) == (2, "nightly", 2)
    assert (await lab.ended(run)).view.exit_status == 0
    (stored,) = await lab.new_desk().schedules()
    assert (stored.last_run, stored.problem) == (run.token, "")


async def test_a_schedule_is_paused_goes_on_and_ends(lab: JobsLab) -> None:
    record = await lab.desk.schedule("sum", {}, Asked(), Repeat("@hourly"))
    paused = await lab.desk.set_schedule(record.token, PAUSED)
    assert (paused.due, lab.ledger.schedules(due_at=time.time() + DAY_S)) == (None, [])
    assert (await lab.desk.set_schedule(record.token, ON)).due is not None
    await lab.desk.set_schedule(record.token, ENDED)
    assert await lab.desk.schedules() == []
    assert [one.state for one in await lab.desk.schedules(ended=True)] == [ENDED]
    with pytest.raises(JobError, match="has ended"):
        await lab.desk.set_schedule(record.token, ON)


@pytest.mark.parametrize(
    ("given", "asked", "repeat", "field"),
    [
        ({"first": 1000}, Asked(), Repeat("@daily"), "first"),
        ({}, Asked(site="nowhere"), Repeat("@daily"), "site"),
        ({}, Asked(), Repeat("0 0 30 2 *"), "cron"),
        ({}, Asked(), Repeat("@daily", "Mars"), "zone"),
        ({}, Asked(), Repeat("@daily", missed="never"), "missed"),
        ({}, Asked(after=(Follow("ok", "x"),)), Repeat("@daily"), "after"),
    ],
)
async def test_what_is_wrong_is_said_before_anything_is_written(
    lab: JobsLab, given: dict[str, Any], asked: Asked, repeat: Repeat, field: str
) -> None:
    with pytest.raises(ParameterError) as refused:
        await lab.desk.schedule("sum", given, asked, repeat)
    assert refused.value.field == field
    assert lab.ledger.schedules(ended=True) == []


async def test_another_users_schedule_is_as_if_it_were_not_there(lab: JobsLab) -> None:
    record = await lab.desk.schedule("sum", {}, Asked(), Repeat("@daily"))
    stranger = replace(lab.new_desk(), user="somebody")
    for token in (record.token, "zzzzzzzz"):
        with pytest.raises(ParameterError, match="There is no schedule"):
            await stranger.set_schedule(token, ENDED)
    assert await stranger.schedules() == []
