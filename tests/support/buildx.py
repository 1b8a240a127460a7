"""Debian's docker-buildx, which Debian 12 does not have: unpacked from Debian 13's package, once per machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path

# It needs nothing but a C library that Debian 12's is newer than.
_PACKAGE = "docker-buildx_0.13.1+ds1-3_amd64.deb"
_SHA256 = "fcf8c48204d1603c8f209451d7827eb91bf30759578baf7704e9e1a87e5f1d7f"
_POOL = "http://deb.debian.org/debian/pool/main/d/docker-buildx"
_CACHE = (
    Path("/var/cache/springtide-tests/buildx") if os.geteuid() == 0 else Path.home() / ".cache/springtide-tests/buildx"
)


def docker_config() -> Path | None:
    """Return what DOCKER_CONFIG must be for ``docker buildx`` to work; None where the package cannot be had."""
    plugin = _CACHE / "cli-plugins" / "docker-buildx"
    if not plugin.exists():
        with suppress(OSError, ValueError, subprocess.CalledProcessError):
            _unpack(plugin)
    return _CACHE if plugin.exists() else None


def _unpack(plugin: Path) -> None:
    plugin.parent.mkdir(parents=True, exist_ok=True)
    package = _CACHE / _PACKAGE
    with urllib.request.urlopen(f"{_POOL}/{_PACKAGE}", timeout=60) as answer:
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise ValueError("another package than was looked at")
    package.write_bytes(content)
    subprocess.run(["dpkg-deb", "--extract", package, _CACHE / "unpacked"], check=True)
    (_CACHE / "unpacked/usr/libexec/docker/cli-plugins/docker-buildx").rename(plugin)
