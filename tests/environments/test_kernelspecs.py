"""The lab's kernels are offered to whom they are for, and to no account that could not start them itself."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from springtide.environments.catalog import EnvironmentRecipe, resolve
from springtide.environments.kernelspecs import (
    Viewer,
    may_use_engine,
    offers_as_jobs,
    offers_in_containers,
    publish,
)
from springtide.lab.load import parse_lab
from springtide.lab.models import Lab
from tests.support.need import require

OWN = Viewer(os.geteuid(), os.getegid(), frozenset(), "en", cores=2, memory_bytes=2**30)
# A number of the range that systemd takes for users without name or rights.
NOBODY = replace(OWN, uid=61199, gid=61199)
DIGESTS = {"base": "sha256:aa", "lisa": "sha256:bb", "lpf": "sha256:cc"}


@pytest.fixture(scope="module")
def lab() -> Lab:
    return parse_lab(
        """
springtide: 1
environments:
  lpf: {image: registry.lab.fr/lpf:1, label: LPF, groups: [lpf]}
sites:
  desk: {kind: local, runtime: host}
  cluster: {kind: slurm, label: {en: Cluster, fr: Calculateur}, queue: day, prologue: module load python}
  charged: {kind: pbspro, accounts: hub, optional: true}
profiles:
  - {name: here, site: desk}
  - {name: there, site: cluster, cpus: 4, memory: 8G, walltime: 3h}
  - {name: charged, site: charged}
  - {name: secret, site: cluster, groups: [lpf]}
""",
        Path("/srv/lab.yaml"),
    )


@pytest.fixture(scope="module")
def recipes(lab: Lab) -> dict[str, EnvironmentRecipe]:
    return resolve(lab)


@pytest.fixture
def engine_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return what the engine's right to be used is read from, for everybody at first."""
    path = tmp_path / "engine.sock"
    path.touch()
    path.chmod(0o666)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    return path


def test_images_are_offered_as_kernels_with_the_labs_labels(
    lab: Lab, recipes: dict[str, EnvironmentRecipe], engine_socket: Path
) -> None:
    offers = {offer.name: offer for offer in offers_in_containers(lab, recipes, DIGESTS, OWN)}
    assert [*offers] == ["base-docker"]
    spec = offers["base-docker"].as_json()
    assert spec["display_name"] == "Python, JupyterLab and Dask (container)"
    assert spec["argv"][0] == "/opt/session/bin/python"
    config = spec["metadata"]["kernel_provisioner"]["config"]
    assert (config["place"], config["memory"], config["cores"]) == ("sha256:aa", str(2**30), 2)


def test_an_account_that_may_not_use_the_engine_is_offered_no_container(
    lab: Lab, recipes: dict[str, EnvironmentRecipe], engine_socket: Path
) -> None:
    engine_socket.chmod(0o660)
    assert not may_use_engine(NOBODY)
    assert offers_in_containers(lab, recipes, DIGESTS, NOBODY) == []


def test_an_engine_elsewhere_is_not_for_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.1.2.3:2376")
    assert not may_use_engine(OWN)


def test_a_private_environment_is_offered_to_its_group_only(
    lab: Lab, recipes: dict[str, EnvironmentRecipe], engine_socket: Path
) -> None:
    def names(viewer: Viewer) -> list[str]:
        return [offer.environment for offer in offers_in_containers(lab, recipes, DIGESTS, viewer)]

    assert "lpf" not in names(OWN)
    assert "lpf" in names(replace(OWN, groups=frozenset({"lpf"})))


def test_profiles_at_batch_sites_are_offered_as_jobs(
    lab: Lab, recipes: dict[str, EnvironmentRecipe], tmp_path: Path
) -> None:
    offers = {offer.name: offer for offer in offers_as_jobs(lab, recipes, tmp_path, replace(OWN, language="fr"))}
    assert "secret-job" not in offers
    spec = offers["there-job"].as_json()
    assert spec["display_name"] == "Python, JupyterLab et Dask (tâche sur Calculateur)"
    config = spec["metadata"]["kernel_provisioner"]["config"]
    assert (config["cores"], config["walltime"], config["site"]["queue"]) == (4, "10800", "day")
    assert config["site"]["prologue"] == "module load python"


def test_who_cannot_submit_is_offered_no_job(lab: Lab, recipes: dict[str, EnvironmentRecipe], tmp_path: Path) -> None:
    assert offers_as_jobs(lab, recipes, tmp_path, NOBODY) == []
    offered = [offer.name for offer in offers_as_jobs(lab, recipes, tmp_path, replace(OWN, uid=1, gid=1))]
    assert offered == ["there-job"]


def test_what_an_account_is_offered_is_for_its_eyes_only(
    lab: Lab, recipes: dict[str, EnvironmentRecipe], engine_socket: Path, tmp_path: Path
) -> None:
    require("root's rights, to give files away", os.geteuid() == 0, "run the tests as root")
    offers = offers_in_containers(lab, recipes, DIGESTS, NOBODY)
    folder = publish(offers, tmp_path / "kernelspecs", NOBODY)
    assert folder is not None
    entries = [folder, *folder.rglob("*")]
    assert {(entry.stat().st_uid, stat.S_IMODE(entry.stat().st_mode) & 0o077) for entry in entries} == {(61199, 0)}
    assert publish(offers, tmp_path / "kernelspecs", NOBODY) == folder
    assert [entry.name for entry in (tmp_path / "kernelspecs").iterdir()] == [folder.name]


def test_nothing_offered_is_nothing_written(tmp_path: Path) -> None:
    assert publish([], tmp_path / "kernelspecs", OWN) is None
    assert not (tmp_path / "kernelspecs").exists()


def test_published_kernelspecs_are_what_jupyter_reads(
    lab: Lab, recipes: dict[str, EnvironmentRecipe], engine_socket: Path, tmp_path: Path
) -> None:
    folder = publish(offers_in_containers(lab, recipes, DIGESTS, OWN), tmp_path / "kernelspecs", OWN)
    assert folder is not None
    read = json.loads((folder / "kernels" / "base-docker" / "kernel.json").read_text())
    assert read["metadata"]["kernel_provisioner"]["provisioner_name"] == "springtide"
    assert read["env"] == {"DOCKER_HOST": f"unix://{engine_socket}"}
