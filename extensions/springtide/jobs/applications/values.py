"""What people give for parameters, read into values: numbers in the command's unit, texts within limits, real files.

The same functions read options of the command line (texts), arguments in Python and the values of a JSON body, so that
what one refuses the others refuse too, in the same words.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from springtide.errors import ParameterError
from springtide.jobs.applications.files import Home, check_file
from springtide.jobs.applications.models import Application
from springtide.jobs.applications.parameters import (
    LARGEST_SEED,
    BooleanParameter,
    ChoiceParameter,
    FileParameter,
    IntegerParameter,
    NumberParameter,
    Parameter,
    SeedParameter,
    TextParameter,
)
from springtide.jobs.applications.quantities import read_quantity, units_for

Value = int | float | bool | str | None
"""A parameter's value; None where it has none."""
MOST_RUNS = 1000
"""The most runs of one sweep."""

_SHOWN_SIGNS = 40
_RANGE = re.compile(r"\s*(\S+?)\s*\.\.\s*([^\s:]+)\s*(?::\s*(\d{1,9})\s*)?")
_WHOLE = re.compile(r"[-+]?\d{1,19}")
_YES = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}


@dataclass(frozen=True)
class Values:
    """What is asked of an application: one set of values for each run."""

    runs: tuple[Mapping[str, Value], ...]
    swept: tuple[str, ...] = ()
    """The parameters in which the runs differ."""


def read_values(
    application: Application, given: Mapping[str, Any], home: Home, sweep: Mapping[str, Any] | None = None
) -> Values:
    """Return the values of each run, defaults and seeds filled in.

    Parameters
    ----------
    given : mapping
        A value for a parameter, or a list of values, one run each.
    sweep : mapping, optional
        Values as people type several: ``1..8``, ``0.1,0.2``, ``0..1:5``.

    Raises
    ------
    ParameterError
        If a parameter is unknown or missing, or a value is outside its limits; the first of them.
    """
    for name in (*given, *(sweep or {})):
        if name not in application.parameters:
            known = ", ".join(application.parameters) or "none"
            raise ParameterError(name, "This application has no such parameter.", f"It has: {known}.")
    several = dict(sweep or {})
    for name, value in given.items():
        if isinstance(value, (list, tuple, range)):
            several[name] = list(value)
    if both := [name for name in sweep or {} if name in given]:
        raise ParameterError(both[0], "It is given twice, once to be swept.", "Give it once.")
    choices = [
        read_several(name, parameter, several[name], home)
        if name in several
        else [read_value(name, parameter, given.get(name), home)]
        for name, parameter in application.parameters.items()
    ]
    count = _count(choices, list(several))
    runs = tuple(dict(zip(application.parameters, values, strict=True)) for values in itertools.product(*choices))
    assert len(runs) == count
    return Values(runs, tuple(name for name in application.parameters if name in several))


def _count(choices: Sequence[Sequence[Value]], swept: Sequence[str]) -> int:
    count = 1
    for values in choices:
        count *= len(values)
    if count > MOST_RUNS:
        raise ParameterError(swept[0], f"The sweep has {count} runs.", f"At most {MOST_RUNS}.")
    return count


def _check_sweep(name: str, parameter: Parameter, values: Sequence[Any]) -> None:
    if not parameter.sweep:
        raise ParameterError(name, "It takes one value, not several.", "Submit the application once for each.")
    if not values:
        raise ParameterError(name, "The list of values is empty.", "Give one or more.")
    if len(values) > MOST_RUNS:
        raise ParameterError(name, f"The sweep has more than {MOST_RUNS} runs.", f"At most {MOST_RUNS}.")


def read_several(name: str, parameter: Parameter, raw: Any, home: Home) -> list[Value]:
    """Return the values of a sweep, given as a list or as people type several.

    Raises
    ------
    ParameterError
        If one of them is none that this parameter may have, or there are none, or too many.
    """
    values = _several(name, parameter, raw)
    _check_sweep(name, parameter, values)
    return [read_value(name, parameter, one, home) for one in values]


def read_value(name: str, parameter: Parameter, raw: Any, home: Home) -> Value:
    """Return the value that `raw` stands for; None: the default.

    Raises
    ------
    ParameterError
        If it is none that this parameter may have.
    """
    if raw is None:
        if isinstance(parameter, SeedParameter) and parameter.default is None:
            return secrets.randbelow(2**32)
        if parameter.default is None and parameter.required:
            raise ParameterError(name, "It is missing.", f"Give {describe_allowed(parameter)}.")
        return parameter.default
    try:
        return _READERS[type(parameter)](parameter, raw, home)
    except ValueError as error:
        shown = _shown(raw)
        raise ParameterError(name, f"{shown} {error}.", f"Allowed: {describe_allowed(parameter)}.") from None


def _shown(raw: Any) -> str:
    text = " ".join(str(raw)[: 4 * _SHOWN_SIGNS].split())
    return f"“{text[:_SHOWN_SIGNS]}…”" if len(str(raw)) > _SHOWN_SIGNS else f"“{text}”"


