"""Tries each cloud of a lab: whether machines can be made there, and which of them there are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar, cast

from springtide.clouds.base import Cloud
from springtide.clouds.opening import open_cloud
from springtide.clouds.openstack import OpenStackCloud
from springtide.clouds.qemu.programs import find
from springtide.clouds.qemu.start import accelerated
from springtide.environments.catalog import shipped
from springtide.errors import CloudError
from springtide.hub.findings import Finding
from springtide.lab.clouds import CloudSite, OpenStackSite, QemuSite
from springtide.lab.models import Lab

_PROGRAMS = ("qemu-system-x86_64", "sqfstar", "genisoimage", "mkfs.ext4")
_OF_NETWORKS = ("ip", "iptables")
T = TypeVar("T")


def examine_cloud(lab: Lab, name: str, state: Path) -> Iterator[Finding]:
    """Yield what was tried at one cloud."""
    site = lab.clouds[name]
    if isinstance(site, OpenStackSite):
        yield from _examine_openstack(name, site, state)
    else:
        yield from _examine_qemu(name, site, state)


def _examine_openstack(name: str, site: OpenStackSite, state: Path) -> Iterator[Finding]:
    """Yield whether the cloud lets us in, what it lacks of what the lab file names, and its machines."""
    try:
        lacks = _asked(name, site, state, lambda cloud: cast(OpenStackCloud, cloud).lacks())
    except CloudError as error:
        yield Finding(name, "absent" if site.optional else "broken", error.message, error.hint, name, site.kind)
        return
    yield Finding(name, "ok", f"the OpenStack cloud {site.cloud} answers", "", name, site.kind)
    for part, why in lacks.items():
        yield Finding(f"{name}: {part}", "broken", why.message, why.hint, name)
    if not lacks:
        message = f"the image {site.image}, and all else that machines are made of, is there"
        yield Finding(f"{name}: image", "ok", message, "", name)
    yield _machines(name, site, state)


def _examine_qemu(name: str, site: QemuSite, state: Path) -> Iterator[Finding]:
    """Yield whether this machine can have virtual machines; of several programs that are missing, the first."""
    own_network = os.geteuid() == 0 and site.network
    try:
        for program in (*_PROGRAMS, *(_OF_NETWORKS if own_network else ())):
            find(program)
    except CloudError as error:
        yield Finding(name, "absent" if site.optional else "broken", error.message, error.hint, name, site.kind)
        return
    speed = "with the processor's own virtualisation" if accelerated() else "translated by QEMU, several times slower"
    yield Finding(name, "ok", f"virtual machines of this machine, {speed}", "", name, site.kind)
    if not own_network:
        message = "each machine is on a network of its own: their workers cannot exchange results with each other"
        yield Finding(f"{name}: network", "ok", message, "Run clusters as root, or keep tasks apart.", name)
    yield _machines(name, site, state)


def _machines(name: str, site: CloudSite, state: Path) -> Finding:
    try:
        count = len(_asked(name, site, state, lambda cloud: cloud.machines()))
    except CloudError as error:
        return Finding(f"{name}: machines", "broken", error.message, error.hint, name)
    return Finding(f"{name}: machines", "ok", f"{count} of at most {site.maximum_machines} there", "", name)


def _asked(name: str, site: CloudSite, state: Path, question: Callable[[Cloud], Awaitable[T]]) -> T:
    async def ask() -> T:
        cloud = open_cloud(name, site, state, shipped()["base"].image)
        try:
            return await question(cloud)
        finally:
            await cloud.close()

    return asyncio.run(ask())
