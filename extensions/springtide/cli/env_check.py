"""``springtide env check``: an environment, checked as a pipeline does it."""

from __future__ import annotations

import click
from rich.console import Console
from rich.markup import escape

from springtide.cli.env_options import EnvOptions, engine, env_options, json_option, say
from springtide.cli.env_show import registry_standing
from springtide.cli.tables import print_json
from springtide.environments.catalog import EnvironmentRecipe, find
from springtide.environments.check import check as check_environment
from springtide.environments.findings import Finding, State, passed

_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red", State.NOT_CHECKED: "yellow"}
_FINE = ("same", "unpinned")


@click.command()
@click.argument("name")
@env_options
@json_option
def check(options: EnvOptions, name: str, as_json: bool) -> None:
    """Read the recipe, build, run the tests in the image, list packages, licences and known vulnerabilities.

    Ends with 0, or with 1 if a part failed. Warnings, and what could not be checked, do not make it fail.
    """
    recipe = find(options.lab, name)
    findings: list[Finding] = []
    with engine() as client:
        for finding in check_environment(client, recipe, say):
            findings.append(finding)
            if not as_json:
                _print(finding)
    if standing := _in_registry(options, recipe):
        findings.append(standing)
        if not as_json:
            _print(standing)
    if as_json:
        parts = [finding.as_json() for finding in findings]
        print_json({"environment": recipe.name, "ok": passed(findings), "findings": parts})
    raise SystemExit(0 if passed(findings) else 1)


def _in_registry(options: EnvOptions, recipe: EnvironmentRecipe) -> Finding | None:
    found = registry_standing(options, recipe)
    if not found:
        return None
    if found["standing"] == "not known":
        return Finding("registry", State.NOT_CHECKED, found["text"])
    state = State.OK if found["standing"] in _FINE else State.WARNING
    return Finding("registry", state, found["text"].removeprefix("WARNING: "), data={"standing": found["standing"]})


def _print(finding: Finding) -> None:
    console = Console(highlight=False, soft_wrap=True)
    state = f"[{_COLOURS[finding.state]}]{finding.state.value:11}[/]"
    console.print(f"{state} {finding.subject}: {escape(finding.message)}")
    for line in finding.details:
        console.print(f"            {escape(line)}")
