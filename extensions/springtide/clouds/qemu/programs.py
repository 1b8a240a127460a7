"""Running the programs of this machine that make images and networks, with their words in the error."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from springtide.errors import CloudError

_SAID = 500
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "sqfstar": "squashfs-tools",
    "genisoimage": "genisoimage",
    "mkfs.ext4": "e2fsprogs",
    "ip": "iproute2",
    "iptables": "iptables",
    "setsid": "util-linux",
    "apt-get": "apt",
    "apt-cache": "apt",
    "dpkg-deb": "dpkg",
    "docker": "docker.io",
    "mmdebstrap": "mmdebstrap",
}
"""Debian package of each program."""


def find(name: str) -> str:
    """Return the path of a program; an ordinary user's PATH may lack those of the system.

    Raises
    ------
    CloudError
        If it is not installed; the hint names its package.
    """
    found = shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)
    if not found:
        raise CloudError(f"The program {name} is missing.", f"Debian: apt install {PACKAGES.get(name, name)}.")
    return found


def run(command: Sequence[str | Path], *, cwd: Path | None = None, timeout_s: float = 300) -> str:
    """Run a program to its end and return what it printed.

    Raises
    ------
    CloudError
        If it is missing, fails, or does not end in time.
    """
    program, *arguments = map(str, command)
    try:
        ended = subprocess.run(
            [find(program), *arguments],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise CloudError(f"{program} did not end within {timeout_s:g} s.", transient=True) from None
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).strip()[-_SAID:]
        raise CloudError(f"{program} {' '.join(arguments[:3])} ended with {ended.returncode}: {said}")
    return ended.stdout
