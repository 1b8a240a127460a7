"""Machines and the ledger's rows of them: whatever is killed or lost, none is forgotten, none is made twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from springtide.clouds import machines as machines_module
from springtide.clouds.base import MachineState
from springtide.clouds.machines import Machines, Wish
from springtide.clouds.money import Terms
from springtide.errors import CloudRefused, CloudUnreachable
from springtide.ledger.store import Ledger
from tests.clouds.unreal import FLAVOURS, UnrealCloud

TERMS = Terms(maximum_machines=3, lifetime_s=3600.0, quantum_s=60.0, budget=2.0, currency="EUR")
WISH = Wish("c1-cloud-0", "small", "#!/bin/sh\n", "ada", "c1")


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def look_twice_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines_module, "_SECOND_LOOK_S", 0.0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        yield ledger


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(ledger: Ledger, clock: Clock) -> Machines:
    return Machines("cloud", TERMS, UnrealCloud(), FLAVOURS, ledger, clock)


def cloud_of(desk: Machines) -> UnrealCloud:
    assert isinstance(desk.cloud, UnrealCloud)
    return desk.cloud


def kinds(steps: Any) -> list[str]:
    return [step.kind for step in steps]


async def test_a_machine_is_written_down_made_ended_and_billed(desk: Machines, clock: Clock) -> None:
    row = await desk.make(WISH)
    assert (row.state, row.machine_id, row.user, row.price_per_hour) == ("running", "id-1", "ada", 0.6)
    assert desk.committed() == pytest.approx(0.6)  # all of its hour is reserved
    clock.now += 90
    assert desk.charge(row) == pytest.approx(0.02)  # two minutes begun
    await desk.end([row.token], actor="ada", reason="idle")
    assert cloud_of(desk).there == {}
    assert kinds(await desk.settle()) == ["gone"]
    (over,) = desk.ledger.machines()
    assert (over.state, over.reason, over.destroyed) == ("destroyed", "idle", clock.now)
    assert desk.committed() == pytest.approx(0.02)
    assert [event.kind for event in desk.ledger.events(row.token)] == ["asked", "created", "ending", "gone"]


async def test_a_lost_answer_is_asked_for_again_under_its_token_and_makes_one_machine(desk: Machines) -> None:
    cloud = cloud_of(desk)
    cloud.answer_is_lost = True
    with pytest.raises(CloudUnreachable):
        await desk.make(WISH)
    (row,) = desk.rows()
    assert desk.committed() == pytest.approx(0.6)
    cloud.answer_is_lost = False
    again = await desk.make(WISH, row.token)
    assert (again.token, again.state, cloud.made) == (row.token, "running", 1)


async def test_a_maker_that_died_before_it_wrote_the_id_is_survived(desk: Machines, clock: Clock) -> None:
    cloud = cloud_of(desk)
    cloud.answer_is_lost = True
    with pytest.raises(CloudUnreachable):
        await desk.make(WISH)
    assert kinds(await desk.settle()) == ["adopted"]
    (row,) = desk.rows()
    assert (row.state, row.machine_id) == ("running", "id-1")
    # Another was written down, and never asked for.
    cloud.answer_is_lost, cloud.down = False, True
    with pytest.raises(CloudUnreachable):
        await desk.make(replace(WISH, name="c1-cloud-1"))
    cloud.down = False
    assert await desk.settle() == []
    clock.now += 1000
    assert kinds(await desk.settle()) == ["never"]
    assert [row.state for row in desk.ledger.machines()] == ["failed", "running"]


async def test_what_is_off_overdue_orphaned_or_doubled_is_ended_and_what_is_foreign_left(
    desk: Machines, clock: Clock
) -> None:
    cloud = cloud_of(desk)
    off = await desk.make(WISH)
    late = await desk.make(replace(WISH, name="c1-cloud-1"))
    cloud.becomes(off.token, MachineState.STOPPED, "user-data ended with 0")
    cloud.add(late.token, desk.tag("c1"))
    cloud.add("unknown", desk.tag("c9"), "orphan")
    cloud.add("theirs", "another-ledger.c1", "foreign")
    found = {step.name: step.kind for step in await desk.settle(dry_run=True)}
    assert found == {"c1-cloud-0": "stopped", "vm": "duplicate", "orphan": "orphan", "foreign": "foreign"}
    assert len(cloud.there) == 5
    await desk.settle()
    assert sorted(info.name for info in cloud.there.values()) == ["c1-cloud-1", "foreign"]
    clock.now += TERMS.lifetime_s + 400
    assert "overdue" in kinds(await desk.settle())
    assert [info.name for info in cloud.there.values()] == ["foreign"]
    await desk.settle()
    assert desk.rows() == []


async def test_nothing_is_concluded_from_a_cloud_that_does_not_answer(desk: Machines) -> None:
    row = await desk.make(WISH)
    cloud_of(desk).down = True
    for ask in (desk.settle(), desk.end([row.token])):
        with pytest.raises(CloudUnreachable):
            await ask
    assert [row.state for row in desk.rows()] == ["destroying"]  # the wish stands
    cloud_of(desk).down = False
    assert kinds(await desk.settle()) == ["ending"]
    assert cloud_of(desk).there == {}


async def test_number_budget_and_refusals_leave_nothing(desk: Machines, clock: Clock) -> None:
    with pytest.raises(CloudRefused, match="no flavour 'huge'"):
        await desk.make(replace(WISH, flavour="huge"))
    with pytest.raises(
        CloudRefused, match=r"more than is left of cloud's budget: with it, 6\.00 EUR of 2\.00"
    ) as refused:
        await desk.make(replace(WISH, flavour="large"))
    assert refused.value.transient
    for _ in range(3):
        await desk.make(WISH)
    with pytest.raises(CloudRefused, match="has its 3 machines already"):
        await desk.make(WISH)
    await desk.end([row.token for row in desk.rows()])
    await desk.settle()
    cloud_of(desk).refuses = "Quota exceeded."
    with pytest.raises(CloudRefused, match="Quota exceeded"):
        await desk.make(WISH)
    assert desk.rows() == []
    assert cloud_of(desk).there == {}
    assert desk.ledger.machines()[0].reason == "Quota exceeded."
    assert desk.committed() == pytest.approx(3 * 0.01)  # a minute each


async def test_two_that_ask_at_once_never_exceed_the_number(desk: Machines, ledger: Ledger) -> None:
    other = Machines("cloud", TERMS, desk.cloud, FLAVOURS, ledger)
    asked = [one.make(replace(WISH, name=f"vm-{number}")) for number in range(4) for one in (desk, other)]
    await asyncio.gather(*asked, return_exceptions=True)
    assert len(cloud_of(desk).there) <= TERMS.maximum_machines
    assert len(desk.rows()) == len(cloud_of(desk).there)


_FAULTS = st.sampled_from(["make", "lose", "down", "up", "refuse", "stop", "end", "settle", "wait", "remove", "double"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happens=st.lists(_FAULTS, max_size=25))
def test_whatever_happens_ledger_and_cloud_agree_in_the_end(tmp_path_factory: Any, happens: list[str]) -> None:
    clock, cloud = Clock(), UnrealCloud()
    with Ledger.open(tmp_path_factory.mktemp("any") / "ledger.sqlite") as ledger:
        desk = Machines("cloud", TERMS, cloud, FLAVOURS, ledger, clock)
        asyncio.run(_anything(desk, cloud, clock, happens))
        rows = desk.rows()
        assert {row.machine_id for row in rows} == set(cloud.there)
        assert all(row.state == "running" for row in rows)


async def _anything(desk: Machines, cloud: UnrealCloud, clock: Clock, happens: list[str]) -> None:
    for what in happens:
        cloud.answer_is_lost = what == "lose"
        cloud.refuses = "No." if what == "refuse" else ""
        clock.now += {"wait": 700}.get(what, 5)
        first = next(iter(cloud.there.values()), None)
        try:
            if what in ("make", "lose", "refuse"):
                await desk.make(WISH)
                assert desk.committed() <= 2.0 + 1e-9
            elif what in ("up", "down"):
                cloud.down = what == "down"
            elif what == "stop" and first:
                cloud.becomes(first.token, MachineState.STOPPED)
            elif what == "remove" and first:
                del cloud.there[first.id]
            elif what == "double" and first:
                cloud.add(first.token, first.tag)
            elif what == "end":
                await desk.end([row.token for row in desk.rows()[:1]])
            elif what == "settle":
                await desk.settle()
        except (CloudRefused, CloudUnreachable):
            continue
    cloud.down = cloud.answer_is_lost = False
    clock.now += 1000
    for _ in range(3):
        await desk.settle()
