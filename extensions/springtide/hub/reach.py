"""Who reaches whom: whether a batch node is this machine, and whether its sessions can call the hub."""

from __future__ import annotations

import asyncio
import os
import socket

from springtide.environments.engine import bridge_address
from springtide.errors import EngineError
from springtide.lab.fields import is_loopback
from springtide.lab.models import BatchSite, Lab, LocalSite
from springtide.queues.base import Queue
from springtide.queues.model import Capacity

_ANY_PORT = 9
HUB_ADDRESS = "SPRINGTIDE_HUB_ADDRESS"
"""Environment variable by which the supervisor keeps hub, proxy and sessions agreed, whatever happens to Docker."""


def is_this_machine(host: str) -> bool:
    """Whether `host` is an address of this machine's own network. May wait for the name service."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((socket.gethostbyname(host), 0))
    except OSError:
        return False
    return True


def own_address_towards(host: str) -> str:
    """Return this machine's address on the network that leads to `host`, "" where none does. Sends nothing."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((socket.gethostbyname(host), _ANY_PORT))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def bind_error(address: str, port: int) -> str:
    """Return why nothing could listen on `port` of `address` now, "" where it is free."""
    try:
        family, kind, _, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def hub_address(lab: Lab) -> str:
    """Return where the hub's API listens: containers cannot reach loopback, so Docker's bridge where there is one."""
    if fixed := os.environ.get(HUB_ADDRESS):
        return fixed
    if lab.hub.api_address != "auto":
        return lab.hub.api_address
    docker = any(isinstance(site, LocalSite) and site.runtime == "docker" for site in lab.sites.values())
    try:
        return bridge_address() if docker else "127.0.0.1"
    except EngineError:
        return "127.0.0.1"


async def address_to_set(lab: Lab, site: BatchSite, queue: Queue, capacity: Capacity) -> str:
    """Return the `hub.api_address` that the nodes of `site` need, "" where they reach the hub as it is.

    The hub never listens beyond this machine unless its administrator says so, so that other machines' nodes cannot
    call it at first.
    """
    if site.api_address or lab.hub.api_address != "auto" or not capacity.node:
        return ""
    node = await queue.node_address(capacity.node)
    if await asyncio.to_thread(is_this_machine, node):
        return ""
    own = await asyncio.to_thread(own_address_towards, node)
    return "" if not own or is_loopback(own) else own
