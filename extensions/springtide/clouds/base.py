"""What every cloud does, whatever its API.

UNREACHABLE and GONE are never mixed up: a cloud that cannot be asked raises `CloudUnreachable`; a machine that an
answering cloud does not know is absent from `machines`.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field


class MachineState(enum.Enum):
    """Where a virtual machine is in its life, in words common to all clouds."""

    CREATING = "creating"
    """Accepted by the cloud, and not running yet."""
    RUNNING = "running"
    """Powered on; what runs inside may not be ready."""
    STOPPED = "stopped"
    """Powered off, by itself or by somebody; it still exists, and may still cost money."""
    FAILED = "failed"
    """The cloud could not make it; it still exists there."""


@dataclass(frozen=True)
class Flavour:
    """A size of machine that a cloud offers."""

    name: str
    cores: int
    memory_bytes: int
    price_per_hour: float = 0.0


@dataclass(frozen=True)
class MachineSpec:
    """A virtual machine to be made."""

    name: str
    flavour: str
    user_data: str = field(repr=False)
    """A ``#!/bin/sh`` script that the machine runs once, as root, when it has started: cloud-init takes it, and so does
    a small init of one's own. Readable through the cloud's metadata service: nothing but short-lived keys in it."""
    tag: str
    """Whose machine it is: of one hub, or of one Dask cluster. `machines` finds by it."""


@dataclass(frozen=True)
class MachineInfo:
    """One virtual machine, as its cloud tells it."""

    id: str
    token: str
    """Of its row in the ledger; empty where the machine has none of ours."""
    tag: str
    name: str
    state: MachineState
    flavour: str = ""
    address: str = ""
    """Where it can be reached, once the cloud knows."""
    created: float | None = None
    """Seconds since 1970 (UTC)."""
    reason: str = ""
    """The cloud's own words, where something went wrong."""


class Cloud(ABC):
    """A cloud account, reached through its API. No method blocks the event loop."""

    kind: str

    @abstractmethod
    async def flavours(self) -> tuple[Flavour, ...]:
        """Return the sizes on offer. Called by the doctor and by policies, and before the first machine is made.

        Raises
        ------
        CloudUnreachable
            If the cloud did not answer.
        """

    async def prepare(self) -> str:
        """Have ready what the first machine would else wait for; return this machine's address as machines reach it.

        Empty where the cloud cannot know it. Called before a scheduler listens for workers on machines.

        Raises
        ------
        CloudError
            If it cannot be made ready.
        """
        return ""

    @abstractmethod
    async def create(self, spec: MachineSpec, token: str) -> MachineInfo:
        """Ask for a machine; return as soon as the cloud has accepted. Called after the ledger's row is written.

        Idempotent: a machine that already carries `token` is returned, and none is made.

        Raises
        ------
        CloudUnreachable
            If the cloud did not answer: the machine may or may not exist, and the same call may be made again.
        CloudRefused
            If it answered no: a quota, an unknown flavour or image, not allowed.
        """

    @abstractmethod
    async def machines(self, tag: str = "") -> tuple[MachineInfo, ...]:
        """Return the machines with this tag, or all that carry one of ours, stopped ones included.

        Raises
        ------
        CloudUnreachable
            If the cloud did not answer.
        """

    @abstractmethod
    async def destroy(self, ids: Collection[str]) -> None:
        """Remove machines and all that was made with them; one that is not there is no error.

        Raises
        ------
        CloudUnreachable
            If the cloud did not answer for one of them: call again.
        """

    @abstractmethod
    async def console(self, machine_id: str) -> str:
        """Return the end of what the machine printed while it started; empty where nothing is known.

        Raises
        ------
        CloudUnreachable
            If the cloud did not answer.
        """

    @abstractmethod
    async def close(self) -> None:
        """Give back connections and threads; machines stay."""
