"""What somebody asks of an application besides its parameters, checked against what it allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from springtide.errors import ParameterError, ScriptError
from springtide.jobs.applications.load import Offer
from springtide.jobs.applications.values import Values
from springtide.jobs.spec import Follow, JobSpec
from springtide.queues.bookkeeping import check_name
from springtide.units import describe_duration, format_memory, parse_memory, parse_walltime


@dataclass(frozen=True)
class Asked:
    """Where and how an application is to run; None and empty are what it says itself."""

    site: str = ""
    """A site's name; "auto" or empty: where it may be expected to start first."""
    cores: int | str | None = None
    memory: int | str | None = None
    walltime: int | str | None = None
    name: str = ""
    sweep: Mapping[str, str] = field(default_factory=dict)
    """Values of parameters as people type several: ``1..8``."""
    after: tuple[Follow, ...] = ()
    parent: str = ""
    """Token of the run that this one repeats."""
    start: Path | None = None
    """Where relative paths begin."""
    token: str = ""
    """What the job is to be called (`springtide.queues.bookkeeping.new_token`): chosen by who may have to ask twice."""


def spec_of(offer: Offer, values: Values, asked: Asked) -> JobSpec:
    """Return what is to be submitted; the site is chosen later.

    Raises
    ------
    ParameterError
        If a resource is outside its limits, or the name is none.
    """
    needed = offer.application.resources
    try:
        check_name(asked.name or offer.name)
    except ScriptError as error:
        raise ParameterError("name", error.message, error.hint) from None
    return JobSpec(
        application=offer.full_name,
        runs=values.runs,
        swept=values.swept,
        name=asked.name or offer.name,
        cores=_within("cores", asked.cores, needed.cores, _whole, str),
        memory_bytes=_within("memory", asked.memory, needed.memory, parse_memory, format_memory),
        walltime_s=_within("walltime", asked.walltime, needed.walltime, parse_walltime, describe_duration),
        nodes=needed.nodes,
        ranks=needed.ranks,
        after=asked.after,
    )


def _whole(value: int | str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise ValueError("a whole number") from None


def _within(
    name: str, given: int | str | None, limits: Any, read: Callable[[Any], int], show: Callable[[int], str]
) -> int:
    if given is None:
        return int(limits.default)
    allowed = show(limits.min) if limits.min == limits.max else f"{show(limits.min)} to {show(limits.max)}"
    try:
        value = read(given)
    except (ValueError, OverflowError) as error:
        raise ParameterError(name, f"“{str(given)[:40]}” is not {error}.", f"Allowed: {allowed}.") from None
    if not limits.min <= value <= limits.max:
        size = "too small" if value < limits.min else "too large"
        raise ParameterError(name, f"{show(value)} is {size}.", f"Allowed: {allowed}.")
    return value
