"""The JSON schema says the same as the models."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from springtide.lab.schema import lab_schema
from springtide.share import share_path

LAB_FILES = [share_path("hub_config", "lab.yaml"), *sorted(share_path("hub_config", "examples").glob("*.yaml"))]
DESK = {"name": "one", "site": "desk"}

FLAVOURS = {"m1.small": {"cores": 1, "memory": "2G"}}
OPENSTACK = {"kind": "openstack", "cloud": "lab", "image": "base", "flavours": FLAVOURS}


def lab(**parts: Any) -> dict[str, Any]:
    return {"springtide": 1, "sites": {"desk": {"kind": "local"}}, "profiles": [DESK]} | parts


def errors(value: Any) -> list[str]:
    jsonschema: Any = importlib.import_module("jsonschema")
    validator = jsonschema.Draft202012Validator(lab_schema())
    return [error.message for error in validator.iter_errors(value)]


def test_it_is_a_schema() -> None:
    importlib.import_module("jsonschema").Draft202012Validator.check_schema(lab_schema())


@pytest.mark.parametrize("file", LAB_FILES, ids=lambda file: file.stem)
def test_every_shipped_lab_file_follows_it(file: Path) -> None:
    assert errors(yaml.safe_load(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "parts",
    [
        {"profiles": [DESK | {"label": "Desk", "memory": "2G", "cpus": 0.5, "walltime": "2h"}]},
        {"profiles": [DESK | {"label": {"en": "Desk", "fr": "Bureau"}, "memory": {"max": "2G"}, "cpus": {"max": 2}}]},
        {"profiles": [DESK | {"cpus": None, "memory": None}]},
        {"profiles": [DESK | {"walltime": 3600, "memory": 1 << 30}]},
        {"environments": {"base": None}, "hub": None, "lab": None, "authentication": None},
        {"environments": None},
        {"hub": {"idle_timeout": "never"}},
        {"sites": {"desk": {"kind": "local", "environment_variables": {"OMP_NUM_THREADS": 2}}}},
        {"sites": {"desk": {"kind": "slurm", "directives": ["--exclusive"]}}},
        {"authentication": {"kind": "custom", "class": "github", "options": {"A": {"b": [1]}}}},
        {"sites": {"desk": {"kind": "qemu", "budget": 5, "lifetime": "2h"}}},
        {"sites": {"desk": OPENSTACK | {"lifetime": "2h", "security_groups": ["dask"]}}},
        {
            "sites": {
                "desk": {"kind": "qemu", "flavours": {"m1.a": {"cores": 1, "memory": "1G", "price_per_hour": 0.1}}}
            }
        },
    ],
)
def test_short_forms_follow_it(parts: dict[str, Any]) -> None:
    assert errors(lab(**parts)) == []


@pytest.mark.parametrize(
    "parts",
    [
        {"springtide": 2},
        {"sites": {}},
        {"sites": {"desk": {"kind": "condor"}}},
        {"sites": {"desk": {"kind": "local", "pids": 1}}},
        {"sites": {"desk": {"kind": "qemu", "flavours": {"a b": {"cores": 1, "memory": "1G"}}}}},
        {"sites": {"desk": {"kind": "local", "environment_variables": {"JUPYTERHUB_X": "1"}}}},
        {"sites": {"desk": OPENSTACK | {"flavours": {}}}},
        {"sites": {"desk": OPENSTACK | {"password": "x"}}},
        {"sites": {"Big Iron": {"kind": "local"}}},
        {"hub": {"port": 0}},
        {"profiles": [{"name": "one"}]},
        {"profiles": [DESK | {"mem": "2G"}]},
        {"profiles": [DESK | {"label": {"de": "Tisch"}}]},
    ],
)
def test_faults_an_editor_can_see_are_refused(parts: dict[str, Any]) -> None:
    assert errors(lab(**parts))


def test_every_key_is_explained_in_words() -> None:
    schema = lab_schema()
    models = [form for definition in schema["$defs"].values() for form in definition.get("anyOf", [definition])]
    for model in [schema, *models]:
        for name, field in model.get("properties", {}).items():
            description = field.get("description") or explained(schema, field)
            assert description, name
            assert "\n" not in description
            assert "``" not in description


def explained(schema: dict[str, Any], field: dict[str, Any]) -> str:
    """Return what the definition that `field` refers to says about itself."""
    definition: dict[str, Any] = schema["$defs"][field["$ref"].rpartition("/")[2]]
    return str(definition["description"])


def test_defaults_are_shown_as_they_are_written() -> None:
    [memory] = [form for form in lab_schema()["$defs"]["MemoryRange"]["anyOf"] if "properties" in form]
    assert memory["properties"]["default"]["default"] == "2G"
