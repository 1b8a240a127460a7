"""Virtual machines for tests: one image for all runs, and clouds of this machine that leave nothing."""

from __future__ import annotations

import ipaddress
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from springtide.clouds.base import Flavour
from springtide.clouds.qemu import QemuSettings
from springtide.clouds.qemu.folder import all_folders
from springtide.clouds.qemu.image import build_image
from springtide.clouds.qemu.network import Bridge
from springtide.clouds.qemu.start import PROGRAM
from springtide.environments.build import build
from springtide.environments.catalog import shipped
from tests.support.need import require

CACHE = Path("/var/cache/springtide-tests/machines")
FLAVOURS = (Flavour("small", 1, 640 * 2**20, 0.25), Flavour("large", 1, 2**30, 1.0))


def _say(line: str) -> None:
    print(line, flush=True)


def machine_settings(state: Path) -> QemuSettings:
    """Return settings of a cloud of this machine, with the session image built where it is missing."""
    require("root's rights, for a network of machines", os.geteuid() == 0, "run the tests as root")
    missing = [name for name in (PROGRAM, "sqfstar", "genisoimage") if not shutil.which(name)]
    require(f"QEMU and what makes its images ({', '.join(missing)})", not missing)
    recipe = shipped()["base"]
    build(recipe, _say)
    image = build_image(recipe.image, CACHE, _say)
    _forget_all_but(image.folder)
    return QemuSettings(
        state=state,
        image=recipe.image,
        images=CACHE,
        flavours=FLAVOURS,
        maximum_machines=4,
        disk_bytes=2**30,
        lifetime_s=300,
    )


def _forget_all_but(kept: Path) -> None:
    """Remove images that an older state of the sources has left in the cache, some days after their last use."""
    os.utime(kept)
    for old in CACHE.iterdir():
        if old.is_dir() and kept.stat().st_mtime - old.stat().st_mtime > 3 * 86400:
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def own_network(settings: QemuSettings) -> Iterator[QemuSettings]:
    """Yield settings with a network that no other run uses; at the end all machines are gone, and the network."""
    start = os.getpid()
    for number in range(200):
        network = f"10.78.{20 + (start + number) % 200}.0/24"
        bridge = _bridge(replace(settings, network=network))
        if not bridge.exists:
            break
    settings = replace(settings, network=network)
    try:
        yield settings
    finally:
        for machine in all_folders(settings.state / "machines"):
            machine.kill()
            machine.remove()
        bridge.take_down()


def _bridge(settings: QemuSettings) -> Bridge:
    return Bridge(ipaddress.IPv4Network(settings.network), settings.state)
