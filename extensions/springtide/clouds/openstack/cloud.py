"""An OpenStack cloud, behind the contract of all clouds."""

from __future__ import annotations

import asyncio
import base64
import math
import re
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from springtide.clouds.base import Cloud, Flavour, MachineInfo, MachineSpec
from springtide.clouds.openstack import floating, servers
from springtide.clouds.openstack.connection import Door, OpenStackSettings, as_unreachable
from springtide.clouds.openstack.parts import Parts
from springtide.errors import CloudError, CloudRefused, CloudUnreachable

if TYPE_CHECKING:
    from openstack.compute.v2.server import Server
    from openstack.connection import Connection

T = TypeVar("T")

_THREADS = 4
_REQUESTS = 6
"""What is done in one go takes so many requests at most: the login, the catalogue, what is asked for, and a look."""
_CONSOLE_LINES = 1000
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class OpenStackCloud(Cloud):
    """Machines of one project on an OpenStack cloud."""

    kind = "openstack"

    def __init__(self, settings: OpenStackSettings) -> None:
        self.settings = settings
        self._door = Door(settings)
        self._parts = Parts(settings)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="springtide-openstack")
        self._making: dict[str, threading.Lock] = {}

    async def flavours(self) -> tuple[Flavour, ...]:
        """Return the sizes that the lab offers, of those that the cloud has."""
        return self.settings.flavours

    async def prepare(self) -> str:
        """Log in, and find what machines are made of. The address of this machine is not known to the cloud."""
        await self._aside(self._prepare)
        return ""

    async def lacks(self) -> dict[str, CloudRefused]:
        """Return what the settings name and the cloud does not have, with why. Called by the doctor.

        Raises
        ------
        CloudError
            If the cloud did not answer, or cannot be asked.
        """
        return await self._aside(self._lacks)

    async def create(self, spec: MachineSpec, token: str) -> MachineInfo:
        """Ask for a machine, or return the one that has this token."""
        return await self._aside(lambda: self._create(spec, token))

    async def machines(self, tag: str = "") -> tuple[MachineInfo, ...]:
        """Return the machines, stopped ones included; on the way, those that lack a floating address get one."""
        try:
            found = await self._aside(self._all)
        except CloudError as error:
            raise as_unreachable(error) from error
        return tuple(info for info in found if tag in ("", info.tag))

    async def destroy(self, ids: Collection[str]) -> None:
        """Remove machines, and floating addresses that were made for any that is gone."""
        removals = [lambda one=one: self._remove(one) for one in dict.fromkeys(ids) if _ID.fullmatch(one)]
        results = await asyncio.gather(*map(self._aside, removals), return_exceptions=True)
        if self.settings.floating_network:
            results += await asyncio.gather(self._aside(lambda: self._release(ids)), return_exceptions=True)
        for error in results:
            if isinstance(error, CloudError):
                raise as_unreachable(error) from error
            if isinstance(error, BaseException):
                raise error

    async def console(self, machine_id: str) -> str:
        """Return the end of what the machine printed, where the cloud tells it."""
        if not _ID.fullmatch(machine_id):
            return ""
        try:
            return await self._aside(lambda: self._console(machine_id))
        except CloudRefused:
            return ""  # not there, not started yet, or a cloud that shows none

    async def close(self) -> None:
        """Give back connections and threads; machines stay."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._door.close)

    async def _aside(self, work: Callable[[], T]) -> T:
        """Do what blocks in a thread, and wait for it no longer than its requests may take."""
        longest_s = _REQUESTS * self.settings.request_s
        try:
            async with asyncio.timeout(longest_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError as error:
            words = f"The cloud {self.settings.cloud} did not answer within {longest_s:g} s."
            raise CloudUnreachable(words) from error

    # --- in a thread ------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        with self._door.open() as connection:
            self._parts.common(connection)

    def _lacks(self) -> dict[str, CloudRefused]:
        with self._door.open() as connection:
            return dict(self._parts.missing(connection))

    def _create(self, spec: MachineSpec, token: str) -> MachineInfo:
        # One that is asked for again while the first request still hangs has to wait for that.
        with self._making.setdefault(token, threading.Lock()):
            found = self._with_token(token) or self._made(spec, token)
            first, *others = found
            for other in others:
                # Of two that asked at once both decide alike.
                self._remove(str(other.id))
            return servers.info_of(first)

    def _made(self, spec: MachineSpec, token: str) -> list[Server]:
        try:
            with self._door.open() as connection:
                new = connection.compute.create_server(**self._wish(connection, spec, token))
        except CloudRefused:
            self._parts.forget()
            raise
        except CloudUnreachable:
            # The answer may have been lost, and not the machine.
            if found := self._with_token(token):
                return found
            raise
        try:
            return self._with_token(token) or [new]
        except CloudUnreachable:
            return [new]

    def _wish(self, connection: Connection, spec: MachineSpec, token: str) -> dict[str, Any]:
        settings, common = self.settings, self._parts.common(connection)
        wish: dict[str, Any] = {
            "name": spec.name,
            "flavor_id": self._parts.flavour(connection, spec.flavour),
            "networks": [{"uuid": common.network}] if common.network else "auto",
            "metadata": servers.metadata_of(spec, token, common.floating_network),
            "user_data": base64.b64encode(spec.user_data.encode()).decode(),
        }
        if settings.disk_bytes:
            wish["block_device_mapping"] = [_root_volume(common.image, settings.disk_bytes)]
        else:
            wish["image_id"] = common.image
        if settings.security_groups:
            wish["security_groups"] = [{"name": name} for name in settings.security_groups]
        if settings.key_name:
            wish["key_name"] = settings.key_name
        if settings.availability_zone:
            wish["availability_zone"] = settings.availability_zone
        return wish

    def _servers(self) -> list[Server]:
        with self._door.open() as connection:
            return servers.ours(connection.compute.servers(details=True))

    def _with_token(self, token: str) -> list[Server]:
        return [one for one in self._servers() if servers.token_of(one) == token]

    def _all(self) -> list[MachineInfo]:
        with self._door.open() as connection:
            found = servers.ours(connection.compute.servers(details=True))
            return [floating.supplied(connection, server, self.settings.cloud) for server in found]

    def _remove(self, machine_id: str) -> None:
        with self._door.open() as connection:
            connection.compute.delete_server(machine_id, ignore_missing=True)

    def _release(self, ids: Collection[str]) -> None:
        with self._door.open() as connection:
            floating.release(connection, ids)

    def _console(self, machine_id: str) -> str:
        with self._door.open() as connection:
            answer = connection.compute.get_server_console_output(machine_id, length=_CONSOLE_LINES)
        return str(answer.get("output") or "")


def _root_volume(image: str, disk_bytes: int) -> dict[str, Any]:
    return {
        "boot_index": 0,
        "source_type": "image",
        "uuid": image,
        "destination_type": "volume",
        "volume_size": math.ceil(disk_bytes / 2**30),
        "delete_on_termination": True,
    }
