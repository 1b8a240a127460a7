"""What is to be done where machines and the ledger's rows of them differ. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from springtide.clouds.base import MachineInfo, MachineState
from springtide.ledger.records import MachineRecord

OVER = ("destroyed", "failed")
"""States of a row whose machine is not there any more, or never was."""
_MAKING_S = 900.0
"""Whoever has written a row may be so long about having its machine made: an image is built, a request hangs."""
_LATE_S = 300.0
"""A machine may end so long after its lifetime; then it is ended."""
_LATER = 0.0
"""Stands for the time at which a step is done."""


@dataclass(frozen=True)
class Step:
    """One thing to be done, or to be told."""

    kind: str
    """``adopted``, ``running``, ``stopped``, ``failed``, ``overdue``, ``ending``: of a row and its machine. ``never``,
    ``gone``: of a row without one. ``orphan``, ``leftover``, ``duplicate``, ``foreign``: of a machine without a row, of
    one whose row is over, of one more with a row's token, and of one that another ledger made."""
    token: str
    name: str
    machine_id: str
    words: str = ""
    """The cloud's own words, or why."""
    ends: bool = False
    """Whether the machine is to be ended."""
    changes: tuple[tuple[str, object], ...] = ()
    """To the row; a time ``destroyed`` is that at which it is done."""

    @property
    def needs_second_look(self) -> bool:
        """Whether it follows from a machine's absence."""
        return self.kind in ("never", "gone")


def plan(
    infos: Sequence[MachineInfo], rows: Iterable[MachineRecord], owner: str, lifetime_s: float, now: float
) -> list[Step]:
    """Return what is to be done.

    Parameters
    ----------
    infos : Sequence of MachineInfo
        All machines of the cloud that carry somebody's token.
    rows : iterable of MachineRecord
        The site's open rows, and those of any machine's token; read after the cloud was asked.
    owner : str
        The ledger's mark, with which the tags of its machines begin.
    lifetime_s : float
        How long a machine may live.
    now : float
        The time.
    """
    by_token = {row.token: row for row in rows}
    there: dict[str, list[MachineInfo]] = defaultdict(list)
    steps: list[Step] = []
    for info in infos:
        if info.token in by_token:
            there[info.token].append(info)
        else:
            steps.append(_unexplained(info, owner))
    for token, found in there.items():
        steps += _explained(by_token[token], found, lifetime_s, now)
    for token, row in by_token.items():
        if token not in there and row.state not in OVER:
            steps += _absent(row, now)
    return steps


def _unexplained(info: MachineInfo, owner: str) -> Step:
    if info.tag.partition(".")[0] != owner:
        return Step("foreign", info.token, info.name, info.id)
    return Step("orphan", info.token, info.name, info.id, "no row of the ledger explains it", ends=True)


def _explained(row: MachineRecord, found: Sequence[MachineInfo], lifetime_s: float, now: float) -> Iterator[Step]:
    first, *others = sorted(found, key=lambda info: (info.id != row.machine_id, info.created or now, info.id))
    for other in others:
        yield Step("duplicate", row.token, other.name, other.id, f"the same as {first.id}", ends=True)
    if row.state in OVER:
        yield Step("leftover", row.token, row.name, first.id, f"its row says {row.state}", ends=True)
    elif row.state == "destroying":
        yield Step("ending", row.token, row.name, first.id, row.reason, ends=True)
    elif first.state in (MachineState.STOPPED, MachineState.FAILED):
        yield _end(first.state.value, row, first, first.reason or "it is off")
    elif now > row.recorded + lifetime_s + _LATE_S:
        yield _end("overdue", row, first, "it outlived its time")
    else:
        yield from _alive(row, first)


def _end(kind: str, row: MachineRecord, info: MachineInfo, words: str) -> Step:
    changes = (*_id(row, info), ("state", "destroying"), ("reason", words))
    return Step(kind, row.token, row.name, info.id, words, ends=True, changes=changes)


def _alive(row: MachineRecord, info: MachineInfo) -> Iterator[Step]:
    state = "running" if info.state is MachineState.RUNNING else "creating"
    changes = _id(row, info) + ((("state", state),) if state != row.state else ())
    if changes:
        kind = "running" if row.machine_id else "adopted"
        yield Step(kind, row.token, row.name, info.id, info.address, changes=changes)


def _id(row: MachineRecord, info: MachineInfo) -> tuple[tuple[str, object], ...]:
    # The one that the row names may have gone, and another with its token be there.
    return () if row.machine_id == info.id else (("machine_id", info.id), ("created", info.created))


def _absent(row: MachineRecord, now: float) -> Iterator[Step]:
    if row.machine_id:
        words = row.reason or "the cloud has it no more"
        changes = (("state", "destroyed"), ("destroyed", _LATER), ("reason", words))
        yield Step("gone", row.token, row.name, row.machine_id, words, changes=changes)
    elif now > row.recorded + _MAKING_S:
        words = "it was never made"
        changes = (("state", "failed"), ("destroyed", _LATER), ("reason", words))
        yield Step("never", row.token, row.name, "", words, changes=changes)
