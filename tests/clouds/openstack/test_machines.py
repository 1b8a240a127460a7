"""The ledger's rows and the machines of an OpenStack cloud: none is made twice, none is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.clouds.machines import Machines
from springtide.clouds.openstack import OpenStackCloud
from springtide.errors import CloudRefused, CloudUnreachable
from springtide.ledger.store import Ledger
from tests.clouds.test_machines import TERMS, WISH, kinds
from tests.clouds.unreal import FLAVOURS
from tests.support.openstack.project import Project

pytestmark = pytest.mark.usefixtures("look_twice_at_once")


@pytest.fixture
def look_twice_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("springtide.clouds.machines._SECOND_LOOK_S", 0.0)


@pytest.fixture
def desk(nova: OpenStackCloud, tmp_path: Path) -> Iterator[Machines]:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        yield Machines("campus", TERMS, nova, FLAVOURS, ledger)


async def test_a_machine_is_written_down_made_ended_and_gone(desk: Machines, project: Project) -> None:
    row = await desk.make(WISH)
    await desk.settle()
    [row] = desk.rows()
    assert (row.state, row.flavour, list(project.servers)) == ("running", "small", [row.machine_id])
    await desk.end([row.token], reason="idle")
    assert kinds(await desk.settle()) == ["gone"]
    [over] = desk.ledger.machines()
    assert (over.state, over.reason, project.servers, desk.rows()) == ("destroyed", "idle", {}, [])


async def test_a_cloud_that_goes_silent_while_it_makes_a_machine_has_it_once(desk: Machines, project: Project) -> None:
    project.fails("POST", "/servers$", done=True, for_good=True)
    with pytest.raises(CloudUnreachable):
        await desk.make(WISH)
    with pytest.raises(CloudUnreachable):
        await desk.settle()
    project.silent = False
    [row] = desk.rows()
    assert (row.state, row.machine_id, len(project.servers)) == ("creating", "", 1)
    again = await desk.make(WISH, row.token)
    assert list(project.servers) == [again.machine_id]


async def test_a_machine_that_the_cloud_cannot_start_is_ended_with_its_words(desk: Machines, project: Project) -> None:
    project.new_status = "ERROR"
    await desk.make(WISH)
    assert kinds(await desk.settle()) == ["failed"]
    await desk.settle()
    [row] = desk.ledger.machines()
    assert (row.state, row.reason, project.servers) == ("destroyed", project.fault_message, {})


async def test_a_refused_machine_costs_nothing(desk: Machines, project: Project) -> None:
    project.quota = 0
    with pytest.raises(CloudRefused, match="Quota exceeded"):
        await desk.make(WISH)
    assert (desk.rows(), desk.committed()) == ([], 0)


async def test_duplicates_and_orphans_are_ended_and_what_others_made_is_left(desk: Machines, project: Project) -> None:
    row = await desk.make(WISH)
    tag = desk.tag("c1")
    for token, one in ((row.token, tag), ("unknown", tag), ("theirs", "another-ledger.c1")):
        project.add_server({"name": one, "metadata": {"springtide-token": token, "springtide-tag": one}})
    project.add_server({"name": "a colleague's"})
    assert {"duplicate", "foreign", "orphan"} <= set(kinds(await desk.settle()))
    names = sorted(server["name"] for server in project.servers.values())
    assert names == ["a colleague's", "another-ledger.c1", WISH.name]
