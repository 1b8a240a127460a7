"""A folder on this machine's own disk for the time of a conversion: packing on a shared one is slow, and may fail."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "springtide-convert-"
_LOCK = "lock"
_LOCKED_WITHIN_S = 60
_USUAL = "/var/tmp"  # /tmp may be memory


def scratch_place() -> Path:
    """Return where such folders are made."""
    return Path(os.environ.get("TMPDIR") or _USUAL)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder, which is removed with this block; those that killed processes have left are removed too."""
    place = scratch_place()
    for left in place.glob(f"{_PREFIX}*"):
        _remove_if_left(left)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    try:
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    with suppress(OSError):
        found = folder.lstat()
        if found.st_uid != os.geteuid() or folder.is_symlink():
            return
        if not (folder / _LOCK).exists():
            if time.time() - found.st_mtime > _LOCKED_WITHIN_S:
                shutil.rmtree(folder, ignore_errors=True)
            return
        with (folder / _LOCK).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
