"""Asks the Docker Engine: whether it is there, what images it has, where containers find this machine."""

from __future__ import annotations

import ipaddress
import os
import socket
import urllib.parse
from pathlib import Path

import docker
import docker.errors
import requests

from springtide.errors import EngineError

DEFAULT_SOCKET = Path("/var/run/docker.sock")
"""Where the engine of a machine usually listens."""
_TIMEOUT_S = 5
_ANY_API_VERSION = "1.41"


def connect(timeout_s: int = _TIMEOUT_S) -> docker.DockerClient:
    """Return a client of the Docker Engine, which has just answered. ``DOCKER_HOST`` is respected.

    Raises
    ------
    EngineError
        If it does not answer; the hint says why, as far as can be seen from here.
    """
    try:
        _probe(timeout_s)
        return docker.from_env(timeout=timeout_s)
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise _unreachable(error) from error


def engine_elsewhere() -> str:
    """Return the host of an engine on another machine that DOCKER_HOST names, "" for one of this machine.

    Such an engine can build images, but its containers' addresses lead nowhere here, nor do our folders there.
    """
    host = urllib.parse.urlsplit(os.environ.get("DOCKER_HOST", ""))
    elsewhere = host.scheme in ("tcp", "http", "https", "ssh") and host.hostname not in (None, "localhost", "127.0.0.1")
    return str(host.hostname) if elsewhere else ""


def _probe(timeout_s: int) -> None:
    """Raise unless the engine answers; closes its connections, as a client that fails while it is made does not."""
    if path := socket_of_engine():
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
    client = docker.from_env(timeout=timeout_s, version=_ANY_API_VERSION)
    try:
        client.ping()
    except docker.errors.APIError:
        return  # an answer: it speaks another version
    finally:
        client.close()


def socket_of_engine() -> Path | None:
    """Return the engine's socket on this machine, None where DOCKER_HOST names another machine."""
    host = os.environ.get("DOCKER_HOST", "")
    if host and not host.startswith("unix://"):
        return None
    return Path(host.removeprefix("unix://")) if host else DEFAULT_SOCKET


def _unreachable(error: Exception) -> EngineError:
    path = socket_of_engine()
    if path is None:
        host = os.environ["DOCKER_HOST"]
        return EngineError(
            f"The Docker Engine at {host} does not answer.", "Check DOCKER_HOST and the engine there.", transient=True
        )
    if not path.exists():
        return EngineError(
            f"There is no Docker Engine on this machine ({path} does not exist).",
            "Install it (Debian: apt install docker.io) and start it (systemctl start docker).",
        )
    if not os.access(path, os.R_OK | os.W_OK):
        return EngineError(
            f"This account may not use the Docker Engine ({path}).",
            "An administrator adds it to the group “docker” (usermod -aG docker NAME); then log in again. "
            "Mind that this group's members can become root.",
        )
    return EngineError(
        f"The Docker Engine does not answer on {path}.",
        f"Start it (systemctl start docker) or see its log (journalctl -u docker). It said: {error}",
        transient=True,
    )


def image_digest(client: docker.DockerClient, image: str) -> str | None:
    """Return the digest that pins `image` on this engine, None where it does not have the image.

    Raises
    ------
    EngineError
        If the engine does not answer.
    """
    try:
        return str(client.images.get(image).id)
    except docker.errors.ImageNotFound:
        return None
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise _unreachable(error) from error


def bridge_address(client: docker.DockerClient | None = None) -> str:
    """Return the address under which containers of the engine reach this machine.

    Raises
    ------
    EngineError
        If the engine does not answer, or has no default bridge.
    """
    engine = client or connect()
    try:
        pools = engine.networks.get("bridge").attrs["IPAM"]["Config"] or []
    except docker.errors.NotFound as error:
        raise EngineError(
            "The Docker Engine has no default bridge network.",
            "Name this machine's address as “hub.api_address” in the lab file.",
        ) from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise _unreachable(error) from error
    finally:
        if client is None:
            engine.close()
    return _gateway(pools)


def _gateway(pools: list[dict[str, str]]) -> str:
    """Return the IPv4 gateway; an engine that was never told one takes the first address of its subnet."""
    for pool in pools:
        subnet = ipaddress.ip_network(pool["Subnet"])
        if subnet.version == 4:
            return pool.get("Gateway") or str(subnet[1])
    raise EngineError(
        "The Docker Engine's default bridge network has no IPv4 address.",
        "Name this machine's address as “hub.api_address” in the lab file.",
    )
