"""YAML text read into plain values that remember their lines.

Scalars follow YAML 1.2, as editors do: only ``true`` and ``false`` are booleans, so that ``no`` stays the text
it was meant to be, ``12:30:00`` a clock time and ``007`` a text.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from springtide.errors import LabFileError, Problem

Place = tuple[str | int, ...]
"""Keys and list positions that lead from the top of a lab file to a value."""

LARGEST_FILE = 1_000_000
_MOST_VALUES = 20_000
_DEEPEST = 30

_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")
_KINDS = ("bool", "int", "float", "null", "timestamp", "merge", "value")
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in _KINDS)
_TEXT, _MAPPING, _LIST = (f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq"))

# PyYAML's words, and what they mean to someone who wrote a lab file.
_SYNTAX = (
    (r"found character '\\t'", "a tab stands where only spaces may", "indentation by spaces"),
    (r"found character", "a text may not start with this character", "the text between quotes"),
    (r"mapping values are not allowed", "a ':' stands where no key can be", "'key: value', texts with ': ' in quotes"),
    (r"could not find expected ':'", "a key has no ':' behind it", "'key: value'"),
    (r"expected <block end>", "this line is not indented like those it belongs to", "equal indentation in a block"),
    (r"expected ',' or", "a list or mapping in brackets is not closed", "[a, b] or {key: value}"),
    (r"found unexpected end of stream", "a quote is not closed", "as many closing as opening quotes"),
    (r"found undefined alias", "this *alias names nothing", "the name of an &anchor further up"),
    (r"expected a single document", "a second document starts here", "one document in one file: no second '---'"),
    (r"found duplicate anchor", "this &anchor is there twice", "each anchor once"),
)


@dataclass
class Document:
    """A YAML file's values, the line of each, and what is wrong with its form."""

    file: str
    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    what: str = "a lab file"
    """What people call such a file, with its article."""

    def line(self, place: Place) -> int:
        """Return the line of `place`, or of the nearest enclosing value that is written."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def holds(self, place: Place) -> bool:
        """Say whether `place` is written in the file."""
        return not place or place in self.lines

    def value(self, place: Place) -> Any:
        """Return what is written at `place`."""
        value = self.data
        for step in place:
            value = value[step]
        return value

    def complain(self, place: Place, message: str, found: str = "", allowed: str = "", line: int = 0) -> None:
        """Note a problem at `place`."""
        key = dotted(place) or "the file"
        self.problems.append(Problem(self.file, line or self.line(place), key, message, found, allowed))


def dotted(place: Place) -> str:
    """Return `place` as people write it: ``profiles[1].memory.max``."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[\w-]+", step):
            text += f".{step}" if text else step
        else:
            text += f"[{step!r}]"
    return text


