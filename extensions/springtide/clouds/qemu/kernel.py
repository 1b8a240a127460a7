"""The guests' kernel, from Debian's packages: downloaded and unpacked, never installed on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from springtide.clouds.qemu.programs import run
from springtide.errors import CloudError

_METAPACKAGE = "linux-image-cloud-amd64"
_DEPENDS = re.compile(r"^Depends: .*?(linux-image-[0-9][^\s,]*)", re.MULTILINE)
_MODINFO_DEPENDS = re.compile(rb"\0depends=([\w,-]*)\0")
MODULES = (
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio-rng",
    "isofs",
    "squashfs",
    "overlay",
)
"""What the init needs to find its disks and its network; the rest of the kernel's modules stays outside."""


@dataclass(frozen=True)
class Kernel:
    """A kernel and what goes into the first root of its guests."""

    version: str
    image: Path
    modules: tuple[Path, ...]
    """In the order in which they have to be loaded."""
    busybox: Path


def fetch_kernel(folder: Path) -> Kernel:
    """Download Debian's kernel for clouds and its static busybox, and unpack both below `folder`.

    Raises
    ------
    CloudError
        If no Debian mirror answers, or this is no Debian machine.
    """
    package = _kernel_package()
    run(["apt-get", "--quiet", "download", package, "busybox-static"], cwd=folder, timeout_s=600)
    for archive in folder.glob("*.deb"):
        run(["dpkg-deb", "--extract", archive, folder / "unpacked"])
    unpacked = folder / "unpacked"
    version = package.removeprefix("linux-image-")
    return Kernel(
        version=version,
        image=unpacked / "boot" / f"vmlinuz-{version}",
        modules=ordered_modules(unpacked / "lib" / "modules" / version, MODULES),
        busybox=unpacked / "bin" / "busybox",
    )


def _kernel_package() -> str:
    described = run(["apt-cache", "show", "--no-all-versions", _METAPACKAGE])
    if found := _DEPENDS.search(described):
        return found[1]
    raise CloudError(f"apt knows no kernel behind {_METAPACKAGE}.", "Run apt-get update on this machine.")


def ordered_modules(folder: Path, wanted: Iterable[str]) -> tuple[Path, ...]:
    """Return the files of modules and of all they need, those that are needed first.

    What is no module of this kernel is taken to be built in.
    """
    files = {path.stem.replace("-", "_"): path for path in folder.rglob("*.ko")}
    ordered: dict[str, Path] = {}

    def add(name: str) -> None:
        key = name.replace("-", "_")
        if key in files and key not in ordered:
            for needed in _needs(files[key]):
                add(needed)
            ordered[key] = files[key]

    for name in wanted:
        add(name)
    return tuple(ordered.values())


def _needs(module: Path) -> list[str]:
    found = _MODINFO_DEPENDS.search(module.read_bytes())
    return [name for name in found[1].decode().split(",") if name] if found else []
