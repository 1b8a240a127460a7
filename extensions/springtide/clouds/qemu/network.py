"""The network of the machines: a bridge of this machine for root, QEMU's own for everybody else.

On the bridge, machines reach this machine and each other, and nothing beyond but the networks that are named. The
user-mode network needs no rights, and leads one way: a machine reaches this machine (as 10.0.2.2) and what this
machine reaches, but nothing can connect to it, so that Dask's workers cannot exchange results with each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from springtide.clouds.qemu.programs import run
from springtide.errors import CloudError, CloudRefused

USER_MODE_GATEWAY = "10.0.2.2"
"""Where a machine on the user-mode network finds the machine that runs it."""
_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000


@dataclass(frozen=True)
class Bridge:
    """A bridge of this machine, named after its network; it belongs to one folder of machines."""

    network: ipaddress.IPv4Network
    owner: Path
    reachable: tuple[str, ...] = ()
    """Further networks that this machine leads to, and that its machines may exchange data with."""

    @property
    def name(self) -> str:
        """The device's name."""
        return "spt" + sha256(str(self.network).encode()).hexdigest()[:8]

    @property
    def gateway(self) -> str:
        """This machine's address on it."""
        return str(self.network[1])

    def free_address(self, taken: Collection[str]) -> str:
        """Return an address that no machine has.

        Raises
        ------
        CloudRefused
            If all are taken.
        """
        for host in self.network.hosts():
            if str(host) not in taken and str(host) != self.gateway:
                return str(host)
        raise CloudRefused(f"All addresses of {self.network} are taken.", transient=True)

    def set_up(self) -> None:
        """Have the bridge, its address and its rules; what is there already stays.

        Raises
        ------
        CloudRefused
            If other machines, or another network of this machine, use the addresses.
        """
        self._check_addresses()
        if not self.exists:
            run(["ip", "link", "add", self.name, "type", "bridge"])
        run(["ip", "link", "set", self.name, "alias", self._alias])
        run(["ip", "address", "replace", f"{self.gateway}/{self.network.prefixlen}", "dev", self.name])
        run(["ip", "link", "set", self.name, "up"])
        if self._forwarding_is_dropped():
            for rule in self._rules():
                if not _has_rule(rule):
                    run(["iptables", "--wait", "--insert", "FORWARD", *rule])

    def take_down(self) -> None:
        """Remove what `set_up` made; what is not there is no error."""
        if not self.exists or self._owner_alias() not in ("", self._alias):
            return
        for rule in self._rules():
            with contextlib.suppress(CloudError):
                if _has_rule(rule):
                    run(["iptables", "--wait", "--delete", "FORWARD", *rule])
        run(["ip", "link", "delete", self.name])

    @property
    def exists(self) -> bool:
        """Whether the device is there."""
        return Path("/sys/class/net", self.name).exists()

    @property
    def _alias(self) -> str:
        return f"springtide {self.owner}"[:250]

    def _owner_alias(self) -> str:
        return Path("/sys/class/net", self.name, "ifalias").read_text(encoding="utf-8").strip()

    def _check_addresses(self) -> None:
        if self.exists and (other := self._owner_alias()) not in ("", self._alias):
            raise CloudRefused(
                f"The network {self.network} belongs to other machines of this host ({other}).",
                "Give this site another network.",
            )
        for device in json.loads(run(["ip", "-json", "-4", "address"])):
            for address in device.get("addr_info", ()):
                other_network = ipaddress.ip_network(f"{address['local']}/{address['prefixlen']}", strict=False)
                if device["ifname"] != self.name and other_network.overlaps(self.network):
                    raise CloudRefused(
                        f"The network {self.network} overlaps {other_network} of {device['ifname']} on this host.",
                        "Give this site another network.",
                    )

    def _forwarding_is_dropped(self) -> bool:
        """Whether this machine drops what is to be forwarded, as it does once the Docker Engine has started.

        Docker also has traffic between two ports of a bridge asked about, which would else need no rule.
        """
        try:
            return "-P FORWARD DROP" in run(["iptables", "--wait", "--list-rules", "FORWARD"]).splitlines()
        except CloudError:
            return False

    def _rules(self) -> Iterator[tuple[str, ...]]:
        yield ("-i", self.name, "-o", self.name, "-j", "ACCEPT")
        for network in self.reachable:
            yield ("-i", self.name, "-d", network, "-j", "ACCEPT")
            yield ("-o", self.name, "-s", network, "-j", "ACCEPT")


def _has_rule(rule: tuple[str, ...]) -> bool:
    try:
        run(["iptables", "--wait", "--check", "FORWARD", *rule])
    except CloudError:
        return False
    return True


@contextmanager
def tap(bridge: Bridge, name: str) -> Iterator[int]:
    """Yield a file descriptor of a new port of `bridge`, for the machine to inherit.

    The port is gone when the last process that holds the descriptor is: there is nothing to clean up.
    """
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
        run(["ip", "link", "set", name, "master", bridge.name, "up"])
        yield descriptor
    except OSError as error:
        raise CloudError(f"The port {name} of {bridge.name} cannot be made: {error}") from error
    finally:
        os.close(descriptor)
