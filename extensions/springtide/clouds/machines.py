"""The machines of one site, and the ledger's rows of them: none is made without a row, none outlives its row.

A row is written before its machine is asked for, with the token that the machine carries. Whatever is killed between
the two, `Machines.settle` finds out what is there: it adopts a machine whose maker did not live to write its id, ends
what has powered itself off or outlived its time, and sweeps machines that no open row explains.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from springtide.clouds.base import Cloud, Flavour, MachineInfo, MachineSpec, MachineState
from springtide.clouds.money import Terms, charge, committed, period_begin
from springtide.clouds.settling import Step, plan
from springtide.errors import CloudError, CloudRefused
from springtide.ledger.records import Event, MachineRecord
from springtide.ledger.store import Ledger

_SECOND_LOOK_S = 1.0
_OWNER = "ledger"
"""Token of the event that holds a ledger's mark."""


@dataclass(frozen=True)
class Wish:
    """A machine that somebody wants."""

    name: str
    flavour: str
    user_data: str = field(repr=False)
    user: str
    cluster: str = ""
    """Of which Dask cluster; all its machines share a tag."""


class Machines:
    """The machines of a site, as one ledger knows them. Making one reads the ledger, which blocks.

    Parameters
    ----------
    site : str
        The site's name.
    terms : Terms
        What it allows and charges.
    cloud : Cloud
        Its cloud.
    flavours : Sequence of Flavour
        Sizes that may be asked for, with their prices.
    ledger : Ledger
        Where the rows are.
    clock : callable, optional
        Tells the time.
    """

    def __init__(
        self,
        site: str,
        terms: Terms,
        cloud: Cloud,
        flavours: Sequence[Flavour],
        ledger: Ledger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.site = site
        self.terms = terms
        self.cloud = cloud
        self.flavours = {flavour.name: flavour for flavour in flavours}
        self.ledger = ledger
        self.owner = owner_of(ledger)
        self._clock = clock

    def tag(self, cluster: str = "") -> str:
        """Return the tag of this ledger's machines that belong to a cluster."""
        return f"{self.owner}.{cluster}"

    async def make(self, wish: Wish, token: str = "") -> MachineRecord:
        """Have a machine made and return its row; the machine may not run yet.

        Parameters
        ----------
        wish : Wish
            What is wanted.
        token : str, optional
            Of an earlier call that ended with `CloudUnreachable`: the same machine is meant.

        Raises
        ------
        CloudRefused
            If the site's number of machines or budget does not allow it, or the cloud says no. No machine is left.
        CloudUnreachable
            If the cloud did not answer. The row stays, and counts: call again with the token that `pending` tells, or
            leave it to `settle`.
        """
        row = await asyncio.to_thread(self._write_row, wish, token or secrets.token_hex(8))
        spec = MachineSpec(wish.name, wish.flavour, wish.user_data, self.tag(wish.cluster))
        try:
            info = await self.cloud.create(spec, row.token)
        except CloudRefused as error:
            await asyncio.to_thread(self._note, row.token, "refused", error.message, state="failed")
            raise
        return await asyncio.to_thread(self._take, row, info, "created")

    async def end(self, tokens: Collection[str], *, actor: str = "", reason: str = "") -> None:
        """Have machines ended; their rows say so when the cloud has none of them any more: see `settle`.

        Raises
        ------
        CloudUnreachable
            If the cloud did not answer. The wish is in the rows; `settle` fulfils it.
        """
        rows = [row for row in await asyncio.to_thread(self._rows) if row.token in tokens]
        for row in rows:
            words = reason or "it is not needed any more"
            await asyncio.to_thread(self._note, row.token, "ending", words, actor, state="destroying", reason=words)
        found = {info.token: info for info in await self.cloud.machines()}
        await self.cloud.destroy([found[row.token].id for row in rows if row.token in found])

    async def settle(self, *, dry_run: bool = False) -> list[Step]:
        """Bring rows and machines together, and return what was done, or, on a dry run, what would be.

        Machines of other ledgers are told and left alone. Nothing is done where the cloud does not answer.

        Raises
        ------
        CloudUnreachable
            If the cloud did not answer.
        """
        steps = await self._planned()
        if any(step.needs_second_look for step in steps):
            # An absent machine may be one that the cloud has not listed yet.
            await asyncio.sleep(_SECOND_LOOK_S)
            again = set(await self._planned())
            steps = [step for step in steps if step in again or not step.needs_second_look]
        if not dry_run:
            await self._do(steps)
        return steps

    async def _planned(self) -> list[Step]:
        # The cloud first: a machine that is made meanwhile has its row by the time rows are read.
        infos = await self.cloud.machines()
        tokens = [info.token for info in infos]
        rows = await asyncio.to_thread(self._rows, tokens)
        return plan(infos, rows, self.owner, self.terms.lifetime_s, self._clock())

    async def _do(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if step.changes:
                changes: dict[str, Any] = dict(step.changes)
                if "destroyed" in changes:
                    changes["destroyed"] = self._clock()
                await asyncio.to_thread(self._note, step.token, step.kind, step.words, **changes)
            elif step.ends:
                await asyncio.to_thread(self._say, step.token, step.kind, step.words)
        await self.cloud.destroy([step.machine_id for step in steps if step.ends])

    # --- what there is ----------------------------------------------------------------------------------------------

    def rows(self) -> list[MachineRecord]:
        """Return the rows of machines that exist or may exist, the newest first."""
        return self.ledger.machines(site=self.site, open_only=True)

    def committed(self) -> float:
        """Return what is spent of this period's budget or reserved in it."""
        return committed(self._rows_of_period(), self.terms, self._clock())

    def charge(self, row: MachineRecord) -> float:
        """Return what a machine has cost by now."""
        now = self._clock()
        return charge(row if row.destroyed is not None else replace(row, destroyed=now), self.terms, 0.0)

    # --- in a thread ------------------------------------------------------------------------------------------------

    def _rows(self, tokens: Collection[str] = ()) -> list[MachineRecord]:
        """Return the open rows, and those with these tokens."""
        rows = {row.token: row for row in self.rows()}
        for token in set(tokens) - set(rows):
            row = self.ledger.machine(token) if token else None
            if row and row.site == self.site:
                rows[token] = row
        return list(rows.values())

    def _rows_of_period(self) -> list[MachineRecord]:
        begin = period_begin(self.terms.period, self._clock())
        rows = self.ledger.machines(site=self.site, since=begin - self.terms.lifetime_s)
        return list({row.token: row for row in (*rows, *self.rows())}.values())

    def _write_row(self, wish: Wish, token: str) -> MachineRecord:
        known = self.ledger.machine(token)
        if known:
            if known.state not in ("creating", "running"):
                raise CloudRefused(f"The machine {known.name} is over: {known.state}.", "Make a new one.")
            return known
        row = self._row(wish, token)
        # Before: a cluster that asks again and again leaves no trail of rows. After: of two that ask at once, both
        # see each other's row, so that never one too many is made.
        self._check([*self._rows_of_period(), row])
        self.ledger.add_machine(row)
        try:
            self._check(self._rows_of_period())
        except CloudRefused as error:
            self._note(token, "refused", error.message, state="failed", reason=error.message)
            raise
        self._say(token, "asked", f"{wish.name}: {wish.flavour}", wish.user)
        return row

    def _row(self, wish: Wish, token: str) -> MachineRecord:
        flavour = self.flavours.get(wish.flavour)
        if flavour is None:
            raise CloudRefused(
                f"{self.site} has no flavour {wish.flavour!r}.", f"There are: {', '.join(self.flavours)}."
            )
        return MachineRecord(
            token=token,
            site=self.site,
            user=wish.user,
            name=wish.name,
            flavour=flavour.name,
            cores=flavour.cores,
            memory_bytes=flavour.memory_bytes,
            price_per_hour=flavour.price_per_hour,
            recorded=self._clock(),
        )

    def _check(self, rows: Sequence[MachineRecord]) -> None:
        """Refuse what the rows come to, where it is more than the site allows."""
        terms = self.terms
        there = sum(row.state not in ("destroyed", "failed") for row in rows)
        if there > terms.maximum_machines:
            raise CloudRefused(
                f"{self.site} has its {terms.maximum_machines} machines already.",
                "maximum_machines in the lab file.",
                transient=True,
            )
        if terms.budget is None:
            return
        whole = committed(rows, terms, self._clock())
        if whole > terms.budget:
            raise CloudRefused(
                f"The machine could cost more than is left of {self.site}'s budget: with it, {whole:.2f} "
                f"{terms.currency} of {terms.budget:.2f} for this {terms.period} would be spent or reserved.",
                "Machines that end early give back what is reserved; the budget is in the lab file.",
                transient=True,
            )

    def _take(self, row: MachineRecord, info: MachineInfo, kind: str) -> MachineRecord:
        """Write the cloud's answer."""
        failed = info.state in (MachineState.FAILED, MachineState.STOPPED)
        changes: dict[str, Any] = {"machine_id": info.id, "created": info.created or self._clock()}
        if not failed:
            changes["state"] = "running" if info.state is MachineState.RUNNING else "creating"
        self._note(row.token, kind, info.reason or info.id, **changes)
        found = self.ledger.machine(row.token)
        if found is None:
            raise CloudError(f"The row of the machine {row.name} is gone from the ledger.")
        return found

    def _note(self, token: str, kind: str, text: str, actor: str = "", **changes: Any) -> None:
        if changes.get("state") == "failed":
            changes = {"reason": text, "destroyed": self._clock(), **changes}
        self.ledger.update_machine(token, **changes)
        self._say(token, kind, text, actor)

    def _say(self, token: str, kind: str, text: str, actor: str = "") -> None:
        self.ledger.add_event(Event(self._clock(), kind, token, text, actor, self.site))


def owner_of(ledger: Ledger) -> str:
    """Return the mark by which the machines of one ledger are told from those of another that uses the same account.

    It lies in the ledger itself and moves with it. The first one written counts, whoever else writes one meanwhile.
    """
    if not ledger.events(_OWNER):
        ledger.add_event(Event(time.time(), "named", _OWNER, secrets.token_hex(6)))
    return ledger.events(_OWNER)[0].text
