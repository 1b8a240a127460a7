"""What the cluster remembers of one worker, from the wish to have it until nothing of it is left."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from springtide.cluster.bodies import Body, BodyState, Terms


class Work(enum.Enum):
    """What is being done about a worker right now: one thing at a time."""

    NOTHING = "nothing"
    STARTING = "starting"
    RETIRING = "retiring"
    """Its tasks end and its results move to other workers."""
    ENDING = "ending"
    """Its process, job or machine is being removed."""


@dataclass
class Slot:
    """One worker. Its name is never used again for another one."""

    name: str
    pool: str
    wanted: bool = True
    work: Work = Work.NOTHING
    body: Body | None = None
    known: bool = True
    """Whether its place could be asked; if not, `body` is what was known last."""
    joined: bool = False
    """Whether the scheduler has it now."""
    joined_at: float | None = None
    """When it joined first."""
    lost_at: float | None = None
    """Since when the scheduler misses it."""
    asked_at: float | None = None
    answered_at: float = 0.0
    """When its last start came to something: what was looked at before says nothing of it."""
    lifetime_s: float = 0.0
    """How long it may exist from the moment it was asked for; 0: what its pool says."""
    flavour: str = ""
    """Of a machine."""
    reserve: float | None = None
    """The most it may cost, if not what its pool says."""
    retired: bool = False
    """Whether its results are elsewhere: it is leaving by itself."""
    retire_failures: int = 0
    again_at: float = 0.0
    """Not before this time is retiring or ending tried again."""
    reserved: float = 0.0
    """What it can still cost at most; part of the budget until its end is known."""
    words: str = ""
    """What its queue or cloud said last, when something went wrong."""
    tight: bool = False
    """Whether its time is too short for the tasks that wait."""

    @property
    def there(self) -> bool:
        """Whether it has, or may have, a body."""
        return self.body is not None and self.body.there

    @property
    def over(self) -> bool:
        """Whether nothing is left of it, nor will be."""
        return not self.there and not self.joined and self.work is Work.NOTHING

    @property
    def in_doubt(self) -> bool:
        """Whether nobody knows if it exists."""
        return self.body is not None and self.body.state is BodyState.ASKED

    @property
    def dearness(self) -> int:
        """How much would be lost by giving it up: of several, the least dear goes first."""
        if not self.there:
            return 0 if self.work is Work.NOTHING else 1
        if self.joined:
            return 4
        return 3 if self.body is not None and self.body.state is BodyState.RUNNING else 2

    def ends(self, terms: Terms) -> Iterator[float]:
        """Yield the times when it stops working, for whichever reason."""
        if terms.lifetime_s and self.joined_at is not None:
            yield self.joined_at + terms.lifetime_s
        if self.lifetime_s and self.asked_at is not None:
            yield self.asked_at + self.lifetime_s
        if self.body is not None and self.body.ends_at is not None:
            yield self.body.ends_at
