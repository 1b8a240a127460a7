"""From a site of the lab file to its cloud."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from springtide.clouds.base import Cloud, Flavour
from springtide.clouds.money import Terms
from springtide.clouds.openstack import OpenStackCloud, OpenStackSettings
from springtide.clouds.qemu import QemuCloud, QemuSettings
from springtide.lab.clouds import CloudSite, OpenStackSite, QemuSite


def open_cloud(name: str, site: CloudSite | None, state: Path, image: str) -> Cloud:
    """Return a cloud; nothing is asked of it yet.

    Parameters
    ----------
    name : str
        Its name.
    site : CloudSite or None
        What the lab file says of it; None: it says nothing, and the machine itself is the cloud.
    state : Path
        State directory of the account whose machines these are.
    image : str
        Container image that machines of this machine start from, where the site names none.
    """
    if isinstance(site, OpenStackSite):
        return OpenStackCloud(_of_openstack(site))
    return QemuCloud(_of_qemu(name, site, state / "clouds", image))


def _of_openstack(site: OpenStackSite) -> OpenStackSettings:
    return OpenStackSettings(
        cloud=site.cloud,
        image=site.image,
        flavours=flavours_of(site),
        clouds_file=site.clouds_file,
        network=site.network,
        security_groups=site.security_groups,
        key_name=site.key_name,
        availability_zone=site.availability_zone,
        floating_network=site.floating_network,
        disk_bytes=site.disk or 0,
        request_s=site.request_timeout,
    )


def _of_qemu(name: str, site: QemuSite | None, place: Path, image: str) -> QemuSettings:
    folder = (site.directory if site else None) or place
    settings = QemuSettings(folder / name, (site.image if site else "") or image, folder / "images")
    if site is None:
        return settings
    return replace(
        settings,
        flavours=flavours_of(site),
        network=site.network,
        reachable=site.reachable,
        maximum_machines=site.maximum_machines,
        maximum_memory_bytes=site.maximum_memory,
        disk_bytes=site.disk,
        lifetime_s=site.lifetime,
    )


def terms_of(site: CloudSite) -> Terms:
    """Return what a site of the lab file allows and charges."""
    budget = site.budget
    return Terms(
        maximum_machines=site.maximum_machines,
        lifetime_s=site.lifetime,
        quantum_s=site.billing_quantum,
        budget=budget.amount if budget else None,
        period=budget.per if budget else "month",
        currency=site.currency,
    )


def flavours_of(site: CloudSite) -> tuple[Flavour, ...]:
    """Return the sizes that the lab file names, without asking the cloud."""
    return tuple(Flavour(name, size.cores, size.memory, size.price_per_hour) for name, size in site.flavours.items())
