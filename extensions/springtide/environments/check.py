"""Checks an environment for real: its recipe read, its image built, its tests run inside, its packages listed.

What Jenkins and Sonar did for a lab's images; pipelines call it as ``springtide env check``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker

from springtide.environments import inside_tests
from springtide.environments.advisories import look_up
from springtide.environments.build import build
from springtide.environments.catalog import EnvironmentRecipe
from springtide.environments.findings import Finding, State
from springtide.environments.inventory import UNKNOWN_LICENCE
from springtide.environments.lint import lint
from springtide.environments.listing import packages_of
from springtide.environments.packages import Packages
from springtide.environments.trial import Outcome, Trial, run_in
from springtide.errors import EnvironmentsError

Progress = Callable[[str], None]

_PLACE = "/recipe"
_TESTS_S = 900
_LAST_LINES = 25


def check(client: docker.DockerClient, recipe: EnvironmentRecipe, progress: Progress) -> Iterator[Finding]:
    """Yield what each part of the check finds, as it goes; those after a failed build are left out.

    Parameters
    ----------
    client : docker.DockerClient
        Its time limit must allow for the longest test.
    recipe : EnvironmentRecipe
        The environment; one without a folder is only pulled, and its packages listed.
    progress : callable
        Told what is done, a short line at a time.
    """
    if recipe.folder:
        progress("reading the recipe")
        yield lint(recipe.folder, recipe.name)
    try:
        digest = build(recipe, progress)
    except EnvironmentsError as error:
        yield Finding("image", State.FAILED, error.message.splitlines()[0], tuple(str(error).splitlines()[1:]))
        return
    yield Finding("image", State.OK, f"{recipe.image} ({digest})", data={"image": recipe.image, "digest": digest})
    if recipe.folder and (recipe.folder / "tests").is_dir():
        progress("running the environment's tests in its image")
        yield from _tests(client, recipe.image, recipe.folder)
    progress("listing packages and licences")
    packages = packages_of(client, recipe.image)
    yield from _packages(packages)
    progress("asking for known vulnerabilities")
    yield look_up(packages)


def _tests(client: docker.DockerClient, image: str, folder: Path) -> Iterator[Finding]:
    program = Path(inside_tests.__file__).read_text(encoding="utf-8")
    command = ("python3", "-c", program, _PLACE)
    try:
        outcome = run_in(client, image, Trial(command, {folder.absolute(): _PLACE}, _TESTS_S))
    except EnvironmentsError as error:
        yield Finding("tests", State.FAILED, str(error))
        return
    try:
        report = json.loads(outcome.output.splitlines()[-1])
        figures = {key: int(report[key]) for key in ("run", "failed", "skipped")}
        covered = {str(name): (int(reached), int(lines)) for name, (reached, lines) in report["covered"].items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        yield Finding("tests", State.FAILED, f"they broke off with status {outcome.status}", _end_of(outcome))
        return
    yield _result(figures, outcome)
    yield _coverage(covered)


def _result(figures: dict[str, int], outcome: Outcome) -> Finding:
    if not figures["run"]:
        return Finding("tests", State.FAILED, "there are none", _end_of(outcome), figures)
    if outcome.status != 0:
        message = f"{figures['failed']} of {figures['run']} failed"
        return Finding("tests", State.FAILED, message, _end_of(outcome), figures)
    skipped = f", {figures['skipped']} skipped" if figures["skipped"] else ""
    return Finding("tests", State.OK, f"{figures['run']} passed in the image{skipped}", data=dict(figures))


def _end_of(outcome: Outcome) -> tuple[str, ...]:
    return tuple((outcome.errors or outcome.output).splitlines()[-_LAST_LINES:])


def _coverage(covered: dict[str, tuple[int, int]]) -> Finding:
    reached, lines = (sum(pair[index] for pair in covered.values()) for index in (0, 1))
    files: dict[str, Any] = {name: {"reached": pair[0], "lines": pair[1]} for name, pair in covered.items()}
    if not lines:
        return Finding("coverage", State.OK, "the environment has no Python files of its own", data={"files": files})
    details = tuple(f"{name}: {pair[0]} of {pair[1]} lines" for name, pair in covered.items() if pair[0] < pair[1])
    message = f"{100 * reached / lines:.0f} % of the {lines} lines of its own Python files (in the tests' own process)"
    return Finding("coverage", State.OK, message, details, {"reached": reached, "lines": lines, "files": files})


def _packages(packages: Packages) -> Iterator[Finding]:
    counts = {place: len(versions) for place, versions in packages.versions().items()}
    if not any(counts.values()):
        yield Finding("packages", State.NOT_CHECKED, "the image has no Python to list them with")
        return
    message = ", ".join(f"{number} in {place}" for place, number in counts.items())
    yield Finding("packages", State.OK, message, data={"packages": packages.versions()})
    yield _licences(packages)


def _licences(packages: Packages) -> Finding:
    licences = {
        f"{place}/{name}": one.licence for place, found in packages.python.items() for name, one in found.items()
    }
    counted = Counter(licences.values())
    unknown = tuple(sorted(name for name, licence in licences.items() if licence == UNKNOWN_LICENCE))
    data = {"licences": licences}
    if unknown:
        return Finding("licences", State.WARNING, f"{len(unknown)} packages do not say theirs", unknown, data)
    most = ", ".join(f"{licence} ({number})" for licence, number in counted.most_common(4))
    return Finding("licences", State.OK, f"{len(counted)} kinds: {most}, …" if len(counted) > 4 else most, data=data)
