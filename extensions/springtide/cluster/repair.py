"""What is to be done next about a cluster's workers: one function of what the book says and of the time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from springtide.cluster.bodies import BodyState
from springtide.cluster.book import Book
from springtide.cluster.slots import Slot, Work

LOST_AFTER_S = 15.0
"""How long a worker that has left the scheduler is waited for while its body still runs: a nanny may start it again."""
MOST_RETIRE_FAILURES = 5
"""How often it is tried to move a worker's results before it is ended all the same."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Action:
    """One thing to do about one worker."""

    kind: Literal["start", "retire", "end"]
    name: str
    pool: str


def repairs(book: Book, now: float) -> list[Action]:
    """Return what is to be done now; plan replacements for workers that are lost.

    Called whenever something was learnt, and at least every second. Nothing is decided about a worker on which
    something is being done already, so that no action is slowed down by another.
    """
    for slot in list(book.slots.values()):
        if slot.wanted and _is_lost(slot, book, now):
            book.replace(slot)
    book.forget_those_over()
    leaving = [action for slot in list(book.slots.values()) if not slot.wanted for action in _leave(slot, book, now)]
    return leaving + list(_starts(book, now))


def _is_lost(slot: Slot, book: Book, now: float) -> bool:
    """Whether a planned worker has to be replaced. Of a place that cannot be asked, nothing is concluded."""
    if slot.work is not Work.NOTHING or slot.body is None or not slot.known:
        return False
    if slot.body.state is BodyState.ENDED or (slot.tight and slot.joined):
        return True
    if slot.joined:
        return False
    if slot.joined_at is not None:
        runs = slot.body.state is BodyState.RUNNING
        return runs and slot.lost_at is not None and now - slot.lost_at > LOST_AFTER_S
    return _is_late(slot, book, now)


def _is_late(slot: Slot, book: Book, now: float) -> bool:
    """Whether a worker that was asked for takes too long to be made, or to join."""
    terms, body = book.pools[slot.pool].terms, slot.body
    if body is None or slot.asked_at is None:
        return False
    runs = body.state is BodyState.RUNNING
    within_s = terms.join_within_s if runs else terms.make_within_s
    since = body.started if runs and body.started is not None else slot.asked_at
    late = bool(within_s) and now - since > within_s
    if late:
        book.failed(slot.pool, body.reason or f"{slot.name} did not join within {within_s:.0f} s.", now)
    return late


def _leave(slot: Slot, book: Book, now: float) -> Iterator[Action]:
    """Yield the next step of a worker that is to go: results first, then the body."""
    if slot.work is not Work.NOTHING or now < slot.again_at:
        return
    keeps = slot.joined and not slot.retired and slot.retire_failures < MOST_RETIRE_FAILURES
    if keeps and (slot.retire_failures == 0 or book.somebody_is_here() or book.somebody_comes()):
        yield Action("retire", slot.name, slot.pool)
    elif slot.there:
        yield Action("end", slot.name, slot.pool)
    elif slot.joined:
        # Its body is gone, and the scheduler has not noticed.
        yield Action("retire", slot.name, slot.pool)


def _starts(book: Book, now: float) -> Iterator[Action]:
    room = math.inf if book.budget is None else book.budget - book.committed + _ROUNDING
    for pool, page in book.pools.items():
        if now < page.again_at or page.outage:
            continue
        places = page.terms.maximum - sum(map(_takes_a_place, book.of(pool)))
        for slot in book.wanted(pool):
            if slot.work is not Work.NOTHING:
                continue
            if slot.in_doubt and page.terms.ask_again:
                yield Action("start", slot.name, pool)
            elif slot.body is None and places > 0:
                reserve = book.reserve_of(slot)
                if reserve > room:
                    slot.words = f"The budget of {book.budget:g} does not hold another worker for all of its time."
                    continue
                places -= 1
                room -= reserve
                yield Action("start", slot.name, pool)


def _takes_a_place(slot: Slot) -> bool:
    return slot.there or slot.work is Work.STARTING
