"""A registry of the tests' own, with TLS and a login, as ``springtide registry up`` starts it."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors

from springtide.environments.registry.login import Access
from springtide.environments.registry.server import RegistryServer
from tests.support.need import require
from tests.support.network import free_port
from tests.support.processes import Daemon

_BUSYBOX = Path("/bin/busybox")


@dataclass(frozen=True)
class RunningRegistry:
    """A registry that answers."""

    server: RegistryServer

    @property
    def host(self) -> str:
        return self.server.host

    @property
    def access(self) -> Access:
        return self.server.access

    @property
    def lab(self) -> dict[str, dict[str, str]]:
        """What a lab file says of it, under ``registries``."""
        return {self.host: {"credentials": str(self.server.credentials), "certificate": str(self.server.certificate)}}


@contextmanager
def running_registry(folder: Path) -> Iterator[RunningRegistry]:
    """Yield a registry on a port of its own; it ends with this block."""
    programs = ("docker-registry", "htpasswd", "skopeo")
    missing = [program for program in programs if not shutil.which(program)]
    require(f"a registry and its tools ({', '.join(missing)})", not missing)
    server = RegistryServer(folder, port=free_port())
    daemon = Daemon("docker-registry", ["docker-registry", "serve", str(server.prepare())], folder / "registry.log")
    daemon.start()
    try:
        daemon.wait_ready(server.answers, seconds=20)
        yield RunningRegistry(server)
    finally:
        daemon.stop()


@contextmanager
def tiny_image(client: docker.DockerClient, name: str, mark: str = "") -> Iterator[str]:
    """Yield an image of about two megabytes, a shell and its tools, with `mark` in ``/mark``; it is removed then.

    What is yielded is its name, which no other run of the tests has; `name` is a part of it.
    """
    require("busybox-static", _BUSYBOX.exists())
    name = own_image(name)
    repository, _, tag = name.rpartition(":")
    client.api.import_image_from_data(_busybox(mark), repository=repository, tag=tag)
    try:
        yield name
    finally:
        with suppress(docker.errors.ImageNotFound):
            client.images.remove(name, force=True)


def own_image(name: str) -> str:
    """Return a name for an image of this run's own: the engine may serve several runs."""
    return f"springtide-test/{os.getpid()}-{name}"


def _busybox(mark: str) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        _add(tar, "bin/busybox", _BUSYBOX.read_bytes(), 0o755)
        for applet in ("sh", "cat", "ls"):
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
        _add(tar, "mark", mark.encode(), 0o644)
    return content.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
