"""Every text exists in both languages, and says the same in both."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import springtide
import springtide.texts
from springtide.texts import LANGUAGES, pick_language, translate, translator

PACKAGE = Path(springtide.__file__).parent
AREAS = sorted(Path(springtide.texts.__file__).parent.glob("*.yaml"))


def read(area: Path) -> dict[str, dict[str, Any]]:
    texts: dict[str, dict[str, Any]] = yaml.safe_load(area.read_text(encoding="utf-8"))
    return texts


TEXTS = {f"{area.stem}.{key}": texts for area in AREAS for key, texts in read(area).items()}


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_is_there_in_both_languages(key: str) -> None:
    assert sorted(TEXTS[key]) == sorted(LANGUAGES)
    assert all(isinstance(text, str) and text.strip() for text in TEXTS[key].values())


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_has_the_same_placeholders_in_both_languages(key: str) -> None:
    assert placeholders(TEXTS[key]["en"]) == placeholders(TEXTS[key]["fr"])


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_can_be_filled_in(key: str) -> None:
    names = {name.split(".")[0].split("[")[0] for name in placeholders(TEXTS[key]["en"])}
    assert "" not in names, "placeholders have names"
    for language in LANGUAGES:
        assert translate(language, key, **dict.fromkeys(names, 1))


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.stem)
def test_no_key_is_there_twice(area: Path) -> None:
    root = yaml.compose(area.read_text(encoding="utf-8"))
    assert isinstance(root, yaml.MappingNode)
    keys = [key.value for key, _ in root.value]
    assert len(keys) == len(set(keys))


@dataclass(frozen=True)
class Asked:
    """A text that the code or a page asks for by a literal key, and the values it fills in."""

    place: str
    key: str
    values: frozenset[str]
    open_ended: bool


def texts_asked_for() -> Iterator[Asked]:
    for file in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        translators = names_of_translators(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (key := key_of(node, translators)):
                values = frozenset(keyword.arg for keyword in node.keywords if keyword.arg)
                open_ended = any(keyword.arg is None for keyword in node.keywords)
                yield Asked(f"{file.relative_to(PACKAGE)}:{node.lineno}", key, values, open_ended)
    for page in sorted(PACKAGE.rglob("*.html")):
        for match in re.finditer(
            r"""\b(?:t|text|words)\(\s*["']([a-z_]+\.\w+)["']\s*[,)]""", page.read_text(encoding="utf-8")
        ):
            yield Asked(str(page.relative_to(PACKAGE)), match[1], frozenset(), True)


def names_of_translators(tree: ast.AST) -> set[str]:
    """Return the names that are bound to a translator: assigned from one, or annotated as one."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and called(node.value) == "translator":
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and is_translate(node.annotation):
            names.add(node.target.id)
        elif isinstance(node, ast.arg) and is_translate(node.annotation):
            names.add(node.arg)
    return names


def is_translate(annotation: ast.expr | None) -> bool:
    return isinstance(annotation, ast.Name) and annotation.id == "Translate"


def called(node: ast.expr) -> str:
    """Return the name of the function that `node` calls; empty where it calls none by name."""
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def key_of(call: ast.Call, translators: set[str]) -> str:
    """Return the literal text key that `call` asks for; empty where it asks for none."""
    name = called(call)
    position = 1 if name == "translate" else 0
    if not (name == "translate" or name in translators or called(call.func) == "translator"):
        return ""
    argument = call.args[position] if len(call.args) > position else None
    return str(argument.value) if isinstance(argument, ast.Constant) else ""


ASKED = list(texts_asked_for())


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: f"{asked.place}-{asked.key}")
def test_a_text_asked_for_exists_and_gets_its_values(asked: Asked) -> None:
    assert asked.key in TEXTS
    if not asked.open_ended:
        assert placeholders(TEXTS[asked.key]["en"]) <= asked.values


def test_there_are_texts() -> None:
    assert TEXTS


def test_an_unknown_text_is_a_mistake_of_the_code() -> None:
    with pytest.raises(KeyError):
        translator("fr")("nowhere.nothing")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("fr", "fr"),
        ("fr-FR,fr;q=0.9,en;q=0.8", "fr"),
        ("en-GB,fr;q=0.5", "en"),
        ("de,fr;q=0.3", "fr"),
        ("de", "en"),
        ("en;q=0.2, FR ; q=0.7", "fr"),
        ("fr;q=x", "en"),
        ("fr;q=0", "en"),
    ],
)
def test_the_language_is_the_browsers(header: str, language: str) -> None:
    assert pick_language(header) == language
