"""A cloud that exists only here: no real one loses its answers, lists late or makes twice when it is asked to."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from springtide.clouds.base import Cloud, Flavour, MachineInfo, MachineSpec, MachineState
from springtide.errors import CloudRefused, CloudUnreachable

FLAVOURS = (Flavour("small", 1, 2**30, 0.6), Flavour("large", 4, 8 * 2**30, 6.0))


@dataclass
class UnrealCloud(Cloud):
    """Machines in a dictionary."""

    there: dict[str, MachineInfo] = field(default_factory=dict)
    down: bool = False
    answer_is_lost: bool = False
    refuses: str = ""
    kind = "unreal"
    made: int = 0

    async def flavours(self) -> tuple[Flavour, ...]:
        return FLAVOURS

    async def create(self, spec: MachineSpec, token: str) -> MachineInfo:
        self._ask()
        if self.refuses:
            raise CloudRefused(self.refuses)
        same = [info for info in self.there.values() if info.token == token]
        info = same[0] if same else self.add(token, spec.tag, spec.name)
        if self.answer_is_lost:
            raise CloudUnreachable("The connection was lost.")
        return info

    def add(self, token: str, tag: str, name: str = "vm") -> MachineInfo:
        """Make a machine."""
        self.made += 1
        info = MachineInfo(f"id-{self.made}", token, tag, name, MachineState.RUNNING, created=time.time())
        self.there[info.id] = info
        return info

    def becomes(self, token: str, state: MachineState, reason: str = "") -> None:
        """Change what the cloud says of a machine."""
        for key, info in self.there.items():
            if info.token == token:
                self.there[key] = replace(info, state=state, reason=reason)

    async def machines(self, tag: str = "") -> tuple[MachineInfo, ...]:
        self._ask()
        return tuple(info for info in self.there.values() if tag in ("", info.tag))

    async def destroy(self, ids: Collection[str]) -> None:
        self._ask()
        for one in ids:
            self.there.pop(one, None)

    async def console(self, machine_id: str) -> str:
        return ""

    async def close(self) -> None:
        return

    def _ask(self) -> None:
        if self.down:
            raise CloudUnreachable("No answer.")
