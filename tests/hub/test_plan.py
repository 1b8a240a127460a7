"""What a session was started from, kept apart from the lab file."""

import json

import pytest

from springtide.hub.options import validate_options
from springtide.hub.plan import Plan
from springtide.lab.models import Lab

LAB = Lab.model_validate(
    {
        "springtide": 1,
        "sites": {
            "desk": {"kind": "local", "runtime": "docker", "pids": 99},
            "cluster": {"kind": "pbspro", "commands": "/opt/pbs/bin", "directives": ["-l place=scatter"]},
        },
        "profiles": [
            {"name": "here", "site": "desk", "cpus": {"max": 4}, "label": {"en": "Here", "fr": "Ici"}},
            {"name": "there", "site": "cluster", "walltime": {"default": "2h", "max": "1d"}, "queues": ["short"]},
        ],
    }
)


@pytest.mark.parametrize("options", [{"profile": "here", "cpus": 2}, {"profile": "there", "walltime": "5h"}])
def test_a_plan_comes_back_from_the_hubs_database_as_it_was(options: dict[str, object]) -> None:
    plan = Plan.of(LAB, validate_options(LAB, options, ()))
    stored = json.dumps(plan.as_state())
    assert Plan.from_state(json.loads(stored)) == plan
