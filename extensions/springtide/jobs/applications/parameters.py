"""The kinds of parameter an application has. What people give for one is read in `values`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from springtide.jobs.applications.quantities import is_convertible, units_like
from springtide.lab.fields import FilledLine, LabPath, OneLine, check_whole, wrong
from springtide.lab.models import Model, Text

MOST_TEXT = 30_000
"""Characters of a text: four times as many bytes still fit into one argument of a command."""
LARGEST_SEED = 2**63 - 1
NAME_FORM = "a lower-case letter, then letters, digits and '_'; at most 40"
_OF_EVERY_APPLICATION = """
    account after after_any after_failure again application cores environment folder follow help json lab ledger list
    memory name nodes program ranks resources site state sweep upstream wait walltime
"""
RESERVED = frozenset(_OF_EVERY_APPLICATION.split())
"""Names that mean something to whoever runs an application, whatever its parameters."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_FLAG = re.compile(r"--?[A-Za-z][\w-]*")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise wrong("is not a parameter's name", found=repr(name), allowed=NAME_FORM)
    if name in RESERVED:
        raise wrong("has a meaning for every application", found=repr(name), allowed="another name")
    return name


def _check_finite(value: float) -> float:
    if not math.isfinite(value):
        raise wrong("is not a number", allowed="a finite number")
    return value


def _check_flag(text: str) -> str:
    if text and not _FLAG.fullmatch(text):
        raise wrong("is not an option of a command", allowed="such as --verbose")
    return text


def _check_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise wrong(f"is not a regular expression: {error}", allowed="one of Python's") from None
    return text


ParameterName = Annotated[str, AfterValidator(_check_name)]
Finite = Annotated[float, AfterValidator(_check_finite), BeforeValidator(check_whole)]
Whole = Annotated[int, Field(ge=-(2**63), le=2**63 - 1), BeforeValidator(check_whole)]


class _Parameter(Model):
    """What all kinds have."""

    label: Text
    """What people call it."""
    help: Text | None = None
    """A sentence on what it does."""
    required: bool = True
    """Whether it must have a value, given or by default. Where it has none, parts of the command that name it go."""
    sweep: bool = True
    """Whether several values may be given, one run each."""


class NumberParameter(_Parameter):
    """A number, perhaps with a unit."""

    kind: Literal["number"]
    """A number."""
    unit: OneLine = ""
    """The unit in which the command takes it; others of the same quantity may be given, and are converted."""
    min: Finite | None = None
    """Least value, in this unit."""
    max: Finite | None = None
    """Largest value, in this unit."""
    default: Finite | None = None
    """Value where nobody gives one."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_order(self)
        return self


class IntegerParameter(_Parameter):
    """A whole number."""

    kind: Literal["integer"]
    """A whole number."""
    unit: OneLine = ""
    """What is counted; only shown."""
    min: Whole | None = None
    """Least value."""
    max: Whole | None = None
    """Largest value."""
    default: Whole | None = None
    """Value where nobody gives one."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_order(self)
        return self


class SeedParameter(_Parameter):
    """The seed of a generator of random numbers: where nobody gives one, it is drawn, and written down."""

    kind: Literal["seed"]
    """A seed, from 0 to 9223372036854775807."""
    default: Annotated[int, Field(ge=0, le=LARGEST_SEED), BeforeValidator(check_whole)] | None = None
    """Seed where nobody gives one; left out: a random one."""


class Choice(Model):
    """One of the values of a choice."""

    value: FilledLine
    """What the command gets."""
    label: Text | None = None
    """What people see."""

    @model_validator(mode="before")
    @classmethod
    def _from_plain(cls, value: Any) -> Any:
        plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        return {"value": str(value)} if plain else value


class ChoiceParameter(_Parameter):
    """One of several values."""

    kind: Literal["choice"]
    """One of several values."""
    choices: Annotated[tuple[Choice, ...], Field(min_length=1, max_length=500)]
    """The values: plain, or ``{value, label}``."""
    default: str | None = None
    """Value where nobody gives one."""

    @property
    def values(self) -> list[str]:
        """What may be given."""
        return [choice.value for choice in self.choices]

    @model_validator(mode="after")
    def _default_is_one(self) -> Self:
        if len(set(self.values)) < len(self.values):
            raise wrong("names a value twice", allowed="each value once", key="choices")
        if self.default is not None and self.default not in self.values:
            raise wrong(
                "is not one of the choices", found=repr(self.default), allowed=", ".join(self.values), key="default"
            )
        return self


class TextParameter(_Parameter):
    """A text."""

    kind: Literal["text"]
    """A text."""
    sweep: bool = False
    """Whether several values may be given, one run each."""
    pattern: Annotated[str, AfterValidator(_check_pattern)] = ""
    """Regular expression (Python's) that the whole text must match; empty: any text."""
    lines: bool = False
    """Whether it may have several lines."""
    max_length: Annotated[int, Field(ge=1, le=MOST_TEXT), BeforeValidator(check_whole)] = 1000
    """Most characters."""
    default: str | None = None
    """Text where nobody gives one."""


class FileParameter(_Parameter):
    """A file of the user's, which is copied into the job's folder: what ran can be run again."""

    kind: Literal["file"]
    """A file."""
    sweep: bool = False
    """Whether several files may be given, one run each."""
    names: tuple[FilledLine, ...] = ()
    """Patterns that its name must match, e.g. ``*.xml``; empty: any name."""
    within: tuple[LabPath, ...] = ()
    """Folders besides the user's home in which it may lie, e.g. the lab's data."""
    max_size: Annotated[int, Field(ge=1)] = 2**30
    """Largest size in bytes."""
    default: None = None
    """A file has no default."""


class BooleanParameter(_Parameter):
    """Yes or no."""

    kind: Literal["boolean"]
    """Yes or no."""
    flag: Annotated[str, AfterValidator(_check_flag)] = ""
    """Option that stands in the command for yes, and does not for no; empty: ``true`` or ``false``."""
    default: bool | None = False
    """What counts where nobody says."""


Parameter = Annotated[
    NumberParameter
    | IntegerParameter
    | SeedParameter
    | ChoiceParameter
    | TextParameter
    | FileParameter
    | BooleanParameter,
    Field(discriminator="kind"),
]


def _check_order(parameter: NumberParameter | IntegerParameter) -> None:
    """Accept limits and a default that fit each other."""
    low, default, high = parameter.min, parameter.default, parameter.max
    if low is not None and high is not None and low > high:
        raise wrong("is less than min", found=f"{high:g}", allowed=f"at least {low:g}", key="max")
    if default is not None:
        if low is not None and default < low:
            raise wrong("is too small", found=f"{default:g}", allowed=f"at least {low:g}", key="default")
        if high is not None and default > high:
            raise wrong("is too large", found=f"{default:g}", allowed=f"at most {high:g}", key="default")
    if isinstance(parameter, NumberParameter) and parameter.unit and not is_convertible(parameter.unit):
        # Any word may be a unit; a known one written oddly is a mistake.
        close = units_like(parameter.unit)
        if close:
            raise wrong("is no unit", found=repr(parameter.unit), allowed=f"did you mean {close}?", key="unit")
