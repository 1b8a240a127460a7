"""The broker does what its own description says: nothing a caller may send makes it fail or answer in another form."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.broker.serving import PREFIX, Serving

OPERATIONS = (
    "GET /me",
    "GET /applications",
    "GET /applications/{environment}/{name}",
    "POST /estimates",
    "POST /jobs",
    "POST /chains",
    "GET /quotas",
    "GET /jobs",
    "GET /jobs/{token}",
    "POST /jobs/{token}/cancel",
    "POST /jobs/{token}/again",
    "GET /jobs/{token}/log",
    "GET /jobs/{token}/description",
    "GET /jobs/{token}/outputs",
    "GET /jobs/{token}/outputs/{file}",
    "GET /jobs/{token}/program/{file}",
    "GET /jobs/{token}/plots/{name}",
    "PUT /inputs/{name}",
    "POST /schedules",
    "GET /schedules",
    "GET /schedules/{token}",
    "POST /schedules/{token}/{state}",
)
ENDLESS = "GET /events"
# What no schema can say is refused all the same: an application that is not there, a name that is no file's.
NOT_PROMISED: list[CheckFunction] = [positive_data_acceptance]


@pytest.fixture(scope="module")
def description(broker: Serving) -> dict[str, object]:
    return dict(requests.get(f"{broker.url}openapi.json", timeout=10).json())


def test_every_operation_is_tried(description: dict[str, dict[str, dict[str, object]]]) -> None:
    there = {
        f"{method.upper()} {path.removeprefix(f'{PREFIX}v1')}"
        for path, methods in description["paths"].items()
        for method in methods
    }
    assert there == {*OPERATIONS, ENDLESS}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_whatever_is_sent_is_answered_as_described(broker: Serving, operation: str) -> None:
    method, path = operation.split()
    # Its pytest plugin does not work with pytest 9.
    api = schemathesis.openapi.from_url(f"{broker.url}openapi.json")

    @settings(max_examples=25, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=api[f"{PREFIX}v1{path}"][method].as_strategy())
    def answered(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(headers={"Authorization": "token alice"}, timeout=30, excluded_checks=NOT_PROMISED)

    answered()


@settings(max_examples=25, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_asked_of_a_real_application_is_answered_as_described(broker: Serving, data: st.DataObject) -> None:
    api = schemathesis.openapi.from_url(f"{broker.url}openapi.json")
    case = data.draw(api[f"{PREFIX}v1/estimates"]["POST"].as_strategy())
    if isinstance(case.body, dict):
        case.body["application"] = "sum"
    case.call_and_validate(headers={"Authorization": "token alice"}, timeout=30, excluded_checks=NOT_PROMISED)
