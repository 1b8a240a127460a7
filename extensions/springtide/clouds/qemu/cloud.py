"""The cloud that this machine is."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from springtide.clouds.base import Cloud, Flavour, MachineInfo, MachineSpec
from springtide.clouds.qemu.folder import (
    ID,
    About,
    MachineFolder,
    all_folders,
    id_of,
    new_folder,
    sweep,
)
from springtide.clouds.qemu.image import GuestImage, Progress, build_image
from springtide.clouds.qemu.network import USER_MODE_GATEWAY, Bridge
from springtide.clouds.qemu.start import find_accelerator, make_disks, start
from springtide.errors import CloudRefused, CloudUnreachable
from springtide.units import format_memory

T = TypeVar("T")

DEFAULT_NETWORK = "10.78.0.0/24"
DEFAULT_FLAVOURS = (
    Flavour("small", cores=1, memory_bytes=2**30),
    Flavour("medium", cores=2, memory_bytes=4 * 2**30),
)
_LONGEST_LIFE_S = 12 * 3600
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_THREADS = 4


@dataclass(frozen=True)
class QemuSettings:
    """Where machines are kept and what they may take of this machine."""

    state: Path
    """Folder of the machines; made for its owner alone."""
    image: str
    """Container image that the machines start from: the environment's own."""
    images: Path
    """Folder in which machine images are kept, once made."""
    flavours: tuple[Flavour, ...] = DEFAULT_FLAVOURS
    network: str = DEFAULT_NETWORK
    """Addresses of the machines, for root. Where it is empty, and for an ordinary user, each machine is on a network of
    QEMU's own."""
    reachable: tuple[str, ...] = ()
    """Further networks that machines may exchange data with, such as that of the batch nodes."""
    maximum_machines: int = 4
    """How many may run at once."""
    maximum_memory_bytes: int = 8 * 2**30
    """How much memory all may have together."""
    disk_bytes: int = 8 * 2**30
    """What each may write; taken from this machine's disk as it is written."""
    lifetime_s: int = _LONGEST_LIFE_S
    """A machine powers itself off after that time, whatever it does."""
    progress: Progress = field(default=lambda _: None, compare=False)
    """Told what is done while an image is built, a short line at a time."""


