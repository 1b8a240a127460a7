"""Whatever is written in a lab file: it loads, or every error names a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from springtide.errors import LabFileError, Problem
from springtide.lab.load import parse_lab
from springtide.lab.models import Lab
from springtide.lab.problems import keys_of, models_at
from springtide.share import share_path
from tests.lab.bad_files import BAD, RIGHT

EXAMPLE = share_path("hub_config", "examples", "pbspro.yaml").read_text(encoding="utf-8")
KEYS = sorted(
    {key for place in ((), ("hub",), ("sites", "a"), ("profiles", 0)) for m in models_at(place) for key in keys_of(m)}
)
SECTIONS = [key for key in keys_of(Lab) if key != "springtide"]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.sampled_from(
        ["local", "slurm", "2G", "2h", "desk", "10.0.0.0/16", "..", "~", "\0", "no", "0x1F", "1_0", "1:30"]
    )
)
keys = st.sampled_from(KEYS) | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)


def loads_or_names_lines(text: str) -> None:
    problems = problems_in(text)
    last = len(text.splitlines()) + 1
    assert all(1 <= problem.line <= last for problem in problems)
    assert all(problem.key and problem.message for problem in problems)
    assert all(str(problem).isprintable() for problem in problems)


def problems_in(text: str) -> list[Problem]:
    try:
        parse_lab(text, Path("/srv/lab.yaml"))
    except LabFileError as error:
        return error.problems or [Problem("", 0, "", "an error without a problem")]
    return []


@given(st.text(max_size=200))
@settings(deadline=None)
@example("%YAML 9.9\n---\na")
@example("%YAML 1." + "1" * 5000 + "\n---\na")
@example("&a [*a]")
@example("[" * 600)
@example("? {")
@example("!")
@example("\x85\u2028: \u2029")
@example('"\\ud800": "\\udfff"')
@example("springtide: 1\nsites: {x: {kind: local, local: 1, slurm: {}}}\nprofiles: [[], {}]")
@example("profiles: {0: {name: 1}}\nsites: {0: 1, '[key]': 2}\n'': {}")
def test_any_text(text: str) -> None:
    loads_or_names_lines(text)


@given(values)
@settings(max_examples=200, deadline=None)
def test_any_values(value: Any) -> None:
    loads_or_names_lines(yaml.safe_dump(value, allow_unicode=True))


@given(st.fixed_dictionaries({"springtide": st.just(1) | scalars}, optional=dict.fromkeys(SECTIONS, values)))
@settings(max_examples=200, deadline=None)
def test_any_values_under_known_keys(value: Any) -> None:
    loads_or_names_lines(yaml.safe_dump(value))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_value_at_any_place_of_a_real_lab(data: st.DataObject) -> None:
    lab = yaml.safe_load(EXAMPLE)
    part: Any = lab
    while True:
        steps = list(part) if isinstance(part, dict) else list(range(len(part)))
        step = data.draw(st.sampled_from(steps))
        if not isinstance(part[step], dict | list) or not part[step] or data.draw(st.integers(0, 3)) == 0:
            break
        part = part[step]
    part[step] = data.draw(values)
    loads_or_names_lines(yaml.safe_dump(lab, sort_keys=False))


@given(st.sampled_from([EXAMPLE, RIGHT]), st.integers(0), st.integers(0, 12), st.text(max_size=6))
@settings(max_examples=200, deadline=None)
def test_any_slip_of_the_keyboard(text: str, place: int, removed: int, inserted: str) -> None:
    place %= len(text)
    loads_or_names_lines(text[:place] + inserted + text[place + removed :])


@given(
    st.sampled_from([bad.text for bad in BAD.values() if isinstance(bad.text, str)]),
    st.sampled_from(list(BAD.values())),
)
@settings(max_examples=100, deadline=None)
def test_any_two_faults(first: str, second: Any) -> None:
    loads_or_names_lines(first + (second.text if isinstance(second.text, str) else ""))
