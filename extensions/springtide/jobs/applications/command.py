"""From an application's command and a run's values to program and arguments: a list, which no shell ever reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from springtide.jobs.applications.models import Application, places_in_text
from springtide.jobs.applications.parameters import BooleanParameter
from springtide.jobs.applications.values import Value

_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


def arguments(application: Application, values: Mapping[str, Value], places: Mapping[str, Sequence[str]]) -> list[str]:
    """Return program and arguments of one run.

    Parameters
    ----------
    places : mapping
        What stands for the places that are no parameters (``program``, ``cores``, …): one text, or several where a part
        of the command that is nothing but the place becomes as many arguments.
    """
    texts = {**{name: list(found) for name, found in places.items()}, **_texts(application, values)}
    found: list[str] = []
    for part in application.command:
        if isinstance(part, str):
            found += _filled(part, texts)
        elif all(texts.get(name) for piece in part for name in places_in_text(piece)):
            found += [argument for piece in part for argument in _filled(piece, texts)]
    return found


def _texts(application: Application, values: Mapping[str, Value]) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for name, value in values.items():
        parameter = application.parameters[name]
        if isinstance(parameter, BooleanParameter) and parameter.flag:
            texts[name] = [parameter.flag] if value else []
        else:
            texts[name] = [] if value is None else [as_text(value)]
    return texts


def as_text(value: Value) -> str:
    """Return a value as a command gets it: numbers in the shortest form that is read back exactly."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _filled(part: str, texts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the arguments that one part becomes: none where it is only a place without a value."""
    whole = _PLACE.fullmatch(part)
    if whole and whole[1] is not None:
        return list(texts.get(whole[1], []))
    return [_PLACE.sub(lambda match: _in_place_of(match, texts), part)]


def _in_place_of(match: re.Match[str], texts: Mapping[str, Sequence[str]]) -> str:
    if match[1] is None:
        return match[0][0]
    return ":".join(texts.get(match[1], []))
