"""``springtide env convert`` and ``cache``, as an administrator calls them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from springtide.environments.conversions import ConversionCache
from springtide.environments.registry.reference import Reference
from springtide.environments.registry.transfer import push
from tests.support.apptainer import apptainer_folder
from tests.support.command_line import CommandLine
from tests.support.docker_engine import DockerEngine
from tests.support.registry import RunningRegistry, tiny_image


@pytest.fixture
def references(docker_engine: DockerEngine, registry: RunningRegistry) -> tuple[str, str]:
    with tiny_image(docker_engine.client, "cache:1", "cache") as image:
        places = [Reference(registry.host, "test/cache", tag) for tag in ("open", "closed")]
        for place in places:
            push(docker_engine.client, image, place, registry.access, lambda line: None)
    return str(places[0]), str(places[1])


@pytest.fixture
def line(
    tmp_path: Path, registry: RunningRegistry, references: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    monkeypatch.setenv("PATH", f"{apptainer_folder()}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    opened, closed = references
    return CommandLine(
        tmp_path,
        {
            "springtide": 1,
            "sites": {"here": {"kind": "local"}},
            "profiles": [{"name": "small", "site": "here"}],
            "images": {"folder": "shared", "limit": "1G"},
            "registries": registry.lab,
            "environments": {"open": {"image": opened}, "closed": {"image": closed, "groups": ["lpf"]}},
        },
    )


def test_an_image_is_converted_listed_verified_and_removed(line: CommandLine, references: tuple[str, str]) -> None:
    reference = references[0]
    made = line("env", "convert", "open", "--to", "apptainer", "--json")
    assert made.status == 0, made.errors
    image = Path(made.json["image"])
    assert image.is_relative_to(line.folder / "shared")
    assert "converting it into a SIF" in made.errors
    again = line("env", "convert", reference)
    assert (again.output.split(), again.errors) == ([str(image), made.json["digest"]], "")

    (listed,) = line("env", "cache", "--verify", "--json").json
    assert (listed["reference"], listed["problem"], listed["uses"]) == (reference, "", [])
    os.truncate(image, 100)
    damaged = line("env", "cache", "--verify")
    assert damaged.status == 1
    assert "DAMAGED: it has 100 bytes of" in damaged.output
    assert "of 1G" in damaged.errors

    (entry,) = ConversionCache(line.folder / "shared").entries()
    entry.mark("somejob1")
    kept = line("env", "cache", "--remove", made.json["digest"])
    assert (kept.status, "in use, by: somejob1" in kept.errors) == (1, True)
    entry.unmark("somejob1")
    assert line("env", "cache", "--remove", made.json["digest"][:20]).status == 0
    assert "There is no image" in line("env", "cache", "--remove", made.json["digest"]).errors


@pytest.mark.parametrize("by", ["name", "reference"])
def test_a_private_image_comes_into_a_folder_that_only_its_account_sees(
    line: CommandLine, references: tuple[str, str], by: str
) -> None:
    made = line("env", "convert", "closed" if by == "name" else references[1], "--to", "charliecloud")
    assert made.status == 0, made.errors
    root = Path(made.output.split()[0])
    own = line.folder / "own" / "springtide" / "images"
    assert root.is_relative_to(own)
    assert own.stat().st_mode & 0o777 == 0o700
    assert (root / "mark").read_text() == "cache"
