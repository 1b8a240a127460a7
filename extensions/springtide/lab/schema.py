"""The lab file's JSON schema, for editors: completion, explanations on hover, errors while typing.

pydantic describes the values; what an administrator may write instead of them (``2G``, a bare text, an empty part)
is added here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from springtide.lab.clouds import FLAVOUR_PATTERN
from springtide.lab.fields import NAME_PATTERN
from springtide.lab.models import Lab
from springtide.units import describe_duration, format_memory

_SHORTHANDS: dict[str, dict[str, Any]] = {
    "Text": {"type": "string"},
    "CpuRange": {"type": "number", "minimum": 0.05, "maximum": 4096},
    "MemoryRange": {"type": ["string", "integer"]},
    "WalltimeRange": {"type": ["string", "integer"]},
    "Budget": {"type": "number", "minimum": 0, "maximum": 1e9},
}
_MAY_BE_EMPTY = ("LabIdentity", "Hub", "Authentication", "Environment", "CpuRange", "MemoryRange", "WalltimeRange")
_SHOWN_FIELDS: dict[tuple[str, str], Callable[[int], str]] = {
    ("QemuSite", "lifetime"): describe_duration,
    ("QemuSite", "billing_quantum"): describe_duration,
    ("QemuSite", "maximum_memory"): format_memory,
    ("QemuSite", "disk"): format_memory,
    ("OpenStackSite", "lifetime"): describe_duration,
    ("OpenStackSite", "billing_quantum"): describe_duration,
    ("OpenStackSite", "request_timeout"): describe_duration,
}
_SHOWN_DEFAULTS: dict[str, Callable[[int], str]] = {
    "MemoryRange": format_memory,
    "WalltimeRange": describe_duration,
}


def lab_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a lab file as it is written."""
    schema = Lab.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    for name, show in _SHOWN_DEFAULTS.items():
        for field in definitions[name]["properties"].values():
            field["default"] = show(field["default"]).replace(" ", "")
    definitions["Hub"]["properties"]["idle_timeout"]["default"] = "3h"
    for (name, key), shown in _SHOWN_FIELDS.items():
        field = definitions[name]["properties"][key]
        field["default"] = shown(field["default"]).replace(" ", "")
    for size in definitions["QemuSite"]["properties"]["flavours"]["default"].values():
        size["memory"] = format_memory(size["memory"])
    definitions["QemuSite"]["properties"]["flavours"]["propertyNames"] = {"pattern": FLAVOUR_PATTERN}
    for name in definitions:
        forms = [definitions[name]]
        forms += [_SHORTHANDS[name]] if name in _SHORTHANDS else []
        forms += [{"type": "null"}] if name in _MAY_BE_EMPTY else []
        if len(forms) > 1:
            description = definitions[name].pop("description", "")
            definitions[name] = {"description": description, "anyOf": forms}
    schema["properties"]["environments"]["type"] = ["object", "null"]
    for section in ("environments", "sites"):
        schema["properties"][section]["propertyNames"] = {"pattern": NAME_PATTERN}
    for site in ("LocalSite", "BatchSite"):
        values = definitions[site]["properties"]["environment_variables"]
        values["additionalProperties"] = {"type": ["string", "integer"]}
        values["propertyNames"] = {"pattern": "^(?!JUPYTERHUB_)[A-Za-z_][A-Za-z0-9_]*$"}
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Springtide lab file",
        "description": "Sites, environments, profiles and login of a lab.",
    }
    described: dict[str, Any] = _plain(schema)
    return described | head


def _plain(value: Any) -> Any:
    """Return `value` with every description as plain sentences on one line, and without pydantic's field titles."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    # A property may itself be called "title"; only the keyword beside a type is pydantic's invention.
    described = {key: _plain(item) for key, item in value.items() if not (key == "title" and isinstance(item, str))}
    if "$ref" in described:
        described.pop("default", None)  # each part of the definition has its own
    if isinstance(described.get("description"), str):
        described["description"] = re.sub(r"\s+", " ", described["description"]).replace("``", "`")
    return described
