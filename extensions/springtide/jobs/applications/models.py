"""What an application's file may say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from springtide.jobs.applications.parameters import Parameter, ParameterName
from springtide.lab.fields import FilledLine, Name, OneLine, Surroundings, UserName, check_whole, wrong
from springtide.lab.models import MemoryRange, Model, Text, WalltimeRange

KNOWN_PLACES = frozenset({"program", "cores", "ranks", "upstream.outputs"})
"""What may stand between braces in a command besides the parameters: the application's own program, what the job has,
and the folders with the outputs of the jobs it follows."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,99}")
_ENTRY = re.compile(r"([A-Za-z0-9_][\w.-]{0,99}\.py):([A-Za-z_]\w*)")


def _check_program(name: str, info: ValidationInfo) -> str:
    if not _FILE_NAME.fullmatch(name):
        raise wrong("is not a file's name", allowed="the name of a file beside this one")
    _look_for(name, name, info)
    return name


def _check_entry(text: str, info: ValidationInfo) -> str:
    match = _ENTRY.fullmatch(text)
    if not match:
        raise wrong("names no function", allowed="FILE.py:FUNCTION, the file beside this one")
    _look_for(match[1], text, info)
    return text


def _look_for(name: str, found: str, info: ValidationInfo) -> None:
    folder = info.context.folder if isinstance(info.context, Surroundings) else None
    if folder and not (folder / name).is_file():
        raise wrong("is not there", found=found, allowed=f"a file in {folder}")


def _check_glob(text: str) -> str:
    path = Path(text)
    if path.is_absolute() or ".." in path.parts:
        raise wrong("leads out of the job's folder", allowed="a pattern of relative names, e.g. *.csv")
    return text


def _check_braces(text: str) -> str:
    if "\0" in text:
        raise wrong("holds a zero byte", allowed="text")
    rest = _PLACE.sub("", text.replace("{{", "").replace("}}", ""))
    if "{" in rest or "}" in rest:
        raise wrong("has a brace without its other half", allowed="{parameter}; {{ and }} for braces themselves")
    return text


Part = Annotated[str, AfterValidator(_check_braces)]
ProgramName = Annotated[str, AfterValidator(_check_program)]
Entry = Annotated[str, AfterValidator(_check_entry)]
Glob = Annotated[FilledLine, AfterValidator(_check_glob)]


class CoreRange(Model):
    """Whole cores: a number, or ``{default, min, max}``."""

    default: Annotated[int, Field(ge=1, le=4096), BeforeValidator(check_whole)] = 1
    """Cores where nobody says."""
    min: Annotated[int, Field(ge=1, le=4096), BeforeValidator(check_whole)] = 1
    """Fewest cores."""
    max: Annotated[int, Field(ge=1, le=4096), BeforeValidator(check_whole)] = 1
    """Most cores."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: Any) -> Any:
        if isinstance(value, int):
            return {"default": value, "min": value, "max": value}
        if isinstance(value, dict):
            first = value.get("default", value.get("min", 1))
            return {"default": first, "min": 1, "max": value.get("max", first)} | value
        return value

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.min <= self.default <= self.max:
            found = f"min {self.min}, default {self.default}, max {self.max}"
            raise wrong("is out of order", found=found, allowed="min <= default <= max")
        return self


class Resources(Model):
    """What a run needs, with the limits within which people may ask for more or less."""

    cores: CoreRange = CoreRange()
    """Cores on each node."""
    memory: MemoryRange = MemoryRange()
    """Memory on each node."""
    walltime: WalltimeRange = WalltimeRange()
    """Longest duration."""
    nodes: Annotated[int, Field(ge=1, le=10_000), BeforeValidator(check_whole)] = 1
    """Nodes."""
    ranks: Annotated[int, Field(ge=0, le=100_000), BeforeValidator(check_whole)] = 0
    """MPI processes on each node; 0: no MPI."""


class Output(Model):
    """Files that a run leaves."""

    name: Name
    """What programs call them."""
    files: Glob
    """Pattern of their names in the run's folder."""
    label: Text | None = None
    """What people call them."""


class Plot(Model):
    """A figure made of the outputs of one run or of all runs of a sweep."""

    name: Name
    """What programs call it."""
    entry: Entry
    """``FILE.py:FUNCTION`` beside this file: it gets a list of runs, each with ``parameters`` and ``folder``, and
    returns a matplotlib figure."""
    label: Text | None = None
    """What people call it."""


class Application(Model):
    """A whole application file."""

    springtide: Annotated[Literal[1], BeforeValidator(check_whole)]
    """Version of the format: 1."""
    label: Text
    """What people call it."""
    help: Text | None = None
    """What it does, in a sentence or two."""
    licence: OneLine = ""
    """Licence of what it runs, e.g. ``BSD-3-Clause``."""
    groups: frozenset[UserName] = frozenset()
    """Groups whose members see it; empty: everyone."""
    parameters: Annotated[dict[ParameterName, Parameter], Field(max_length=200, default_factory=dict)]
    """What people choose, by name."""
    program: ProgramName | None = None
    """A file beside this one that the command runs as ``{program}``; it is copied into each job's folder."""
    command: Annotated[tuple[Part | tuple[Part, ...], ...], Field(min_length=1)]
    """Program and arguments, each an entry of its own: no shell reads them. ``{name}`` is a parameter's value. A list
    in the list is left out where a parameter in it has no value."""
    resources: Resources = Resources()
    """What a run needs."""
    outputs: tuple[Output, ...] = ()
    """What it leaves."""
    plots: tuple[Plot, ...] = ()
    """Figures made of its outputs."""

    @model_validator(mode="after")
    def _command_and_parameters_agree(self) -> Self:
        named = set(places_in(self.command))
        known = {*self.parameters, *KNOWN_PLACES} - (set() if self.program else {"program"})
        if unknown := sorted(named - known):
            shown = ", ".join(f"{{{name}}}" for name in sorted(known))
            raise wrong("names what is not there", found=f"{{{unknown[0]}}}", allowed=shown, key="command")
        if unused := [name for name in self.parameters if name not in named]:
            raise wrong("is not used by the command", found=repr(unused[0]), allowed=f"{{{unused[0]}}} in the command")
        if self.program and "program" not in named:
            raise wrong("is not used by the command", found=self.program, allowed="{program} in it", key="program")
        first = self.command[0]
        if not isinstance(first, str) or (_PLACE.search(first) and first != "{program}"):
            raise wrong("does not begin with a program", allowed="a program's name, or {program}", key="command")
        return self


def places_in(command: tuple[str | tuple[str, ...], ...]) -> Iterator[str]:
    """Yield what stands between braces in a command."""
    for part in command:
        for text in (part,) if isinstance(part, str) else part:
            yield from places_in_text(text)


def places_in_text(text: str) -> list[str]:
    """Return what stands between braces in one part; doubled braces are braces."""
    return _PLACE.findall(text.replace("{{", "").replace("}}", ""))
