"""Simpler rules beside the policy: each says when to grow, all let go of workers as the policy does."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from springtide.cluster.decision import Ask, Decision, PolicySettings
from springtide.cluster.grow_cloud import ask_clouds
from springtide.cluster.grow_free import ask_free_pools
from springtide.cluster.need import need_of
from springtide.cluster.observation import Observation, Pool, PoolKind, WorkerState
from springtide.cluster.policy import DEFAULTS, decide
from springtide.cluster.shrink import less
from springtide.cluster.simulate.replay import Decide
from springtide.errors import TraceError
from springtide.units import parse_walltime


@dataclass(frozen=True)
class Rule:
    """A way to decide, with its settings, under the name it is asked for by."""

    name: str
    decide: Decide
    settings: PolicySettings = DEFAULTS
    foresees: bool = False
    """Whether it looks at foreseen waits."""


Grow = Callable[[Observation, PolicySettings], tuple[list[Ask], float | None]]


def rule_named(text: str, seed: int = 0) -> Rule:
    """Return the rule ``NAME`` or ``NAME:ARGUMENT``.

    Raises
    ------
    TraceError
        If there is none of that name, or its argument cannot be used.
    """
    name, _, argument = text.partition(":")
    if name not in _RULES:
        raise TraceError(f"There is no policy “{name}”.", f"There are: {', '.join(RULE_FORMS)}.")
    try:
        return _RULES[name](text, argument, seed)
    except ValueError:
        form = next(form for form in RULE_FORMS if form.split("[")[0] == name)
        raise TraceError(f"“{argument}” is no argument of policy “{name}”.", f"It is written {form}.") from None


RULE_FORMS = (
    "springtide[:WORTH]",
    "batch-only",
    "cloud-only",
    "random-split[:SHARE]",
    "no-free-slot",
    "waited[:DURATION]",
    "adaptive",
)
DEFAULT_RULES = (
    "springtide",
    "batch-only",
    "cloud-only",
    "random-split:0.5",
    "no-free-slot",
    "waited:15m",
    "waited:1h",
    "waited:4h",
    "adaptive",
)

# Found on the first half of the trace in our tests; see BENCHMARKS.md.
DEFAULT_WORTH = 3.0


def springtide_settings(worth: float) -> PolicySettings:
    """Return the policy's settings for jobs of a trace, where sparing one slowdown is worth `worth`."""
    return PolicySettings(
        caution=float(__import__("os").environ.get("C", "0")),
        margin_s=float(__import__("os").environ.get("M", "0")),
        least_quanta=0.0,
        slowdown_worth=worth,
    )


def _springtide(text: str, argument: str, seed: int) -> Rule:
    worth = float(argument) if argument else DEFAULT_WORTH
    if not 0 <= worth < math.inf:
        raise ValueError(argument)
    return Rule(text, decide, springtide_settings(worth), foresees=True)


def _plain(grow: Grow) -> Callable[[str, str, int], Rule]:
    def make(text: str, argument: str, seed: int) -> Rule:
        if argument:
            raise ValueError(argument)
        return Rule(text, _growing(grow))

    return make


def _random_split(text: str, argument: str, seed: int) -> Rule:
    share = float(argument or 0.5)
    if not 0 <= share <= 1:
        raise ValueError(argument)
    coin = random.Random(seed)

    def grow(observation: Observation, settings: PolicySettings) -> tuple[list[Ask], float | None]:
        return _cloud_only(observation, settings) if coin.random() < share else _batch_only(observation, settings)

    return Rule(text, _growing(_at_first(grow)))


def _waited(text: str, argument: str, seed: int) -> Rule:
    limit_s = float(parse_walltime(argument or "15m"))

    def grow(observation: Observation, settings: PolicySettings) -> tuple[list[Ask], float | None]:
        asks, _ = _batch_only(observation, settings)
        if asks:
            return asks, limit_s
        queued = [worker for worker in _of(observation, PoolKind.BATCH).workers if worker.state is WorkerState.QUEUED]
        if not queued or _of(observation, PoolKind.CLOUD).workers:
            return [], None
        left_s = limit_s - (observation.now - queued[0].asked)
        return ([], left_s) if left_s > 0 else _cloud_only(observation, settings)

    return Rule(text, _growing(grow))


def _growing(grow: Grow) -> Decide:
    """Return a way to decide that grows by `grow`, and lets go of workers as the policy does."""

    def rule(observation: Observation, settings: PolicySettings) -> Decision:
        going = less(observation, settings, need_of(observation, settings))
        asks, again_s = grow(observation, settings) if observation.work.tasks else ([], None)
        times = going.later if again_s is None else [*going.later, again_s]
        return Decision(
            tuple(asks), tuple(going.cancel), tuple(going.retire), tuple(going.notes), min(times) if times else None
        )

    return rule


def _at_first(grow: Grow) -> Grow:
    """Return `grow` for the first look at a job, when nothing is asked for yet."""

    def once(observation: Observation, settings: PolicySettings) -> tuple[list[Ask], float | None]:
        return ([], None) if any(pool.workers for pool in observation.pools) else grow(observation, settings)

    return once


def _of(observation: Observation, kind: PoolKind) -> Pool:
    return next(pool for pool in observation.pools if pool.kind is kind)


def _batch_only(observation: Observation, settings: PolicySettings) -> tuple[list[Ask], float | None]:
    return ask_free_pools(observation, settings, need_of(observation, settings))[0], None


def _cloud_only(observation: Observation, settings: PolicySettings) -> tuple[list[Ask], float | None]:
    """Ask for machines as if there was no queue; what the budget does not hold goes to the queue after all."""
    anyhow = replace(settings, least_quanta=0.0, slowdown_worth=None)
    alone = replace(observation, pools=(_of(observation, PoolKind.CLOUD),))
    asks = ask_clouds(alone, anyhow, need_of(alone, anyhow), ()).asks
    if not asks and not any(pool.workers for pool in observation.pools):
        return _batch_only(observation, settings)
    return asks, None


def _no_free_slot(observation: Observation, settings: PolicySettings) -> tuple[list[Ask], float | None]:
    wait = _of(observation, PoolKind.BATCH).wait
    free = wait is not None and wait.high_s <= 0
    return _batch_only(observation, settings) if free else _cloud_only(observation, settings)


def _adaptive(observation: Observation, settings: PolicySettings) -> tuple[list[Ask], float | None]:
    """Grow both pools to the target of Dask's Adaptive: it knows one number of workers, and neither prices nor queues.

    The target is the work over `target_duration` (5 s), at most one worker a task (`distributed.Scheduler.
    adaptive_target`, 2026.8): for jobs of a trace, all their cores, at once.
    """
    batch, _ = _batch_only(observation, settings)
    machines, _ = _cloud_only(observation, settings)
    return [*batch, *(ask for ask in machines if ask.flavour)], None


_RULES: dict[str, Callable[[str, str, int], Rule]] = {
    "springtide": _springtide,
    "batch-only": _plain(_batch_only),
    "cloud-only": _plain(_at_first(_cloud_only)),
    "random-split": _random_split,
    "no-free-slot": _plain(_at_first(_no_free_slot)),
    "waited": _waited,
    "adaptive": _plain(_at_first(_adaptive)),
}
