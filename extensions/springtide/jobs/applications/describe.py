"""An application said in other forms: a line of help for each parameter, a JSON schema, a page of documentation."""

from __future__ import annotations

from typing import Any

from springtide.jobs.applications.load import Offer
from springtide.jobs.applications.models import Application, Output, Resources
from springtide.jobs.applications.parameters import (
    LARGEST_SEED,
    BooleanParameter,
    ChoiceParameter,
    IntegerParameter,
    NumberParameter,
    Parameter,
    SeedParameter,
    TextParameter,
)
from springtide.jobs.applications.values import describe_allowed
from springtide.texts import translator
from springtide.units import describe_duration, format_memory


def describe(parameter: Parameter, language: str = "en") -> str:
    """Return what a parameter is, takes and defaults to, on one line."""
    text = translator(language)
    words = [parameter.label.in_language(language)]
    if parameter.help:
        words.append(parameter.help.in_language(language))
    sentences = ". ".join(part.rstrip(".") for part in words)
    return f"{sentences}. [{'; '.join((allowed(parameter, language), default_of(parameter, text)))}]"


def allowed(parameter: Parameter, language: str) -> str:
    """Return what a parameter takes."""
    if isinstance(parameter, ChoiceParameter):
        labels = {
            choice.value: choice.label.in_language(language) if choice.label else "" for choice in parameter.choices
        }
        return ", ".join(f"{value} ({label})" if label else value for value, label in labels.items())
    if language == "en":
        return describe_allowed(parameter)
    return translator(language)(f"jobs.takes_{parameter.kind}", limits=_limits(parameter))


def _limits(parameter: Parameter) -> str:
    if not isinstance(parameter, (NumberParameter, IntegerParameter)):
        return ""
    low, high = (None if value is None else f"{value:.15g}" for value in (parameter.min, parameter.max))
    bounds = f"{low} – {high}" if low and high else f"≥ {low}" if low else f"≤ {high}" if high else ""
    return " ".join(filter(None, (bounds, parameter.unit)))


def default_of(parameter: Parameter, text: Any) -> str:
    """Return what counts where nothing is given, in words."""
    if isinstance(parameter, SeedParameter) and parameter.default is None:
        return str(text("jobs.default_random"))
    if parameter.default is None:
        return str(text("jobs.required" if parameter.required else "jobs.optional"))
    value = parameter.default
    shown = str(value).lower() if isinstance(value, bool) else f"{value:.15g}" if isinstance(value, float) else value
    unit = f" {parameter.unit}" if isinstance(parameter, NumberParameter) and parameter.unit else ""
    return str(text("jobs.default", value=f"{shown}{unit}"))


# --- JSON schema ----------------------------------------------------------------------------------------------------


def json_schema(application: Application) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of the parameters of one run; a list sweeps one."""
    required = [
        name
        for name, parameter in application.parameters.items()
        if parameter.required and parameter.default is None and not isinstance(parameter, SeedParameter)
    ]
    properties = {name: _schema_of(parameter) for name, parameter in application.parameters.items()}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _schema_of(parameter: Parameter) -> dict[str, Any]:
    one = _value_schema(parameter)
    schema: dict[str, Any]
    schema = {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]} if parameter.sweep else dict(one)
    schema["title"] = parameter.label.en
    if parameter.help:
        schema["description"] = parameter.help.en
    if parameter.default is not None:
        schema["default"] = parameter.default
    return schema


def _value_schema(parameter: Parameter) -> dict[str, Any]:
    if isinstance(parameter, (NumberParameter, IntegerParameter)):
        kind = "number" if isinstance(parameter, NumberParameter) else "integer"
        limits = {"minimum": parameter.min, "maximum": parameter.max}
        return {"type": kind, **{name: value for name, value in limits.items() if value is not None}}
    if isinstance(parameter, SeedParameter):
        return {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED}
    if isinstance(parameter, ChoiceParameter):
        return {"enum": parameter.values}
    if isinstance(parameter, BooleanParameter):
        return {"type": "boolean"}
    if isinstance(parameter, TextParameter):
        pattern = {"pattern": f"^(?:{parameter.pattern})$"} if parameter.pattern else {}
        return {"type": "string", "maxLength": parameter.max_length, **pattern}
    return {"type": "string", "description": describe_allowed(parameter)}


# --- documentation --------------------------------------------------------------------------------------------------


def page(offer: Offer, language: str = "en") -> str:
    """Return the page of documentation of an application, as Markdown."""
    text, application = translator(language), offer.application
    lines = [f"# {application.label.in_language(language)}", ""]
    if application.help:
        lines += [application.help.in_language(language), ""]
    lines += [f"    springtide run {offer.name}{_usage(application)}", ""]
    if application.parameters:
        lines += [f"## {text('jobs.head_parameters')}", ""]
        lines += [f"- `{name}`: {describe(one, language)}" for name, one in application.parameters.items()]
        lines += [""]
    lines += [f"## {text('jobs.head_resources')}", "", resources(application.resources, language), ""]
    for heading, entries in (("jobs.head_outputs", application.outputs), ("jobs.head_plots", application.plots)):
        if entries:
            lines += [f"## {text(heading)}", ""]
            for entry in entries:
                what = f" `{entry.files}`" if isinstance(entry, Output) else ""
                label = f": {entry.label.in_language(language)}" if entry.label else ""
                lines.append(f"- {entry.name}{what}{label}")
            lines += [""]
    ending = [text("jobs.in_environment", environment=offer.environment)]
    ending += [text("jobs.licence", licence=application.licence)] if application.licence else []
    return "\n".join([*lines, " ".join(ending), ""])


def _usage(application: Application) -> str:
    needed = [
        name
        for name, parameter in application.parameters.items()
        if parameter.required and parameter.default is None and not isinstance(parameter, SeedParameter)
    ]
    return "".join(f" --{name.replace('_', '-')} …" for name in needed)


def resources(needed: Resources, language: str) -> str:
    """Return what a run gets, on one line."""
    text = translator(language)
    words = [
        _range(text("jobs.cores"), needed.cores, str),
        _range(text("jobs.memory"), needed.memory, format_memory),
        _range(text("jobs.walltime"), needed.walltime, describe_duration),
    ]
    words += [text("jobs.nodes", count=needed.nodes)] if needed.nodes > 1 else []
    words += [text("jobs.ranks", count=needed.ranks)] if needed.ranks else []
    return "; ".join(words)


def _range(word: str, limits: Any, show: Any) -> str:
    usual = f"{word}: {show(limits.default)}"
    return usual if limits.min == limits.max else f"{usual} ({show(limits.min)} – {show(limits.max)})"
