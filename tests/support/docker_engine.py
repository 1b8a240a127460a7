"""A Docker Engine: the one that answers, else one of our own."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import requests
from docker.errors import DockerException

from tests.support.need import require
from tests.support.processes import Daemon

DEFAULT_SOCKET = "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class DockerEngine:
    """A Docker Engine that answers."""

    url: str
    client: docker.DockerClient
    started_here: bool
    """Whether the tests started it, and so will stop it."""
    log: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What programs need in their environment to find it."""
        return {} if self.url == DEFAULT_SOCKET else {"DOCKER_HOST": self.url}


@contextmanager
def running_engine(directory: Path) -> Iterator[DockerEngine]:
    """Yield the engine of this machine, started with its usual data where it is not running.

    The data stay when it stops: images built by one run of the tests are there for the next.
    """
    url = os.environ.get("DOCKER_HOST", DEFAULT_SOCKET)
    client = client_that_answers(url)
    if client:
        with _closing(client):
            yield DockerEngine(url, client, started_here=False)
        return
    require("a Docker Engine that answers", url == DEFAULT_SOCKET, f"nothing answers at DOCKER_HOST={url}")
    require("a Docker Engine", os.geteuid() == 0 and find_dockerd(), "start it, or run the tests as root")
    with _running([find_dockerd(), f"--host={url}"], directory / "dockerd.log", url) as engine:
        yield engine


@contextmanager
def private_engine(directory: Path) -> Iterator[DockerEngine]:
    """Start a second engine, with nothing in common with the machine's: data, sockets, bridge, packet filter.

    Its network namespace is what keeps it apart: without, even ``--bridge=none`` removes the other engine's docker0.
    """
    # A socket's path may have 107 characters at the most, and pytest's folders are long.
    with tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as short:
        url = f"unix://{short}/engine.sock"
        places = [f"--data-root={directory / 'data-root'}", f"--exec-root={short}/exec", f"--pidfile={short}/pid"]
        command = ["unshare", "--net", find_dockerd(), f"--host={url}", *places]
        with _running(command, directory / "dockerd.log", url) as engine:
            yield engine


@contextmanager
def _running(command: Sequence[str], log: Path, url: str) -> Iterator[DockerEngine]:
    daemon = Daemon("dockerd", command, log)
    daemon.start()
    try:
        daemon.wait_ready(lambda: _answers(url), seconds=60)
        client = docker.DockerClient(base_url=url, version="auto")
        with _closing(client):
            yield DockerEngine(url, client, started_here=True, log=daemon.log)
    finally:
        daemon.stop(seconds=40)


def find_dockerd() -> str:
    # An ordinary user's PATH lacks /usr/sbin.
    return shutil.which("dockerd", path=os.defpath + ":/usr/sbin:/sbin") or ""


@contextmanager
def _closing(client: docker.DockerClient) -> Iterator[None]:
    try:
        yield
    finally:
        client.close()


def _answers(url: str) -> bool:
    client = client_that_answers(url)
    if client:
        client.close()
    return client is not None


def _is_listening(url: str) -> bool:
    kind, _, path = url.partition("://")
    if kind != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def client_that_answers(url: str) -> docker.DockerClient | None:
    # The client leaves its socket open when nobody listens, so it is not asked before someone does.
    if not _is_listening(url):
        return None
    try:
        client = docker.DockerClient(base_url=url, version="auto")
    except (DockerException, requests.RequestException):
        return None
    try:
        client.ping()
    except (DockerException, requests.RequestException):
        client.close()
        return None
    return client