def describe_allowed(parameter: Parameter) -> str:
    """Return what a parameter takes, in a few words: ``a number of Hz from 0.1 to 10``."""
    if isinstance(parameter, NumberParameter):
        units = f" in {units_for(parameter.unit)}" if parameter.unit else ""
        return f"a number{_limits(parameter.min, parameter.max, parameter.unit)}{units}"
    if isinstance(parameter, IntegerParameter):
        return f"a whole number{_limits(parameter.min, parameter.max, parameter.unit)}"
    if isinstance(parameter, SeedParameter):
        return f"a whole number from 0 to {LARGEST_SEED}"
    if isinstance(parameter, ChoiceParameter):
        return ", ".join(parameter.values)
    if isinstance(parameter, BooleanParameter):
        return "true or false"
    if isinstance(parameter, FileParameter):
        places = ["your home folder", *map(str, parameter.within)]
        named = f" called {' or '.join(parameter.names)}" if parameter.names else ""
        return f"a file{named} in {' or '.join(places)}"
    form = f" that matches {parameter.pattern}" if parameter.pattern else ""
    return f"{'text' if parameter.lines else 'one line'} of at most {parameter.max_length} characters{form}"


def _limits(low: float | None, high: float | None, unit: str) -> str:
    behind = f" {unit}" if unit else ""
    if low is not None and high is not None:
        return f" from {low:.15g} to {high:.15g}{behind}"
    if low is not None:
        return f" of at least {low:.15g}{behind}"
    return f" of at most {high:.15g}{behind}" if high is not None else ""


# --- one reader for each kind; each raises ValueError with what is wrong, behind the value --------------------------


def _number(parameter: NumberParameter, raw: Any, home: Home) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        raise ValueError("is not a number")
    text = raw if isinstance(raw, str) else repr(raw)
    if len(text) > 100:
        raise ValueError("is not a number")
    value = read_quantity(text, parameter.unit)
    _check_limits(parameter, value)
    return value


def _integer(parameter: IntegerParameter, raw: Any, home: Home) -> int:
    value = _whole(raw)
    _check_limits(parameter, value)
    return value


def _seed(parameter: SeedParameter, raw: Any, home: Home) -> int:
    value = _whole(raw)
    if not 0 <= value <= LARGEST_SEED:
        raise ValueError("is no seed")
    return value


def _whole(raw: Any) -> int:
    if isinstance(raw, str) and _WHOLE.fullmatch(raw.strip()):
        return int(raw)
    # numpy's integers are whole too.
    index = getattr(raw, "__index__", None)
    if isinstance(raw, bool) or index is None:
        raise ValueError("is not a whole number")
    return int(index())


def _check_limits(parameter: NumberParameter | IntegerParameter, value: float) -> None:
    if parameter.min is not None and value < parameter.min:
        raise ValueError("is too small")
    if parameter.max is not None and value > parameter.max:
        raise ValueError("is too large")


def _choice(parameter: ChoiceParameter, raw: Any, home: Home) -> str:
    if isinstance(raw, bool) or str(raw) not in parameter.values:
        raise ValueError("is not one of the choices")
    return str(raw)


def _text(parameter: TextParameter, raw: Any, home: Home) -> str:
    if not isinstance(raw, str):
        raise ValueError("is not text")
    if len(raw) > parameter.max_length:
        raise ValueError(f"has {len(raw)} characters")
    inner = raw.replace("\n", "").replace("\t", "") if parameter.lines else raw
    if not inner.isprintable():
        raise ValueError("holds characters that cannot be printed" + (" or a line break" if "\n" in inner else ""))
    if raw.startswith("-"):
        # It would be read as an option of the program that gets it.
        raise ValueError("begins with “-”")
    if parameter.pattern and not re.fullmatch(parameter.pattern, raw):
        raise ValueError("has not the form that is asked for")
    return raw


def _file(parameter: FileParameter, raw: Any, home: Home) -> str:
    if not isinstance(raw, (str, os.PathLike)):
        raise ValueError("is not a path")
    return str(check_file(Path(os.fspath(raw)), parameter, home))


def _boolean(parameter: BooleanParameter, raw: Any, home: Home) -> bool:
    if isinstance(raw, bool):
        return raw
    try:
        return _YES[str(raw).strip().lower()]
    except KeyError:
        raise ValueError("is neither true nor false") from None


_READERS: dict[type, Callable[[Any, Any, Home], Value]] = {
    NumberParameter: _number,
    IntegerParameter: _integer,
    SeedParameter: _seed,
    ChoiceParameter: _choice,
    TextParameter: _text,
    FileParameter: _file,
    BooleanParameter: _boolean,
}


# --- several values in one text -------------------------------------------------------------------------------------


def _several(name: str, parameter: Parameter, raw: Any) -> list[Any]:
    if not isinstance(raw, str):
        return list(raw) if isinstance(raw, (list, tuple, range)) else [raw]
    match = _RANGE.fullmatch(raw)
    if match is None:
        return [part.strip() for part in raw.split(",") if part.strip()]
    try:
        return _range(parameter, match[1], match[2], int(match[3] or 0))
    except ValueError as error:
        raise ParameterError(
            name, f"{_shown(raw)} {error}.", "Write 1..8, 0..100:10 (every tenth), a list 1,2,5, or 0.1..0.5:5 (five)."
        ) from None


def _range(parameter: Parameter, first: str, last: str, third: int) -> list[Any]:
    """Return the values of a range: whole numbers with a step, or as many numbers as are asked for, evenly spaced."""
    if isinstance(parameter, (IntegerParameter, SeedParameter)):
        values = range(_whole(first), _whole(last) + 1, third or 1)
        if not values:
            raise ValueError("is an empty range")
        # Its length is judged before it is written out.
        return list(values[: MOST_RUNS + 1])
    if not isinstance(parameter, NumberParameter):
        raise ValueError("is a range, and these are no numbers")
    if not 2 <= third <= MOST_RUNS + 1:
        raise ValueError("does not say how many numbers")
    low, high = read_quantity(first, parameter.unit), read_quantity(last, parameter.unit)
    return [low + (high - low) * index / (third - 1) for index in range(third)]
