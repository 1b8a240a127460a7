"""What may be asked for a session, by form and API alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.errors import OptionsError
from springtide.hub.options import (
    SessionRequest,
    as_user_options,
    from_user_options,
    say_cpus,
    say_duration,
    say_memory,
    validate_options,
)
from springtide.lab.models import Lab

GIB = 2**30
LAB = Lab.model_validate(
    {
        "springtide": 1,
        "sites": {
            "here": {"kind": "local"},
            "cluster": {"kind": "slurm", "queue": "batch"},
            "plain": {"kind": "torque"},
        },
        "profiles": [
            {
                "name": "small",
                "site": "here",
                "cpus": {"default": 1, "min": 0.5, "max": 4},
                "memory": {"default": "2G", "min": "512M", "max": "8G"},
            },
            {"name": "gpu", "site": "here", "groups": ["gpu-team"]},
            {
                "name": "node",
                "site": "cluster",
                "cpus": {"default": 2, "min": 1, "max": 16},
                "walltime": {"default": "2h", "min": "10m", "max": "1d"},
                "queues": ["batch", "long"],
            },
            {"name": "simple", "site": "plain"},
        ],
    }
)


def validate(options: Mapping[str, object], *groups: str) -> SessionRequest:
    return validate_options(LAB, options, groups)


def refused(options: Mapping[str, object], *groups: str, language: str = "en") -> OptionsError:
    with pytest.raises(OptionsError) as caught:
        validate_options(LAB, options, groups, language=language)
    return caught.value


def test_nothing_asked_means_the_first_visible_profile_as_it_comes() -> None:
    assert validate({}) == SessionRequest("small", 1, 2 * GIB, None, "")


def test_what_is_left_out_takes_the_profiles_default() -> None:
    assert validate({"profile": "node"}) == SessionRequest("node", 2, 2 * GIB, 7200, "batch")


def test_a_batch_profile_without_limits_of_its_own_has_the_usual_walltime() -> None:
    assert validate({"profile": "simple"}) == SessionRequest("simple", 1, 2 * GIB, 7200, "")


def test_form_and_api_ask_alike() -> None:
    form = {"profile": ["node"], "cpus": ["4"], "memory": ["1G"], "walltime": ["1h30m"], "queue": ["long"]}
    api = {"profile": "node", "cpus": 4, "memory": GIB, "walltime": 5400, "queue": "long"}
    assert validate(form) == validate(api) == SessionRequest("node", 4, GIB, 5400, "long")


def test_a_profile_of_a_group_is_open_to_its_members() -> None:
    assert validate({"profile": "gpu"}, "gpu-team").profile == "gpu"


def test_a_profile_of_another_group_is_as_unknown_as_one_that_does_not_exist() -> None:
    hidden, unknown = refused({"profile": "gpu"}), refused({"profile": "nope"})
    assert hidden.message.replace("gpu", "nope") == unknown.message
    assert hidden.hint == unknown.hint == "The profiles open to you are: small, node, simple."


BAD: list[tuple[dict[str, object], str]] = [
    ({"cmd": "id"}, "cmd"),
    ({"profile": "small", "environment": {"A": "b"}}, "environment"),
    ({"profile": ""}, "profile"),
    ({"profile": None}, "profile"),
    ({"profile": ["small", "node"]}, "profile"),
    ({"profile": []}, "profile"),
    ({"profile": {"name": "small"}}, "profile"),
    ({"profile": True}, "profile"),
    ({"cpus": 0.4}, "cpus"),
    ({"cpus": 4.1}, "cpus"),
    ({"cpus": -1}, "cpus"),
    ({"cpus": float("nan")}, "cpus"),
    ({"cpus": float("inf")}, "cpus"),
    ({"cpus": "nan"}, "cpus"),
    ({"cpus": "1e0"}, "cpus"),
    ({"cpus": "1_0"}, "cpus"),
    ({"cpus": ""}, "cpus"),
    ({"cpus": True}, "cpus"),
    ({"cpus": None}, "cpus"),
    ({"cpus": [1, 2]}, "cpus"),
    ({"cpus": [[1]]}, "cpus"),
    ({"cpus": 10**400}, "cpus"),
    ({"profile": "node", "cpus": 1.5}, "cpus"),
    ({"profile": "node", "cpus": "1.5"}, "cpus"),
    ({"memory": "9G"}, "memory"),
    ({"memory": "511M"}, "memory"),
    ({"memory": "much"}, "memory"),
    ({"memory": 1.5e9}, "memory"),
    ({"memory": True}, "memory"),
    ({"memory": None}, "memory"),
    ({"memory": ["1G", "2G"]}, "memory"),
    ({"memory": "9" * 400 + "T"}, "memory"),
    ({"walltime": "1h"}, "walltime"),
    ({"profile": "node", "walltime": "2d"}, "walltime"),
    ({"profile": "node", "walltime": 599}, "walltime"),
    ({"profile": "node", "walltime": "soon"}, "walltime"),
    ({"profile": "node", "walltime": 3600.0}, "walltime"),
    ({"profile": "node", "walltime": True}, "walltime"),
    ({"profile": "node", "walltime": None}, "walltime"),
    ({"profile": "node", "queue": "secret"}, "queue"),
    ({"profile": "node", "queue": "long\n#PBS -l x"}, "queue"),
    ({"profile": "node", "queue": ""}, "queue"),
    ({"profile": "node", "queue": ["batch", "long"]}, "queue"),
    ({"profile": "small", "queue": "batch"}, "queue"),
    ({"profile": "simple", "queue": "batch"}, "queue"),
]


@pytest.mark.parametrize(("options", "field"), BAD, ids=[repr(options)[:50] for options, _ in BAD])
def test_a_bad_option_is_refused_by_name_with_what_is_allowed(options: dict[str, object], field: str) -> None:
    error = refused(options)
    assert error.field == field
    assert error.message
    assert error.hint
    assert len(str(error)) < 300


@pytest.mark.parametrize("field", ["cpus", "memory"])
def test_a_number_too_long_to_write_out_is_refused_too(field: str) -> None:
    assert refused({field: 10**5000}).field == field


def test_the_error_says_the_limits_in_units() -> None:
    assert str(refused({"memory": "9G"})) == "The value “9G” of “memory” is not allowed. Allowed: from 512 MB to 8 GB."
    assert refused({"profile": "node", "walltime": "2d"}).hint == "Allowed: from 10 min to 1 d."
    assert refused({"profile": "node", "queue": "x"}).hint == "Allowed: batch, long."


def test_the_error_speaks_french() -> None:
    error = refused({"cpus": 9}, language="fr")
    assert error.message == "La valeur « 9 » de « cpus » n’est pas permise."
    assert error.hint == "Valeurs permises : de 0,5 cœur à 4 cœurs."


def test_quantities_are_said_as_people_say_them() -> None:
    assert [say_cpus(1, "en"), say_cpus(2, "en"), say_cpus(0.5, "fr")] == ["1 core", "2 cores", "0,5 cœur"]
    assert [say_memory(1536 * 2**20, "fr"), say_memory(512, "en")] == ["1,5 Go", "512 B"]
    assert [say_duration(93600, "en"), say_duration(93600, "fr")] == ["1 d 2 h", "1 j 2 h"]


# What any client may send as JSON, and form data.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
option_keys = st.sampled_from(["profile", "cpus", "memory", "walltime", "queue"]) | st.text()
likely_values = st.sampled_from(["small", "node", "simple", "batch", "long", "1", "2G", "2h", 1, 2, 0.5, GIB, 3600])


@given(st.dictionaries(option_keys, likely_values | json_values, max_size=5))
def test_whatever_is_sent_is_within_the_limits_or_refused(options: dict[str, Any]) -> None:
    try:
        request = validate(options)
    except OptionsError:
        assert str(refused(options)).isprintable()
        return
    profile = next(profile for profile in LAB.profiles if profile.name == request.profile)
    assert profile.cpus.min <= request.cpus <= profile.cpus.max
    assert profile.memory.min <= request.memory_bytes <= profile.memory.max
    assert request.queue in ("", "batch", "long")


cpus = st.integers(1, 16).map(float)
memory = st.integers(GIB // 2, 2 * GIB)
node_requests = st.builds(
    SessionRequest, st.just("node"), cpus, memory, st.integers(600, 86400), st.sampled_from(["batch", "long"])
)
local_requests = st.builds(
    SessionRequest, st.just("small"), st.floats(0.5, 4), st.integers(GIB // 2, 8 * GIB), st.none(), st.just("")
)


@given(node_requests | local_requests)
def test_what_the_database_keeps_means_the_same_session_again(request: SessionRequest) -> None:
    kept = json.loads(json.dumps(as_user_options(request)))
    assert from_user_options(kept) == request
    assert validate(kept) == request


@pytest.mark.parametrize(
    "kept",
    [{}, {"profile": "small"}, {"profile": 3, "cpus": 1, "memory": 1}, {"profile": "a", "cpus": "1", "memory": 1}],
)
def test_what_was_never_written_cannot_be_read(kept: dict[str, object]) -> None:
    with pytest.raises(OptionsError):
        from_user_options(kept)
