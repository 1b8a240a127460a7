"""``springtide machines`` on a cloud that is asked over the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from springtide.cli.machines import machines
from springtide.clouds.machines import owner_of
from springtide.ledger.records import MachineRecord
from springtide.ledger.store import Ledger
from tests.clouds.unreal import FLAVOURS
from tests.support.openstack.running import RunningCloud, running_cloud

HEAD = "springtide: 1\nprofiles: [{name: x, site: here}]\nsites:\n  here: {kind: local, runtime: host}\n"


@pytest.fixture
def nova(tmp_path: Path) -> Iterator[RunningCloud]:
    """Yield a cloud, with a lab file for it."""
    with running_cloud(tmp_path, FLAVOURS) as one:
        (tmp_path / "lab.yaml").write_text(
            f"{HEAD}  campus: {{kind: openstack, cloud: lab-cloud, clouds_file: {one.settings.clouds_file},"
            " image: base, network: lab, flavours: {small: {cores: 1, memory: 1G, price_per_hour: 0.25}}}\n"
        )
        yield one


def command(folder: Path, *arguments: str) -> Result:
    where = ["--lab", str(folder / "lab.yaml"), "--ledger", str(folder / "ledger.sqlite"), "--state", str(folder)]
    return CliRunner().invoke(machines, [*arguments, *where], catch_exceptions=False)


def test_an_orphan_on_an_openstack_cloud_is_swept_and_nothing_else(tmp_path: Path, nova: RunningCloud) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        metadata = {"springtide-token": "forgotten", "springtide-tag": f"{owner_of(ledger)}.c1"}
    orphan = nova.project.add_server({"name": "orphan", "metadata": metadata})
    other = nova.project.add_server({"name": "a colleague's"})
    result = command(tmp_path, "sweep", "--dry-run")
    assert (result.exit_code, result.output.split("\t")[:2]) == (0, ["campus", "orphan"])
    assert orphan["id"] in nova.project.servers
    command(tmp_path, "sweep")
    assert list(nova.project.servers) == [other["id"]]


def test_a_cloud_that_does_not_answer_is_told_and_nothing_is_done(tmp_path: Path, nova: RunningCloud) -> None:
    nova.project.silent = True
    result = command(tmp_path, "sweep")
    assert result.exit_code == 1
    assert "campus: The cloud lab-cloud did not answer" in result.stderr


def test_machines_of_a_cloud_that_left_the_lab_file_are_not_taken_for_gone(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(HEAD)
    row = MachineRecord("t", "campus", "ada", "vm", "some-id", "running", recorded=1.8e9)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.add_machine(row)
        result = command(tmp_path, "sweep")
        assert result.exit_code == 1
        assert "campus: There are rows of its machines, and the lab file has no such cloud" in result.stderr
        assert [one.state for one in ledger.machines()] == ["running"]
