"""Tries each cloud of a lab: whether this machine can run virtual machines, and which of them there are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

from springtide.clouds.opening import open_cloud
from springtide.clouds.qemu.programs import find
from springtide.clouds.qemu.start import accelerated
from springtide.environments.catalog import shipped
from springtide.errors import CloudError
from springtide.hub.findings import Finding
from springtide.lab.clouds import CloudSite
from springtide.lab.models import Lab

_PROGRAMS = ("qemu-system-x86_64", "sqfstar", "genisoimage", "mkfs.ext4")
_OF_NETWORKS = ("ip", "iptables")
_KIND = "qemu"


def examine_cloud(lab: Lab, name: str, state: Path) -> Iterator[Finding]:
    """Yield what was tried at one cloud; of several programs that are missing, the first."""
    site = lab.clouds[name]
    own_network = os.geteuid() == 0 and site.network
    try:
        for program in (*_PROGRAMS, *(_OF_NETWORKS if own_network else ())):
            find(program)
    except CloudError as error:
        yield Finding(name, "absent" if site.optional else "broken", error.message, error.hint, name, _KIND)
        return
    speed = "with the processor's own virtualisation" if accelerated() else "translated by QEMU, several times slower"
    yield Finding(name, "ok", f"virtual machines of this machine, {speed}", "", name, _KIND)
    if not own_network:
        message = "each machine is on a network of its own: their workers cannot exchange results with each other"
        yield Finding(f"{name}: network", "ok", message, "Run clusters as root, or keep tasks apart.", name)
    yield _machines(name, site, state)


def _machines(name: str, site: CloudSite, state: Path) -> Finding:
    async def look() -> int:
        cloud = open_cloud(name, site, state, shipped()["base"].image)
        try:
            return len(await cloud.machines())
        finally:
            await cloud.close()

    try:
        count = asyncio.run(look())
    except CloudError as error:
        return Finding(f"{name}: machines", "broken", error.message, error.hint, name)
    return Finding(f"{name}: machines", "ok", f"{count} of at most {site.maximum_machines} there", "", name)
