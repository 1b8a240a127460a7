"""From what Nova says of a server to what is known of a machine. Pure functions and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from springtide.clouds.base import MachineInfo, MachineSpec, MachineState

if TYPE_CHECKING:
    from openstack.compute.v2.server import Server

TOKEN, TAG, FLAVOUR = "springtide-token", "springtide-tag", "springtide-flavour"
"""Keys of a machine's metadata. All of a project's users can read them: a token is no secret."""
FLOATING = "springtide-floating-network"
"""Key of the network of which it is to have a floating address."""

_STATES = {
    "BUILD": MachineState.CREATING,
    "REBUILD": MachineState.CREATING,
    "ACTIVE": MachineState.RUNNING,
    "HARD_REBOOT": MachineState.RUNNING,
    "MIGRATING": MachineState.RUNNING,
    "PASSWORD": MachineState.RUNNING,
    "REBOOT": MachineState.RUNNING,
    "RESCUE": MachineState.RUNNING,
    "RESIZE": MachineState.RUNNING,
    "REVERT_RESIZE": MachineState.RUNNING,
    "VERIFY_RESIZE": MachineState.RUNNING,
    "PAUSED": MachineState.STOPPED,
    "SHELVED": MachineState.STOPPED,
    "SHELVED_OFFLOADED": MachineState.STOPPED,
    "SHUTOFF": MachineState.STOPPED,
    "STOPPED": MachineState.STOPPED,
    "SUSPENDED": MachineState.STOPPED,
    "ERROR": MachineState.FAILED,
}
_GONE = ("DELETED", "SOFT_DELETED")
# Nova sees within seconds that a machine has powered itself off, and changes its status minutes later.
_POWERED_OFF = {4: MachineState.STOPPED, 6: MachineState.FAILED}
_DELETING = ("deleting", "soft-deleting")


def metadata_of(spec: MachineSpec, token: str, floating_network: str) -> dict[str, str]:
    """Return what a new machine carries, so that it is found again."""
    metadata = {TOKEN: token, TAG: spec.tag, FLAVOUR: spec.flavour}
    return metadata | ({FLOATING: floating_network} if floating_network else {})


def ours(servers: Iterable[Server]) -> list[Server]:
    """Return those that exist and carry a token of ours, the oldest first."""
    found = [one for one in servers if TOKEN in _metadata(one) and one.status not in _GONE]
    return sorted(found, key=lambda one: (str(one.created_at), str(one.id)))


def token_of(server: Server) -> str:
    """Return the token of a server of ours."""
    return _metadata(server)[TOKEN]


def info_of(server: Server) -> MachineInfo:
    """Return a server as the contract tells it."""
    metadata = _metadata(server)
    state, reason = _state(server)
    return MachineInfo(
        id=str(server.id),
        token=metadata.get(TOKEN, ""),
        tag=metadata.get(TAG, ""),
        name=str(server.name),
        state=state,
        flavour=metadata.get(FLAVOUR, ""),
        address=_address(server.addresses or {}),
        created=datetime.fromisoformat(server.created_at).timestamp() if server.created_at else None,
        reason=reason,
    )


def wants_floating_address(server: Server) -> str:
    """Return the network of which a server is to have a floating address and has none yet; empty: none."""
    runs = server.status == "ACTIVE" and server.task_state not in _DELETING
    kinds = {one.get("OS-EXT-IPS:type") for one in _addresses(server.addresses or {})}
    return _metadata(server).get(FLOATING, "") if runs and "floating" not in kinds else ""


def _metadata(server: Server) -> Mapping[str, str]:
    return server.metadata or {}


def _state(server: Server) -> tuple[MachineState, str]:
    status = str(server.status)
    if server.task_state in _DELETING:
        return MachineState.STOPPED, "it is being deleted"
    if status == "ERROR":
        return MachineState.FAILED, str((server.fault or {}).get("message") or "the cloud says no more than ERROR")
    if status == "ACTIVE" and server.power_state in _POWERED_OFF:
        return _POWERED_OFF[server.power_state], "it is powered off"
    if status in _STATES:
        state = _STATES[status]
        return state, "" if state in (MachineState.CREATING, MachineState.RUNNING) else f"its status is {status}"
    # A machine that the cloud has lost sight of may run: its lifetime ends it, not a guess.
    return MachineState.RUNNING, f"its status is {status}"


def _addresses(networks: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [address for addresses in networks.values() for address in addresses]


def _address(networks: Mapping[str, Any]) -> str:
    """Return the address that others reach it by: floating before fixed, IPv4 before IPv6."""

    def rank(address: Mapping[str, Any]) -> tuple[bool, bool]:
        return address.get("OS-EXT-IPS:type") != "floating", address.get("version") != 4

    found = sorted(_addresses(networks), key=rank)
    return str(found[0]["addr"]) if found else ""
