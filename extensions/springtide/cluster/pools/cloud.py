"""Workers that are virtual machines, one each: written down, made and watched as all our machines are."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from springtide.clouds import money
from springtide.clouds.base import Cloud, Flavour
from springtide.clouds.machines import Machines, Wish
from springtide.clouds.opening import open_cloud
from springtide.clouds.settling import OVER
from springtide.clouds.userdata import WorkerOptions as MachineWorker
from springtide.clouds.userdata import worker_script
from springtide.cluster.bodies import Body, BodyState, Look, Order, Terms
from springtide.cluster.observation import CloudFlavour, PoolKind
from springtide.cluster.pools.base import Contact, Pool, Started, WorkerOptions, seconds
from springtide.environments.catalog import shipped
from springtide.errors import CloudRefused, CloudUnreachable, SpringtideError
from springtide.ledger.place import state_directory
from springtide.ledger.records import MachineRecord

_SITE_LIFETIME_S = 24 * 3600.0
# What a machine takes, beyond its worker's work, to boot and to be ended where the worker hangs.
_AROUND_S = 300.0
_MAKE_WITHIN_S = 900.0
_JOIN_WITHIN_S = 300.0


@dataclass
class CloudPool(Pool):
    """Virtual machines, each with one worker that has all of it. The machine ends with its worker.

    Parameters
    ----------
    cloud : Cloud, optional
        Where they are made: by default on this machine, by QEMU, from the image of this version's sessions. It is
        closed with the cluster.
    flavour : str
        Size of the machines; empty: the first on offer, and any of them where `adapt` decides.
    lifetime : int or str
        The longest a machine exists, its boot included: seconds, or "2h". Its results move before that. The budget is
        reserved for it, and a machine that nobody ends any more ends itself.
    quantum : int or str
        A machine is billed in whole steps of this length.
    boot_s : float
        How long a machine takes from being asked for until its worker has joined, until that is measured.
    site_terms : clouds.money.Terms, optional
        What all clusters together may have and spend at this site; without any, the budget is the cluster's alone.
    site_name : str
        Of the site in the lab file, and so in the ledger; that of the pool by default.
    """

    name: str = "cloud"
    worker: WorkerOptions = field(default_factory=lambda: WorkerOptions(cores=0))
    maximum: int = 4
    cloud: Cloud | None = None
    flavour: str = ""
    lifetime: int | str = 2 * 3600
    quantum: int | str = 60
    boot_s: float = 60.0
    site_terms: money.Terms | None = None
    site_name: str = ""
    kind = PoolKind.CLOUD
    together = False
    _contact: Contact | None = None
    _machines: Machines | None = None
    _flavours: tuple[Flavour, ...] = ()
    _preparing: asyncio.Task[str] | None = None
    _tokens: dict[str, str] = field(default_factory=dict)
    """Of the rows of all workers that were asked for."""
    _rows: dict[str, MachineRecord] = field(default_factory=dict)
    """The last known row of each worker."""
    _lifetimes: dict[str, float] = field(default_factory=dict)

    @property
    def lifetime_s(self) -> float:
        """The longest a machine exists."""
        return float(seconds(self.lifetime))

    @property
    def terms(self) -> Terms:
        """What the cluster plans with."""
        return Terms(
            self.name,
            self.maximum,
            price_per_hour=self._flavours[0].price_per_hour if self._flavours else 0.0,
            prices={flavour.name: flavour.price_per_hour for flavour in self._flavours},
            longest_s=self.lifetime_s,
            quantum_s=float(seconds(self.quantum)),
            join_within_s=_JOIN_WITHIN_S + self.worker.death_timeout_s,
            make_within_s=_MAKE_WITHIN_S,
            ask_again=True,
            lifetime_s=_working_s(self.lifetime_s),
        )

    @property
    def _desk(self) -> Machines:
        assert self._machines is not None
        return self._machines

    async def open(self, contact: Contact) -> None:
        """Ask what is on offer, and begin to make ready for the first machine.

        Raises
        ------
        SpringtideError
            If the cloud does not answer, or has not the flavour.
        """
        self._contact = contact
        self.cloud = self.cloud or open_cloud(self.name, None, state_directory(None), shipped()["base"].image)
        self._flavours = tuple(one for one in await self.cloud.flavours() if self.flavour in ("", one.name))
        if not self._flavours:
            known = ", ".join(one.name for one in await self.cloud.flavours())
            raise SpringtideError(f"{self.name}: there is no flavour “{self.flavour}”.", f"There are: {known}.")
        first = self._flavours[0]
        self.worker = dataclasses.replace(self.worker, cores=first.cores, memory=first.memory_bytes)
        lasts_s = max(self.lifetime_s, _SITE_LIFETIME_S)
        terms = self.site_terms or money.Terms(self.maximum, lasts_s, self.terms.quantum_s)
        self._machines = Machines(self.site_name or self.name, terms, self.cloud, self._flavours, contact.ledger)
        self._preparing = asyncio.create_task(self.cloud.prepare(), name=f"making {self.name} ready")

    async def start(self, names: Mapping[str, Order]) -> Mapping[str, Started]:
        """Have a machine made for each; return when the cloud has accepted it."""
        return {name: await self._start(name, order) for name, order in names.items()}

    async def _start(self, name: str, order: Order) -> Started:
        assert self._contact is not None
        assert self._preparing is not None
        try:
            await asyncio.shield(self._prepared())
        except SpringtideError as error:
            # Nothing was asked for.
            return CloudRefused(error.message, error.hint)
        # The same for each try, so that whatever fails on the way, no second machine is made.
        token = self._tokens.setdefault(name, secrets.token_hex(8))
        try:
            self._rows[name] = await self._desk.make(self._wish(name, order, self._contact), token)
        except CloudRefused as error:
            del self._tokens[name]
            # There is no machine: a quota that may be free again later is no doubt.
            return CloudRefused(error.message, error.hint)
        except SpringtideError as error:
            return CloudUnreachable(error.message, error.hint)
        return _body(self._rows[name])

    async def _prepared(self) -> str:
        """Have the cloud ready; what went wrong once is tried again."""
        assert self.cloud is not None
        assert self._preparing is not None
        if self._preparing.done() and (self._preparing.cancelled() or self._preparing.exception()):
            self._preparing = asyncio.create_task(self.cloud.prepare())
        return await self._preparing

    def _machine_name(self, name: str) -> str:
        assert self._contact is not None
        return f"{self._contact.cluster}-{name}"

    def _wish(self, name: str, order: Order, contact: Contact) -> Wish:
        lifetime_s = min(order.lifetime_s or self.lifetime_s, self.lifetime_s)
        self._lifetimes[name] = lifetime_s
        flavour = order.flavour or self._flavours[0].name
        return Wish(
            name=self._machine_name(name),
            flavour=flavour,
            user_data=worker_script(self._worker(name, contact, lifetime_s)),
            user=contact.user,
            cluster=contact.cluster,
        )

    def _worker(self, name: str, contact: Contact, lifetime_s: float) -> MachineWorker:
        worker, keys = self.worker, contact.keys
        return MachineWorker(
            scheduler=contact.address,
            name=name,
            authority=keys.authority,
            certificate=keys.worker.certificate,
            key=keys.worker.key,
            lifetime_s=_working_s(lifetime_s),
            death_timeout_s=worker.death_timeout_s,
            worker_ports=worker.worker_ports,
            python=worker.python or "python3",
            options=worker.options,
        )

    async def look(self, *, fresh: bool = False) -> Look:
        """Bring the ledger's rows and the cloud's machines together, and return what they say.

        Machines that are off, that outlived their time, and that no row explains are ended on the way, those of
        earlier clusters included.
        """
        try:
            steps = await self._desk.settle()
            if any(step.ends for step in steps):
                await self._desk.settle()
            await self._read_rows()
            if over := [name for name, row in self._rows.items() if self._is_over_time(name, row)]:
                await self._end(over, "its time is over")
        except CloudUnreachable as error:
            return Look(outage=error.message)
        never = {name: Body(BodyState.ENDED, reason="It was never asked for.") for name in self._tokens}
        return Look(never | {name: _body(row) for name, row in self._rows.items()})

    async def _read_rows(self) -> None:
        for name, token in list(self._tokens.items()):
            known = self._rows.get(name)
            if known is None or known.state not in OVER:
                found = await asyncio.to_thread(self._desk.ledger.machine, token)
                self._rows |= {name: found} if found else {}

    def _is_over_time(self, name: str, row: MachineRecord) -> bool:
        lasts_s = self._lifetimes.get(name, self.lifetime_s)
        return row.state in ("creating", "running") and time.time() > row.recorded + lasts_s

    async def end(self, names: Collection[str]) -> None:
        """End the machines; the wish is written down first, and stands until it has come true."""
        await self._end(names, "it is not needed any more")

    async def _end(self, names: Collection[str], reason: str) -> None:
        tokens = [self._tokens[name] for name in names if name in self._tokens]
        if tokens:
            await self._desk.end(tokens, actor=self._contact.user if self._contact else "", reason=reason)

    def offer(self) -> dict[str, Any]:
        """Return sizes, prices and times."""
        flavours = tuple(
            CloudFlavour(one.name, one.cores, one.price_per_hour, one.memory_bytes) for one in self._flavours
        )
        return {"flavours": flavours, "quantum_s": self.terms.quantum_s, "boot_s": self.boot_s}

    def cores_of(self, flavour: str) -> int:
        """Return the cores of a machine of that size."""
        return next((one.cores for one in self._flavours if one.name == flavour), self.worker.cores)

    async def log(self, name: str) -> str:
        """Return the end of what the machine printed, as long as it exists."""
        row = self._rows.get(name)
        if row is None or not row.machine_id or self.cloud is None:
            return ""
        try:
            return await self.cloud.console(row.machine_id)
        except CloudUnreachable as error:
            return error.message

    async def close(self) -> None:
        """Close the connection to the cloud."""
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)
        if self.cloud is not None:
            await self.cloud.close()


def _working_s(lifetime_s: float) -> float:
    """Return how long a worker works: what is left of its machine's life is for the boot, its results, and the end."""
    return max(lifetime_s / 2, lifetime_s - _AROUND_S)


def _body(row: MachineRecord) -> Body:
    if row.state in OVER:
        return Body(BodyState.ENDED, row.machine_id, f"Its machine {row.name} ended: {row.reason}.", row.created)
    if not row.machine_id:
        return Body(BodyState.ASKED, reason=row.reason)
    state = BodyState.WAITING if row.state == "creating" else BodyState.RUNNING
    return Body(state, row.machine_id, row.reason, row.created)
