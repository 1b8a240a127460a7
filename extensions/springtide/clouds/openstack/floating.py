"""Floating addresses: each belongs to one machine, is made when that runs, and goes with it.

It carries the machine's id in its description and is made for the machine's port in one request, so that one of ours
without a port is always a leftover.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from springtide.clouds.base import MachineInfo
from springtide.clouds.openstack.servers import info_of, wants_floating_address

if TYPE_CHECKING:
    from openstack.compute.v2.server import Server
    from openstack.connection import Connection

_MARK = "springtide machine "


def supplied(connection: Connection, server: Server, cloud: str) -> MachineInfo:
    """Return what is known of a server, after it got the floating address that it lacks.

    Where the cloud has none left the machine's reason says so; the next look tries again.
    """
    from openstack.exceptions import SDKException

    from springtide.clouds.openstack.answers import explained

    info = info_of(server)
    network = wants_floating_address(server)
    if not network:
        return info
    try:
        port = next(iter(connection.network.ports(device_id=server.id)), None)
        if port is None:
            return info
        # Nova shows a new one some time later.
        made = next(iter(connection.network.ips(port_id=port.id)), None) or connection.network.create_ip(
            floating_network_id=network, port_id=port.id, description=f"{_MARK}{server.id}"
        )
    except SDKException as error:
        return replace(info, reason=f"no floating address: {explained(error, cloud).message}")
    return replace(info, address=str(made.floating_ip_address))


def release(connection: Connection, ids: Collection[str]) -> None:
    """Remove the floating addresses of these machines, and all of ours that no machine has any more."""
    for address in list(connection.network.ips()):
        machine = str(address.description or "")
        if not machine.startswith(_MARK):
            continue
        if machine.removeprefix(_MARK) in ids or not address.port_id:
            connection.network.delete_ip(address.id, ignore_missing=True)
