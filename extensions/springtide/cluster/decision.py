"""What the policy answers: workers to ask for, to cancel and to retire, each with its reason; and how it is set."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Act(enum.Enum):
    """What is done, or on purpose not done."""

    ASK = "ask"
    CANCEL = "cancel"
    RETIRE = "retire"
    KEEP = "keep"
    """A worker that is left although it has nothing to do, or does not come."""
    REFUSE = "refuse"
    """Workers that were wanted and are not asked for."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Workers to ask of one pool, all alike. Their names are the caller's choice, free in the whole cluster."""

    pool: str
    count: int
    cores: int
    flavour: str = ""
    """Of machines."""
    lifetime_s: float | None = None
    """Of machines: their longest life from the moment they are asked for, to be told to the machine (it is off by then,
    whatever happens) and written into its row. None of batch workers: their walltime ends them."""
    reserve: float = 0.0
    """What each may cost at most: its lifetime in whole quanta. 0 where it is free."""


@dataclass(frozen=True, slots=True)
class Note:
    """One reason, kept as a key and values; `springtide.cluster.explain` puts it into words."""

    act: Act
    key: str
    """Of the text, without its area."""
    pool: str = ""
    worker: str = ""
    """A worker's name; empty where it is about the pool, or about workers to come."""
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now. Nothing in it has been done."""

    asks: tuple[Ask, ...] = ()
    cancel: tuple[str, ...] = ()
    """Names of workers that have not registered, and whose job or machine is to be removed."""
    retire: tuple[str, ...] = ()
    """Names of registered workers to be retired by name, gracefully, the first first: cloud first."""
    notes: tuple[Note, ...] = ()
    """Why, at least one for each of the above, and for what was wanted and is not done."""
    look_again_s: float | None = None
    """After so long the answer may be another one although nothing happened; None: only when something happens."""

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.asks or self.cancel or self.retire)


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """How the policy is set; the defaults are those of the lab file."""

    target_s: float = 300.0
    """Ready work is to be done within so long, as far as pools and budget allow."""
    unknown_task_s: float = 5.0
    """Taken for a task's duration where nothing is measured and nothing is said."""
    caution: float = 0.0
    """Which of the foreseen waits counts: 0 the median, 1 the one that hardly any exceeds, and between."""
    margin_s: float = 300.0
    """A queue has to be slower than a machine's boot and transfer by more than this."""
    least_quanta: float = 1.0
    """For so many billing steps of each machine there must be work left when it has booted."""
    slowdown_worth: float | None = None
    """The most to be paid for sparing work one wait as long as its own duration; None: any price within the budget.
    Of two waits as long, the one of the shorter and smaller work is the first that is bought off."""
    lifetime_s: float = 24 * 3600.0
    """The longest life of a machine; shortened to what the budget holds."""
    creations_per_minute: int = 10
    """The most machines asked for within a minute, over all clouds."""
    boot_grace_s: float = 600.0
    """Beyond its boot time: so long a machine is left alone before it is taken for dead."""
    idle_s: float = 60.0
    """A worker is idle for so long before it may be retired."""
    before_quantum_s: float = 60.0
    """An idle machine is retired within so long of the end of its paid time, not before: until then it is free."""
    patience_s: float = 30.0
    """Queued workers are cancelled when there has been no work for so long."""
    hysteresis: float = 0.2
    """The wish must exceed what is there by this share before more is asked for."""
    bandwidth_bytes_per_s: float = 10e6
    """Taken where none has been measured."""
