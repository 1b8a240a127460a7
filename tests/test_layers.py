"""Imports inside the package point downward only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import springtide

PACKAGE = Path(springtide.__file__).parent

# From the ground up. What stands on one line knows nothing of its neighbours.
LAYERS = (
    ("errors", "units", "share", "texts", "progress"),
    ("lab", "ledger"),
    ("queues", "clouds", "environments"),
    ("jobs", "cluster"),
    ("broker",),
    ("hub", "kernels", "widgets"),
    ("cli",),
)
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}

# What reads the lab file or talks to queues has to run where no hub is installed: on nodes, in scripts.
HUB_LIBRARIES = {"jupyterhub", "batchspawner", "dockerspawner", "traitlets", "tornado"}
WITHOUT_HUB = {name for names in LAYERS[:3] for name in names}


def modules(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def part_of(module: Path, package: Path) -> str:
    """Return the part of the package that `module` belongs to: its folder, or its own name at the top."""
    return module.relative_to(package).parts[0].removesuffix(".py")


def imports(module: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the full dotted name of everything `module` imports, inside functions too."""
    inside = (package.name, *module.relative_to(package).parent.parts)
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(inside[: len(inside) - node.level + 1]) if node.level else ""
            origin = ".".join(filter(None, (base, node.module)))
            yield from ((node.lineno, f"{origin}.{name.name}") for name in node.names)


def violations(module: Path, package: Path) -> Iterator[str]:
    """Yield a sentence for every import of `module` that points up or sideways."""
    own = part_of(module, package)
    if own == "__init__":
        return
    for line, name in imports(module, package):
        top, *rest = name.split(".")
        place = f"{module.relative_to(package)}:{line}"
        if top in HUB_LIBRARIES and own in WITHOUT_HUB:
            yield f"{place}: {own} has to work without {top}"
        if top != package.name or not rest or rest[0] in (own, "__version__"):
            continue
        if rest[0] not in HEIGHT or own not in HEIGHT:
            yield f"{place}: give {own} and {rest[0]} a place in LAYERS"
        elif HEIGHT[rest[0]] >= HEIGHT[own]:
            yield f"{place}: {own} must not import {rest[0]}"


@pytest.mark.parametrize("module", modules(PACKAGE), ids=lambda module: str(module.relative_to(PACKAGE)))
def test_imports_point_downward(module: Path) -> None:
    assert list(violations(module, PACKAGE)) == []


def test_every_part_has_a_layer() -> None:
    parts = {part_of(module, PACKAGE) for module in modules(PACKAGE)} - {"__init__", "__main__", "_share"}
    assert parts <= set(HEIGHT)


@pytest.mark.parametrize(
    ("part", "statement", "allowed"),
    [
        ("lab", "from springtide.errors import Problem", True),
        ("lab", "from springtide import __version__", True),
        ("lab", "from springtide.lab.models import Lab", True),
        ("lab", "from .models import Lab", True),
        ("cli", "from springtide.hub import spawner", True),
        ("hub", "import jupyterhub", True),
        ("lab", "from springtide.queues import base", False),
        ("lab", "from springtide import hub", False),
        ("lab", "import springtide.hub.spawner", False),
        ("lab", "from ..hub import spawner", False),
        ("queues", "from springtide.environments import build", False),
        ("environments", "def later():\n    import springtide.clouds", False),
        ("hub", "from springtide.cli.main import main", False),
        ("errors", "from springtide.units import parse_memory", False),
        ("hub", "from springtide.surprise import x", False),
        ("queues", "from jupyterhub import orm", False),
    ],
)
def test_the_check_itself(part: str, statement: str, allowed: bool, tmp_path: Path) -> None:
    module = tmp_path / "springtide" / part / "module.py"
    module.parent.mkdir(parents=True)
    module.write_text(statement)
    assert (list(violations(module, tmp_path / "springtide")) == []) == allowed
