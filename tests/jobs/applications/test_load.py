"""Application files: every fault with its line, and who sees what."""

from __future__ import annotations

from pathlib import Path

import pytest

from springtide.errors import ApplicationFileError, UnknownApplication
from springtide.jobs.applications.load import Offer, applications_of, find_offer, load_application
from springtide.lab.load import load_lab, parse_lab
from springtide.share import share_path
from tests.jobs.applications.make import EVERY_KIND, LISACODE, application, written

HEAD = "springtide: 1\nlabel: X\n"
COMMAND = "command: [echo]\n"


def test_every_kind_of_parameter_is_read(tmp_path: Path) -> None:
    found = application(tmp_path)
    assert [parameter.kind for parameter in found.parameters.values()][:5] == [
        "number",
        "number",
        "integer",
        "seed",
        "choice",
    ]
    assert found.label.in_language("fr") == "Toutes sortes"


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        (HEAD, 1, "command", "is missing"),
        ("springtide: 2\nlabel: X\n" + COMMAND, 1, "springtide", "is not one of the choices"),
        (HEAD + "comand: [echo]\n", 3, "comand", "did you mean 'command'?"),
        (HEAD + 'command: ["{x}"]\n', 3, "command", "names what is not there"),
        (HEAD + "command: ['echo {x']\n", 3, "command[0]", "a brace without its other half"),
        (HEAD + "command: []\n", 3, "command", "is empty"),
        (HEAD + "parameters:\n  a: {kind: integer, label: A}\n" + COMMAND, 1, "the file", "is not used by the command"),
        (
            HEAD + "parameters:\n  Bad: {kind: integer, label: A}\n" + COMMAND,
            4,
            "parameters.Bad",
            "not a parameter's name",
        ),
        (HEAD + "parameters:\n  site: {kind: integer, label: A}\n" + COMMAND, 4, "parameters.site", "has a meaning"),
        (
            HEAD + "parameters:\n  a: {kind: float, label: A}\n" + COMMAND,
            4,
            "parameters.a.kind",
            "is not one of the choices",
        ),
        (
            HEAD + "parameters:\n  a:\n    kind: integer\n    label: A\n    mim: 1\n",
            7,
            "parameters.a.mim",
            "did you mean 'min'?",
        ),
        (
            HEAD + "parameters:\n  a: {kind: integer, label: A, min: 3, max: 1}\n",
            4,
            "parameters.a.max",
            "is less than min",
        ),
        (
            HEAD + "parameters:\n  a: {kind: number, label: A, max: 1, default: 2}\n",
            4,
            "parameters.a.default",
            "too large",
        ),
        (HEAD + "parameters:\n  a: {kind: number, label: A, unit: hz}\n", 4, "parameters.a.unit", "is no unit"),
        (HEAD + "parameters:\n  a: {kind: choice, label: A, choices: [x, x]}\n", 4, "parameters.a.choices", "twice"),
        (
            HEAD + "parameters:\n  a: {kind: text, label: A, pattern: '('}\n",
            4,
            "parameters.a.pattern",
            "regular expression",
        ),
        (HEAD + "program: none.py\ncommand: ['{program}']\n", 3, "program", "is not there"),
        (HEAD + "program: ../x.py\ncommand: ['{program}']\n", 3, "program", "is not a file's name"),
        (HEAD + COMMAND + "plots: [{name: a, entry: x.py}]\n", 4, "plots[0].entry", "names no function"),
        (HEAD + COMMAND + "outputs: [{name: a, files: ../*}]\n", 4, "outputs[0].files", "leads out"),
        (HEAD + COMMAND + "resources: {cores: {default: 9, max: 4}}\n", 4, "resources.cores", "is out of order"),
        (HEAD + COMMAND + "resources: {memory: 4X}\n", 4, "resources.memory", "is not a memory size"),
        ("", 1, "the file", "is empty"),
    ],
)
def test_a_fault_is_told_with_its_line_and_key(tmp_path: Path, text: str, line: int, key: str, words: str) -> None:
    with pytest.raises(ApplicationFileError) as caught:
        load_application(written(tmp_path, text))
    problem = next(one for one in caught.value.problems if one.key.startswith(key))
    assert (problem.line, words in problem.message) == (line, True), str(caught.value)
    assert problem.file.endswith("every-kind.yaml")


def test_a_file_that_is_missing_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ApplicationFileError, match="does not exist; allowed: the path of an application file"):
        load_application(tmp_path / "none.yaml")


def test_the_shipped_applications_are_right() -> None:
    offers, problems = applications_of(load_lab(share_path("hub_config", "lab.yaml")))
    assert (problems, "lisa/instrument-noise" in offers) == ([], True)


def test_applications_of_the_labs_own_environments_are_found(tmp_path: Path) -> None:
    written(tmp_path / "mine" / "apps")
    written(tmp_path / "mine" / "apps", "nonsense", "broken")
    lab = parse_lab(
        "springtide: 1\nsites: {a: {kind: local, runtime: host}}\nenvironments: {mine: {folder: mine}}\n"
        "profiles: [{name: x, site: a}]\n",
        tmp_path / "lab.yaml",
    )
    offers, problems = applications_of(lab)
    assert "mine/every-kind" in offers
    assert [Path(problem.file).name for problem in problems] == ["broken.yaml"]


def test_a_private_application_does_not_exist_for_others(tmp_path: Path) -> None:
    offers = {
        f"lisa/{name}": Offer(name, "lisa", application(tmp_path, text), tmp_path)
        for name, text in (("lisacode", LISACODE), ("every-kind", EVERY_KIND))
    }
    assert find_offer(offers, "lisacode", {"lisa"}).full_name == "lisa/lisacode"
    with pytest.raises(UnknownApplication) as caught:
        find_offer(offers, "lisacode", {"lpf"})
    assert str(caught.value) == "There is no application “lisacode”. This lab has: every-kind."


def test_a_misspelt_name_is_answered_with_the_right_one(tmp_path: Path) -> None:
    offers = {"lisa/every-kind": Offer("every-kind", "lisa", application(tmp_path), tmp_path)}
    with pytest.raises(UnknownApplication, match="Did you mean “every-kind”"):
        find_offer(offers, "evry-kind", ())
