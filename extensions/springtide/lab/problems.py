"""What pydantic found wrong, said in the words of someone who wrote the lab file."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from springtide.errors import Problem
from springtide.lab.document import Document, Place, dotted
from springtide.lab.models import Lab

_SECRET = ("environment_variables", "options", "database", "ledger")

# pydantic's error type -> message, allowed. {…} are filled from the error's context.
_WORDS = {
    "string_type": ("must be text", "text; put numbers, true and false between quotes"),
    "path_type": ("must be a path", "text"),
    "int_type": ("must be a whole number", "a number without quotes or decimals"),
    "int_parsing": ("must be a whole number", "a number without quotes or decimals"),
    "int_from_float": ("must be a whole number", "a number without quotes or decimals"),
    "int_parsing_size": ("must be a whole number", "a number of a few digits"),
    "bool_type": ("must be true or false", "true, false"),
    "bool_parsing": ("must be true or false", "true, false"),
    "literal_error": ("is not one of the choices", "{expected}"),
    "union_tag_invalid": ("is not one of the choices", "{expected_tags}"),
    "model_type": ("must be a mapping", "lines of 'key: value', indented"),
    "model_attributes_type": ("must be a mapping", "lines of 'key: value', indented"),
    "dict_type": ("must be a mapping", "lines of 'key: value', indented"),
    "tuple_type": ("must be a list", "lines that start with '- ', or [a, b]"),
    "frozen_set_type": ("must be a list", "lines that start with '- ', or [a, b]"),
    "too_short": ("is empty", "at least one entry"),
    "greater_than_equal": ("is too small", "at least {ge}"),
    "less_than_equal": ("is too large", "at most {le}"),
    "string_unicode": ("is not text", "printable text"),
}
_EMPTY_ALLOWED = "a value, or no such line"


def problems_of(error: ValidationError, document: Document, root: type[BaseModel] = Lab) -> list[Problem]:
    """Return the faults `error` holds, each with its line; one for each place. `root` is what the whole file is."""
    details = error.errors(include_url=False)
    problems: dict[str, Problem] = {}
    guessed: set[Place] = set()
    for detail in sorted(details, key=lambda detail: detail["type"] == "missing"):
        place = _place(detail, document)
        if detail["type"] == "extra_forbidden":
            problem, guess = _unknown_key(place, document, root)
            guessed |= {(*place[:-1], guess)} if guess else set()
        elif place in guessed or _follows_from_another(detail, place, document):
            continue  # what is missing is the key that is misspelt there
        else:
            problem = _explain(detail, place, document, root)
        problems.setdefault(dotted(place), problem)
    return list(problems.values())


def place_of(detail: ErrorDetails, document: Document) -> Place:
    """Return the place an error is about, as far as it is written in the file."""
    place = _place(detail, document)
    while not document.holds(place):
        place = place[:-1]
    return place


def _place(detail: ErrorDetails, document: Document) -> Place:
    loc = list(detail["loc"])
    # Which kind of site was validated stands behind the site's name; it is in no file.
    if loc[:1] == ["sites"] and len(loc) > 2 and loc[2] != "[key]":
        del loc[2]
    place: Place = ()
    for step in loc:
        if document.holds((*place, step)) or (step == loc[-1] and detail["type"] == "missing"):
            place = (*place, step)
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        place = (*place, "kind")
    part = detail.get("ctx", {}).get("key")
    return (*place, part) if part else place


def _follows_from_another(detail: ErrorDetails, place: Place, document: Document) -> bool:
    """Say whether a list is only called empty because its entries were refused."""
    return detail["type"] == "too_short" and bool(document.value(place))


def _explain(detail: ErrorDetails, place: Place, document: Document, root: type[BaseModel]) -> Problem:
    context = {name: str(value) for name, value in detail.get("ctx", {}).items()}
    kind = detail["type"]
    found = context.get("found") or (repr(place[-1]) if detail["loc"][-1:] == ("[key]",) else _found(place, document))
    allowed = context.get("allowed", "")
    if kind == "lab_file":
        message = context["message"]
    elif kind in ("missing", "union_tag_not_found"):
        message, found, allowed = "is missing", "", _needed(place, document, root)
    elif document.holds(place) and document.value(place) is None:
        message, allowed = "has no value", _EMPTY_ALLOWED
    else:
        message, allowed = _WORDS.get(kind, (detail["msg"], ""))
        allowed = allowed.format(**context).replace("'", "").replace(" or ", ", ") if "{" in allowed else allowed
    if place == ("springtide",):
        allowed = f"1, the version of the format of {document.what}"
    return Problem(document.file, document.line(place), dotted(place) or "the file", message, found, allowed)


def _needed(place: Place, document: Document, root: type[BaseModel]) -> str:
    """Return what a missing key asks for: what the model says about it."""
    models = models_at(place[:-1], document, root) if place else []
    fields = (field for model in models for field in model.model_fields.items())
    field = next((field for name, field in fields if place[-1] == (field.alias or name)), None)
    words = (field.description or "") if field else ""
    return words.replace("``", "").split(". ")[0].rstrip(".").replace("\n", " ")


def _unknown_key(place: Place, document: Document, root: type[BaseModel]) -> tuple[Problem, str]:
    allowed = list(dict.fromkeys(name for model in models_at(place[:-1], document, root) for name in keys_of(model)))
    key = str(place[-1])
    close = difflib.get_close_matches(key.lower(), allowed, n=1, cutoff=0.6)
    guess = close[0] if close else ""
    message = f"is not known here, did you mean '{guess}'?" if guess else "is not known here"
    line = document.line(place)
    return Problem(document.file, line, dotted(place), message, repr(key), ", ".join(allowed)), guess


def _found(place: Place, document: Document) -> str:
    if not document.holds(place):
        return ""
    value = document.value(place)
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if any(step in _SECRET for step in place):
        return "" if isinstance(value, str) else type(value).__name__
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:58]}…'"


def keys_of(model: type[BaseModel]) -> list[str]:
    """Return the keys `model` knows, as they are written."""
    return [field.alias or name for name, field in model.model_fields.items()]


def models_at(place: Place, document: Document | None = None, root: type[BaseModel] = Lab) -> list[type[BaseModel]]:
    """Return the models that may stand at `place` of a `root`; of several, the one whose kind is written."""
    found: list[Any] = [root]
    for step in place:
        found = [inner for annotation in found for inner in _inside(annotation, step)]
    models = [annotation for annotation in found if isinstance(annotation, type) and issubclass(annotation, BaseModel)]
    if document and len(models) > 1:
        written = document.value(place)
        kind = written.get("kind") if isinstance(written, dict) else None
        models = [model for model in models if kind in _kinds_of(model)] or models[-1:]
    return models


def _kinds_of(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("kind")
    return typing.get_args(field.annotation) if field else ()


def _inside(annotation: Any, step: str | int) -> Iterable[Any]:
    """Yield the types that stand at `step` of an `annotation`, unions and containers taken apart."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if step == (field.alias or name):
                yield from _unwrapped(field.annotation)
    elif typing.get_origin(annotation) in (dict, tuple, frozenset):
        arguments = typing.get_args(annotation)
        yield from _unwrapped(arguments[1] if typing.get_origin(annotation) is dict else arguments[0])


def _unwrapped(annotation: Any) -> Iterable[Any]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _unwrapped(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for part in typing.get_args(annotation):
            yield from _unwrapped(part)
    else:
        yield annotation