def read_text(path: Path, what: str = "a lab file") -> str:
    """Return the text of the file at `path`; `what` is what people call such a file.

    Raises
    ------
    LabFileError
        If it cannot be read, is too large, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise _unreadable(path, "does not exist", f"the path of {what}") from None
    except IsADirectoryError:
        raise _unreadable(path, "is a folder", f"the path of {what}, e.g. {_example(what)} in it") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise _unreadable(path, f"cannot be read: {reason}", "a file this account may read") from None
    if len(content) > LARGEST_FILE:
        raise _unreadable(path, f"is too large for {what}", "at most 1 MB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(
            path, "is not UTF-8 text", "a file saved as UTF-8", found=f"byte 0x{content[error.start]:02x}", line=line
        ) from None


def _example(what: str) -> str:
    return "lab.yaml" if what == "a lab file" else "name.yaml"


def _unreadable(path: Path, message: str, allowed: str, found: str = "", line: int = 1) -> LabFileError:
    return LabFileError([Problem(str(path), line, "the file", message, found, allowed)])


def read_document(
    text: str, file: str, *, what: str = "a lab file", sketch: str = "springtide: 1, sites, profiles"
) -> Document:
    """Return the values of YAML `text`; where it is no YAML, `Document.data` is None and the problem is noted.

    `what` is what people call such a file, `sketch` what stands in one.
    """
    document = Document(file, what=what)
    root = _compose(text, document)
    if root is not None:
        reader = _Reader(document)
        document.data = reader.read(root, (), ())
    elif not document.problems:
        document.complain((), "is empty", allowed=f"{what}: {sketch}")
    return document


def _compose(text: str, document: Document) -> yaml.Node | None:
    """Return the YAML tree of `text`, or None with a problem noted in `document`."""
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        return loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        # PyYAML calls it a character; it is its number.
        found = f"character U+{int(error.character):04X}"
        document.complain((), "holds a character YAML does not allow", found, "printable text", line)
    except yaml.MarkedYAMLError as error:
        _explain(error, text, document)
    except (ValueError, OverflowError):
        # An escape such as "\U00110000", or a number of thousands of digits: PyYAML lets Python's error through.
        line = loader.line + 1 if loader else 1
        document.complain((), "holds an escape or a number that cannot be read", allowed="plain text", line=line)
    except RecursionError:
        document.complain((), "is nested too deeply", allowed=f"at most {_DEEPEST} levels")
    finally:
        if loader:
            loader.dispose()
    return None


def _explain(error: yaml.MarkedYAMLError, text: str, document: Document) -> None:
    words = f"{error.context} {error.problem}"
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    # An open bracket or quote is noticed at the end of the file, a missing ':' a line later.
    noticed_late = mark and (mark.index >= len(text.rstrip()) or "expected ':'" in words)
    if error.context_mark and noticed_late:
        line = error.context_mark.line + 1
    lines = text.splitlines()
    line = max(1, min(line, len(lines)))
    found = _without_secret(lines[line - 1].strip()) if lines else ""
    for pattern, message, allowed in _SYNTAX:
        if re.search(pattern, words):
            document.complain((), message, _shortened(found), allowed, line)
            return
    document.complain((), f"is not YAML: {error.problem}", _shortened(found), "YAML", line)


def _without_secret(line: str) -> str:
    """Return `line` without its value where that may be a password: messages end in logs."""
    return f"{line.split(':')[0]}: …" if re.search(r"secret|passw|token|key|://", line, re.IGNORECASE) else line


def _shortened(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 60 else f"{shown[:58]}…'"


class _Reader:
    """Turns the nodes of one YAML tree into plain values, noting the line of each."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.values = 0

    def read(self, node: yaml.Node, place: Place, inside: tuple[int, ...]) -> Any:
        """Return the value of `node`; `inside` are the ids of the nodes around it."""
        line = self.document.lines.setdefault(place, node.start_mark.line + 1)
        self.values += 1
        if id(node) in inside:
            return self._refuse(place, "contains itself", "an alias of something complete", line)
        if len(inside) > _DEEPEST:
            return self._refuse(place, "is nested too deeply", f"at most {_DEEPEST} levels", line)
        if self.values > _MOST_VALUES:
            if self.values == _MOST_VALUES + 1:
                self._refuse(place, "is one value too many", f"at most {_MOST_VALUES} values", line)
            return None
        if isinstance(node, yaml.MappingNode) and node.tag == _MAPPING:
            return self._read_mapping(node, place, (*inside, id(node)))
        if isinstance(node, yaml.SequenceNode) and node.tag == _LIST:
            return self._read_list(node, place, (*inside, id(node)))
        if isinstance(node, yaml.ScalarNode) and (node.tag == _TEXT or node.tag in _PLAIN_TAGS):
            return _read_scalar(node)
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        return self._refuse(place, "has a tag that is not understood", "no tag", line, found=repr(tag))

    def _refuse(self, place: Place, message: str, allowed: str, line: int, found: str = "") -> None:
        self.document.complain(place, message, found, allowed, line)

    def _read_list(self, node: yaml.SequenceNode, place: Place, inside: tuple[int, ...]) -> list[Any]:
        return [self.read(item, (*place, index), inside) for index, item in enumerate(node.value)]

    def _read_mapping(self, node: yaml.MappingNode, place: Place, inside: tuple[int, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag.endswith(":merge"):
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(place, "has a key that is no text", "plain keys", line)
                continue
            key: str = key_node.value
            if key in mapping:
                first = self.document.lines[*place, key]
                self._refuse((*place, key), "is there twice", f"once; the first is on line {first}", line)
                continue
            self.document.lines[*place, key] = line
            mapping[key] = self.read(value_node, (*place, key), inside)
        for other in merged:
            self._merge(other, mapping, place, inside)
        return mapping

    def _merge(self, node: yaml.Node, mapping: dict[str, Any], place: Place, inside: tuple[int, ...]) -> None:
        """Add to `mapping` what ``<<: *other`` brings and the mapping does not say itself."""
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.MappingNode) or id(node) in inside:
            self._refuse(place, "merges something that is no mapping", "<<: *an-alias-of-a-mapping", line)
            return
        scratch = _Reader(Document(self.document.file))
        scratch.values = self.values
        found = scratch.read(node, place, inside)
        self.values = scratch.values
        self.document.problems += scratch.document.problems
        for key, value in (found or {}).items():
            if key not in mapping:
                mapping[key] = value
                self.document.lines |= {
                    at: number for at, number in scratch.document.lines.items() if at[: len(place) + 1] == (*place, key)
                }


def _read_scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text: str = node.value
    if node.tag == _TEXT or node.style is not None:
        return text
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _WHOLE.fullmatch(text):
        return int(text)
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    return number if math.isfinite(number) and not text.isdecimal() else text
