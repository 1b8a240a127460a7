"""The guests' image: an environment's own root file system, a kernel, and the small init; built once and kept.

The root is the environment's container image to the byte, so that what a worker on a VM imports is what its client
imports, under one digest. It is packed read-only; each machine writes into a disk of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from springtide.clouds.qemu import initrd
from springtide.clouds.qemu.kernel import Kernel, fetch_kernel
from springtide.clouds.qemu.programs import find, run
from springtide.errors import CloudError
from springtide.units import describe_duration

Progress = Callable[[str], None]

_FORMAT = 1
_ABOUT = "image.json"
_INIT = Path(__file__).with_name("init.sh")


@dataclass(frozen=True)
class GuestImage:
    """An image that is ready; its files never change."""

    folder: Path
    reference: str
    """The container image it was made from."""
    digest: str
    """That image's digest, as the engine says it."""
    kernel_version: str

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.folder / "kernel"

    @property
    def initrd(self) -> Path:
        """The first root, with the init."""
        return self.folder / "initrd"

    @property
    def root(self) -> Path:
        """The environment's root file system."""
        return self.folder / "root.squashfs"


def build_image(reference: str, cache: Path, progress: Progress = lambda _: None) -> GuestImage:
    """Have the guests' image of a container image in `cache`, and return it; built only where it is missing.

    Two processes may call it at once: the second waits for the first. A killed one leaves nothing that is taken
    for an image.

    Parameters
    ----------
    reference : str
        A container image that this machine's Docker Engine has.
    cache : Path
        Folder of images; made where it is missing.
    progress : callable, optional
        Told what is done, a short line at a time.

    Raises
    ------
    CloudError
        If a program is missing, or the container image is, or no Debian mirror answers for the kernel.
    """
    if platform.machine() != "x86_64":
        raise CloudError(f"Machines by QEMU need an x86_64 host; this is {platform.machine()}.")
    described = _inspect(reference)
    digest = str(described["Id"])
    folder = cache / _key(digest)
    if found := _read(folder):
        return found
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache, progress):
        if found := _read(folder):
            return found
        _sweep(cache)
        return _build(described, reference, folder, progress)


def _key(digest: str) -> str:
    return sha256(f"{_FORMAT} {digest} {sha256(_INIT.read_bytes()).hexdigest()}".encode()).hexdigest()[:20]


def _read(folder: Path) -> GuestImage | None:
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    except OSError:
        return None
    return GuestImage(folder, about["reference"], about["digest"], about["kernel_version"])


def _inspect(reference: str) -> dict[str, Any]:
    try:
        described: list[dict[str, Any]] = json.loads(run(["docker", "image", "inspect", "--", reference]))
    except CloudError as error:
        raise CloudError(
            f"The container image {reference} cannot be read: {error.message}",
            error.hint or "Build it first (make images), or check its name.",
        ) from error
    return described[0]


@contextmanager
def _alone(cache: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of the cache, which the system releases even when the builder is killed."""
    with (cache / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build of a machine image to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep(cache: Path) -> None:
    """Remove what killed builds left. Only called with the lock held."""
    for left in cache.glob(".build-*"):
        shutil.rmtree(left, ignore_errors=True)


def _build(described: dict[str, Any], reference: str, folder: Path, progress: Progress) -> GuestImage:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder.parent) as place:
        new = Path(place, "image")
        new.mkdir(mode=0o755)
        progress("downloading a kernel from Debian")
        with tempfile.TemporaryDirectory(dir=place) as packages:
            kernel = fetch_kernel(Path(packages))
            shutil.copyfile(kernel.image, new / "kernel")
            (new / "initrd").write_bytes(_first_root(kernel, described["Config"].get("Env") or []))
        progress(f"packing the root file system of {reference} (about a minute)")
        _pack_root(str(described["Id"]), new / "root.squashfs")
        about = GuestImage(folder, reference, str(described["Id"]), kernel.version)
        (new / _ABOUT).write_text(json.dumps(asdict(about) | {"folder": ""}), encoding="utf-8")
        os.rename(new, folder)
    progress(f"the machine image of {reference} is ready ({describe_duration(time.monotonic() - started)})")
    return about


def _first_root(kernel: Kernel, variables: list[str]) -> bytes:
    exports = "".join(
        f"export {name}={shlex.quote(value)}\n" for name, _, value in (v.partition("=") for v in variables)
    )
    order = "".join(f"{module.name}\n" for module in kernel.modules)
    return initrd.archive(
        (
            *map(initrd.folder, ("bin", "dev", "proc", "sys", "modules")),
            *initrd.devices(),
            initrd.file("init", _INIT.read_bytes(), 0o755),
            initrd.file("bin/busybox", kernel.busybox.read_bytes(), 0o755),
            initrd.link("bin/sh", "busybox"),
            initrd.file("image.env", exports.encode()),
            initrd.file("modules/order", order.encode()),
            *(initrd.file(f"modules/{module.name}", module.read_bytes()) for module in kernel.modules),
        )
    )


def _pack_root(digest: str, target: Path) -> None:
    """Write the files of a container image as one read-only file system, without unpacking them on the way.

    Owners and rights are those of the image, whoever calls this.
    """
    container = run(["docker", "create", "--network=none", digest, "/none"]).strip()
    try:
        with subprocess.Popen(
            [find("docker"), "export", container], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as export:
            # lz4: guests without hardware help pay for every byte they unpack.
            packed = subprocess.run(
                [find("sqfstar"), "-comp", "lz4", "-no-progress", "-quiet", str(target)],
                stdin=export.stdout,
                capture_output=True,
                text=True,
            )
    finally:
        run(["docker", "rm", "--force", container])
    if export.returncode or packed.returncode:
        raise CloudError(f"The root file system could not be packed: {packed.stderr.strip()[-500:]}")
