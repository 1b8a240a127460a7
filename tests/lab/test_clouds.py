"""Clouds in the lab file."""

from __future__ import annotations

from pathlib import Path

from springtide.lab.clouds import OpenStackSite, QemuSite
from springtide.lab.load import parse_lab

LAB = """
springtide: 1
sites:
  desk: {kind: local}
  here: {kind: qemu, budget: 5}
  there:
    kind: qemu
    image: worker
    flavours:
      m1.small: {cores: 2, memory: 4G, price_per_hour: 0.08}
    billing_quantum: 1h
    budget: {amount: 50, per: week}
profiles: [{name: one, site: desk}]
"""


def test_clouds_stand_among_the_sites_and_take_no_sessions(tmp_path: Path) -> None:
    lab = parse_lab(LAB, tmp_path / "lab.yaml")
    assert list(lab.sites) == ["desk"]
    assert list(lab.clouds) == ["here", "there"]


def test_a_cloud_is_read_in_seconds_and_bytes(tmp_path: Path) -> None:
    here, there = parse_lab(LAB, tmp_path / "lab.yaml").clouds.values()
    assert isinstance(here, QemuSite)
    assert isinstance(there, QemuSite)
    assert here.budget
    assert (here.budget.amount, here.budget.per, here.lifetime) == (5, "month", 12 * 3600)
    assert there.image == "worker"
    assert there.budget
    assert (there.billing_quantum, there.budget.per) == (3600, "week")
    size = there.flavours["m1.small"]
    assert (size.cores, size.memory, size.price_per_hour) == (2, 4 * 2**30, 0.08)


OPENSTACK = """
springtide: 1
sites:
  desk: {kind: local}
  burst:
    kind: openstack
    cloud: lab-cloud
    clouds_file: secrets/clouds.yaml
    image: springtide-base
    flavours:
      SCS-2V:8: {cores: 2, memory: 8G, price_per_hour: 0.09}
    network: lab
    security_groups: [dask]
profiles: [{name: one, site: desk}]
"""


def test_an_openstack_cloud_is_read_with_its_login_elsewhere(tmp_path: Path) -> None:
    [site] = parse_lab(OPENSTACK, tmp_path / "lab.yaml").clouds.values()
    assert isinstance(site, OpenStackSite)
    assert site.clouds_file == tmp_path / "secrets" / "clouds.yaml"
    assert (site.cloud, site.image, site.security_groups) == ("lab-cloud", "springtide-base", ("dask",))
    assert site.flavours["SCS-2V:8"].memory == 8 * 2**30
    assert (site.maximum_machines, site.lifetime, site.request_timeout) == (4, 12 * 3600, 30)