class QemuCloud(Cloud):
    """Machines of this machine."""

    kind = "qemu"

    def __init__(self, settings: QemuSettings) -> None:
        self.settings = settings
        self._place = settings.state / "machines"
        self._bridge = _bridge(settings)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="springtide-qemu")

    @property
    def host_address(self) -> str:
        """Where the machines find this machine; an address of its own from `prepare` or the first machine on."""
        return self._bridge.gateway if self._bridge else USER_MODE_GATEWAY

    async def flavours(self) -> tuple[Flavour, ...]:
        """Return the sizes on offer."""
        return self.settings.flavours

    async def prepare(self) -> str:
        """Have the machine image and the network, which goes with the last machine."""
        await self._aside(self._prepare)
        return self.host_address

    async def create(self, spec: MachineSpec, token: str) -> MachineInfo:
        """Start a machine, or return the one that has this token; return when QEMU runs it."""
        return await self._aside(lambda: self._create(spec, token))

    async def machines(self, tag: str = "") -> tuple[MachineInfo, ...]:
        """Return the machines, stopped ones included."""
        found = await self._aside(self._all)
        return tuple(info for info in found if tag in ("", info.tag))

    async def destroy(self, ids: Collection[str]) -> None:
        """End machines and remove their folders; with the last one goes the network."""
        await self._aside(lambda: self._destroy(ids))

    async def console(self, machine_id: str) -> str:
        """Return the end of what the machine printed."""
        if not ID.fullmatch(machine_id):
            return ""
        return await self._aside(MachineFolder(self._place / machine_id).console_text)

    async def close(self) -> None:
        """Give back the threads; machines stay."""
        self._threads.shutdown(wait=False)

    async def _aside(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            raise CloudUnreachable(f"The machines in {self._place} cannot be used: {error}") from error

    # --- in a thread ------------------------------------------------------------------------------------------------

    def _image(self) -> GuestImage:
        return build_image(self.settings.image, self.settings.images, self.settings.progress)

    def _prepare(self) -> None:
        self._image()
        with self._alone():
            if self._bridge:
                self._bridge.set_up()

    def _create(self, spec: MachineSpec, token: str) -> MachineInfo:
        flavour = self._flavour(spec)
        image = self._image()
        with self._alone():
            accelerator = find_accelerator(image, self.settings.state / "accelerator.json")
            sweep(self._place)
            machine = MachineFolder(self._place / id_of(token))
            about = machine.about()
            if about and machine.was_started:
                return machine.info()
            self._check_room(flavour, machine)
            if self._bridge:
                self._bridge.set_up()
            if not about:
                about = self._describe(spec, token, flavour)
                with new_folder(self._place, about) as folder:
                    make_disks(folder, spec.user_data, about.name, self.settings.disk_bytes)
            try:
                start(machine, about, image, accelerator, self._bridge, self.settings.lifetime_s)
            except CloudRefused:
                self._remove(machine)
                raise
            return machine.info()

    def _flavour(self, spec: MachineSpec) -> Flavour:
        if not _NAME.fullmatch(spec.name):
            raise CloudRefused(f"{spec.name!r} is no name for a machine.", "1 to 63 letters, digits and '-'.")
        for flavour in self.settings.flavours:
            if flavour.name == spec.flavour:
                return flavour
        known = ", ".join(flavour.name for flavour in self.settings.flavours)
        raise CloudRefused(f"There is no flavour {spec.flavour!r}.", f"There are: {known}.")

    def _check_room(self, flavour: Flavour, but: MachineFolder) -> None:
        running = [one.about() for one in all_folders(self._place) if one.id != but.id and one.is_alive]
        if len(running) >= self.settings.maximum_machines:
            raise CloudRefused(
                f"{len(running)} machines run already, which is the most that are allowed.", transient=True
            )
        taken = sum(about.memory_bytes for about in running if about)
        if taken + flavour.memory_bytes > self.settings.maximum_memory_bytes:
            raise CloudRefused(
                f"{format_memory(taken)} of the {format_memory(self.settings.maximum_memory_bytes)} that machines may "
                f"have are taken, and {flavour.name} needs {format_memory(flavour.memory_bytes)}.",
                transient=taken > 0,
            )

    def _describe(self, spec: MachineSpec, token: str, flavour: Flavour) -> About:
        taken = {about.address for one in all_folders(self._place) if (about := one.about())}
        return About(
            token=token,
            tag=spec.tag,
            name=spec.name,
            flavour=flavour.name,
            cores=flavour.cores,
            memory_bytes=flavour.memory_bytes,
            address=self._bridge.free_address(taken) if self._bridge else "",
            created=time.time(),
        )

    def _all(self) -> list[MachineInfo]:
        if not self._place.exists():
            return []
        with self._alone(shared=True):
            return [machine.info() for machine in all_folders(self._place)]

    def _destroy(self, ids: Collection[str]) -> None:
        if not self._place.exists():
            return
        with self._alone():
            for machine_id in filter(ID.fullmatch, ids):
                self._remove(MachineFolder(self._place / machine_id))
            sweep(self._place)
            if self._bridge and not all_folders(self._place):
                self._bridge.take_down()

    def _remove(self, machine: MachineFolder) -> None:
        machine.kill()
        machine.remove()

    @contextmanager
    def _alone(self, *, shared: bool = False) -> Iterator[None]:
        """Hold the lock of all machines, which the system releases even when its holder is killed."""
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.settings.state / "lock").open("ab") as lock:
            with contextlib.suppress(PermissionError):
                os.fchmod(lock.fileno(), 0o600)
            fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield


def _bridge(settings: QemuSettings) -> Bridge | None:
    if os.geteuid() != 0 or not settings.network:
        return None
    return Bridge(ipaddress.IPv4Network(settings.network), settings.state, settings.reachable)
