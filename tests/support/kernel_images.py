"""The images that tests of kernels run, in each runtime's form; made once, kept for the next run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from springtide.environments.build import build
from springtide.environments.catalog import shipped
from springtide.environments.runtimes.udocker import Udocker
from tests.support.docker_engine import DockerEngine

_CACHES = Path("/var/cache/springtide-tests") if os.geteuid() == 0 else Path.home() / ".cache/springtide-tests"
_CACHE = _CACHES / "kernels"
CONVERTED = _CACHES / "converted"
"""A conversion cache that outlives a run: the session image takes a minute to unpack."""
PYTHON = "/opt/session/bin/python"


def session_image(engine: DockerEngine) -> tuple[str, str]:
    """Return the reference and the digest of the shipped session image, built where it is missing."""
    image = shipped()["base"].image
    return image, build(shipped()["base"], lambda line: print(line, flush=True))


def unpacked_session_image(engine: DockerEngine) -> Path:
    """Return a folder with the session image's files, which every account can read."""
    image, digest = session_image(engine)
    folder = _CACHE / digest.removeprefix("sha256:")[:12]
    with _alone():
        if not folder.is_dir():
            _unpack(image, folder)
        (folder / Udocker.MOUNT_POINT).mkdir(exist_ok=True)
    return folder


def packed_session_image(engine: DockerEngine) -> Path:
    """Return a file with the session image's files, which Apptainer mounts as it does a SIF: by FUSE."""
    folder = unpacked_session_image(engine)
    packed = folder.with_name(f"{folder.name}.sif")
    with _alone():
        if not packed.exists():
            beside = packed.with_name(f".{packed.name}")
            beside.unlink(missing_ok=True)
            # Not compressed: that takes a minute, and nobody needs it smaller here.
            plain = ("-noI", "-noD", "-noF", "-noX", "-no-progress", "-quiet")
            subprocess.run(["mksquashfs", str(folder), str(beside), *plain], check=True, capture_output=True)
            beside.rename(packed)
    return packed


def _unpack(image: str, folder: Path) -> None:
    for old in folder.parent.glob("[!.]*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    beside = folder.with_name(f".{folder.name}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(mode=0o755)
    container = subprocess.run(
        ["docker", "create", image], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
    ).stdout.strip()
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export:
            subprocess.run(["tar", "--extract", f"--directory={beside}"], stdin=export.stdout, check=True)
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=True, capture_output=True)
    beside.rename(folder)


@contextmanager
def _alone() -> Iterator[None]:
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
