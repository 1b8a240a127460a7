"""What machines are made of, by the names that the lab file gives: found once at the cloud, and remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from springtide.clouds.openstack.connection import OpenStackSettings
from springtide.errors import CloudRefused
from springtide.units import format_memory

if TYPE_CHECKING:
    from openstack.connection import Connection

_MOST_NAMED = 12


@dataclass(frozen=True)
class Common:
    """The ids of what all machines have."""

    image: str
    network: str
    floating_network: str


@dataclass(frozen=True)
class _Kind:
    """One kind of thing that a cloud has, and how it is found there."""

    word: str
    finder: Callable[[Connection], Callable[..., Any]]
    every: Callable[[Connection], Iterator[Any]]


_IMAGE = _Kind("image", lambda c: c.image.find_image, lambda c: c.image.images())
_NETWORK = _Kind("network", lambda c: c.network.find_network, lambda c: c.network.networks())
_FLAVOUR = _Kind("flavour", lambda c: c.compute.find_flavor, lambda c: c.compute.flavors())
_GROUP = _Kind("security group", lambda c: c.network.find_security_group, lambda c: c.network.security_groups())
_KEY = _Kind("key pair", lambda c: c.compute.find_keypair, lambda c: c.compute.keypairs())


class Parts:
    """Finds them; all methods ask the cloud, and raise what the library raises where it does not answer."""

    def __init__(self, settings: OpenStackSettings) -> None:
        self.settings = settings
        self._common: Common | None = None
        self._flavours: dict[str, str] = {}

    def forget(self) -> None:
        """Look again next time: what was found may have been replaced."""
        self._common = None
        self._flavours = {}

    def common(self, connection: Connection) -> Common:
        """Return the ids of what all machines have.

        Raises
        ------
        CloudRefused
            If the cloud has none of that name.
        """
        if self._common is None:
            image = self._found(connection, _IMAGE, self.settings.image)
            if image.status != "active":
                raise CloudRefused(f"The image {self.settings.image} cannot be used: it is {image.status}.")
            network, floating = (
                self._found(connection, _NETWORK, name).id if name else ""
                for name in (self.settings.network, self.settings.floating_network)
            )
            self._common = Common(image.id, network, floating)
        return self._common

    def flavour(self, connection: Connection, name: str) -> str:
        """Return the id of a flavour.

        Raises
        ------
        CloudRefused
            If the lab does not offer it, or the cloud has none of that name.
        """
        offered = [flavour.name for flavour in self.settings.flavours]
        if name not in offered:
            raise CloudRefused(f"There is no flavour {name!r}.", f"There are: {', '.join(offered)}.")
        if name not in self._flavours:
            self._flavours[name] = self._found(connection, _FLAVOUR, name).id
        return self._flavours[name]

    def missing(self, connection: Connection) -> Iterator[tuple[str, CloudRefused]]:
        """Yield what is named and is not there, or is other than the lab file says, each with why."""
        for kind, name in self._named():
            try:
                found = self._found(connection, kind, name)
                if kind is _FLAVOUR:
                    self._compare(name, found)
            except CloudRefused as error:
                yield f"{kind.word} {name}", error

    def _named(self) -> list[tuple[_Kind, str]]:
        settings = self.settings
        named = [(_IMAGE, settings.image), (_NETWORK, settings.network), (_NETWORK, settings.floating_network)]
        named += [(_GROUP, name) for name in settings.security_groups]
        named += [(_KEY, settings.key_name), *((_FLAVOUR, flavour.name) for flavour in settings.flavours)]
        return [(kind, name) for kind, name in named if name]

    def _compare(self, name: str, found: Any) -> None:
        [said] = [flavour for flavour in self.settings.flavours if flavour.name == name]
        there = (found.vcpus, found.ram * 2**20)
        if there[0] < said.cores or there[1] < said.memory_bytes:
            raise CloudRefused(
                f"The flavour {said.name} has {there[0]} cores and {format_memory(there[1])}: less than the lab file "
                f"says, {said.cores} cores and {format_memory(said.memory_bytes)}.",
                "Write into the lab file what it has.",
            )

    def _found(self, connection: Connection, kind: _Kind, name: str) -> Any:
        from openstack.exceptions import NotFoundException

        try:
            return kind.finder(connection)(name, ignore_missing=False)
        except NotFoundException as error:
            there = sorted(str(one.name) for one in islice(kind.every(connection), _MOST_NAMED + 1))
            more = ["…"] if len(there) > _MOST_NAMED else []
            known = f"There are: {', '.join([*there[:_MOST_NAMED], *more])}." if there else "There is none at all."
            raise CloudRefused(f"The cloud {self.settings.cloud} has no {kind.word} “{name}”.", known) from error
