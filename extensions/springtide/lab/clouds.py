"""The clouds of a lab: sites where virtual machines are made, with what they offer, cost, and may cost together."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from springtide.lab.fields import (
    PRIVATE_NETWORKS,
    AbsolutePath,
    Duration,
    FilledLine,
    ImageReference,
    LabPath,
    Memory,
    OneLine,
    StateDirectory,
    check_whole,
    wrong,
)
from springtide.lab.parts import Model, Text
from springtide.units import format_memory

FLAVOUR_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
_FLAVOUR = re.compile(FLAVOUR_PATTERN)
_NETWORK_FORM = "a private IPv4 network of 6 to 65534 addresses, e.g. 10.78.0.0/24"
_SMALLEST_NETWORK, _LARGEST_NETWORK = 29, 16
_SHORTEST_LIFE_S = 60


def _check_flavour_name(name: str) -> str:
    if not _FLAVOUR.fullmatch(name):
        raise wrong("is not a flavour's name", found=repr(name), allowed="1 to 63 letters, digits and '._-'")
    return name


def _check_network(text: str) -> str:
    if not text:
        return text
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        raise wrong("is not a network", allowed=_NETWORK_FORM) from None
    private = any(network.subnet_of(one) for one in PRIVATE_NETWORKS)
    if not (private and _LARGEST_NETWORK <= network.prefixlen <= _SMALLEST_NETWORK):
        raise wrong("is not a network that machines can have", allowed=_NETWORK_FORM)
    return str(network)


def _check_reachable(text: str) -> str:
    try:
        return str(ipaddress.IPv4Network(text))
    except ValueError:
        raise wrong("is not a network", allowed="an IPv4 network, e.g. 10.77.0.0/16") from None


def _check_lifetime(seconds: int) -> int:
    if seconds < _SHORTEST_LIFE_S:
        raise wrong("is too short for a machine to start and work", allowed="a minute or more")
    return seconds


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise wrong("is not an amount", allowed="a number without quotes, 0 or more")
    return value


FlavourName = Annotated[str, AfterValidator(_check_flavour_name)]
MachineNetwork = Annotated[str, AfterValidator(_check_network)]
ReachableNetwork = Annotated[str, AfterValidator(_check_reachable)]
MachineCount = Annotated[int, Field(ge=1, le=10_000), BeforeValidator(check_whole)]
CoreCount = Annotated[int, Field(ge=1, le=4096), BeforeValidator(check_whole)]
Amount = Annotated[
    float,
    Field(ge=0, le=1e9, allow_inf_nan=False),
    BeforeValidator(_number),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1e9}),
]
Lifetime = Annotated[Duration, AfterValidator(_check_lifetime)]


class MachineSize(Model):
    """A size of machine, and what an hour of it costs."""

    cores: CoreCount
    """Processor cores."""
    memory: Memory
    """Memory."""
    price_per_hour: Amount = 0.0
    """What an hour costs, in the site's currency; 0: nothing."""


class Budget(Model):
    """The most that a cloud's machines may cost: a number (for each month), or ``{amount, per}``."""

    amount: Amount
    """How much, in the site's currency."""
    per: Literal["day", "week", "month", "year"] = "month"
    """For each day, week, month or year of the calendar (UTC)."""

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        if value is None or isinstance(value, dict | cls):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong("is no budget", allowed="an amount for each month, or {amount: 50, per: week}")
        return {"amount": value}


_SMALL = MachineSize(cores=1, memory=2**30)
_MEDIUM = MachineSize(cores=2, memory=4 * 2**30)


class _CloudSite(Model):
    """What all clouds have."""

    label: Text | None = None
    """Shown to people."""
    optional: bool = False
    """Used only where it answers; one that does not is said by the doctor, not an error."""
    maximum_machines: MachineCount = 4
    """How many machines there may be at once."""
    lifetime: Lifetime = 12 * 3600
    """A machine ends by itself after that time, whatever it does; the budget is reserved for it."""
    billing_quantum: Duration = 60
    """Machines are billed in whole steps of this length, e.g. ``1h``."""
    currency: FilledLine = "EUR"
    """What prices and the budget are in."""
    budget: Budget | None = None
    """The most that all machines of the site may cost together: none is made that could cost more. Default: no
    limit."""


class QemuSite(_CloudSite):
    """Virtual machines of this machine, by QEMU."""

    kind: Literal["qemu"]
    """Virtual machines of this machine, by QEMU."""
    image: ImageReference = ""
    """Container image that machines start from, with the environment of the workers. Default: that of ``base``."""
    flavours: Annotated[dict[FlavourName, MachineSize], Field(min_length=1)] = {"small": _SMALL, "medium": _MEDIUM}
    """Sizes of machine by name."""
    network: MachineNetwork = "10.78.0.0/24"
    """Addresses of the machines, on a bridge of this machine that only root can make. Empty, or not root: each machine
    is on a network of its own, from which it reaches this machine, but not the others."""
    reachable: tuple[ReachableNetwork, ...] = ()
    """Further networks that machines may exchange data with, such as that of the batch nodes."""
    maximum_memory: Memory = 8 * 2**30
    """Memory that all machines may have together."""
    disk: Memory = 8 * 2**30
    """What each machine may write; taken from this machine's disk as it is written."""
    directory: StateDirectory | None = None
    """Where machines and their images are kept. Default: ``clouds`` in the state directory."""

    @model_validator(mode="after")
    def _flavours_fit(self) -> QemuSite:
        for name, size in self.flavours.items():
            if size.memory > self.maximum_memory:
                raise wrong(
                    f"is less than the flavour {name} has",
                    found=format_memory(self.maximum_memory),
                    allowed=f"{format_memory(size.memory)} or more",
                    key="maximum_memory",
                )
        return self


class OpenStackSite(_CloudSite):
    """Virtual machines of an OpenStack cloud. Names may be ids, too."""

    kind: Literal["openstack"]
    """Virtual machines of an OpenStack cloud."""
    cloud: FilledLine
    """Its name in ``clouds.yaml``, where its address and login stand."""
    clouds_file: LabPath | None = None
    """The ``clouds.yaml``. Default: that of ``~/.config/openstack`` or ``/etc/openstack``."""
    image: FilledLine
    """Image of the cloud that machines start from: with cloud-init, and with the environment of the workers."""
    python: AbsolutePath = ""
    """The environment's Python in the image. Default: ``python3``."""
    flavours: Annotated[dict[FilledLine, MachineSize], Field(min_length=1)]
    """Sizes of machine: of the cloud's flavours, by their names, those that may be used."""
    network: OneLine = ""
    """Network of the machines; workers, scheduler and batch nodes reach each other through it. Default: the cloud's
    choice."""
    security_groups: tuple[FilledLine, ...] = ()
    """What may reach the machines. Default: what the project's group ``default`` allows."""
    key_name: OneLine = ""
    """Key pair by which an administrator may log in to machines. Default: none."""
    availability_zone: OneLine = ""
    """Zone that machines are made in. Default: the cloud's choice."""
    floating_network: OneLine = ""
    """Network of which each machine gets a floating address, that goes with it. Default: none."""
    disk: Memory | None = None
    """Root disk of each machine, as a volume that goes with it. Default: that of its flavour, which may have none."""
    request_timeout: Duration = 30
    """The cloud may be silent for so long until it counts as unreachable."""


CloudSite = QemuSite | OpenStackSite
"""Of every kind there is."""
