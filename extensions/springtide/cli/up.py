"""``springtide up``: the whole platform from one command, and down again with Ctrl-C."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import click

from springtide.cli.supervisor import Supervisor
from springtide.environments.build import build
from springtide.environments.catalog import EnvironmentRecipe, resolve
from springtide.environments.engine import connect, image_digest
from springtide.environments.host import needs_host_environment, prepare_host_environment
from springtide.errors import EnvironmentsError, LabFileError, SpringtideError
from springtide.hub.building import building
from springtide.hub.diagnosis import Finding, look_for_places
from springtide.hub.state import StateDirectory, default_state_directory
from springtide.lab.load import load_lab
from springtide.lab.models import BatchSite, Lab, LocalSite
from springtide.lab.profiles import closed_environments
from springtide.share import share_path

Say = Callable[[str], None]


@click.command()
@click.option("--lab", "lab_path", type=click.Path(path_type=Path), help="Lab file [default: the one shipped].")
@click.option("--state", "state_path", type=click.Path(path_type=Path), help="Where homes, secrets and logs are kept.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port for browsers, instead of the lab file's.")
@click.option("--keep-sessions", is_flag=True, help="Leave running sessions alone when the platform is stopped.")
@click.option("--no-build", is_flag=True, help="Build no missing image or environment.")
def up(lab_path: Path | None, state_path: Path | None, port: int | None, keep_sessions: bool, no_build: bool) -> None:
    """Start hub and proxy, say where to log in, and stop everything on Ctrl-C.

    A second start with the same state directory finds users, homes and running sessions again.
    """
    path = (lab_path or Path(os.environ.get("SPRINGTIDE_LAB") or share_path("hub_config", "lab.yaml"))).absolute()
    try:
        lab = load_lab(path)
    except LabFileError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    state = StateDirectory((state_path or default_state_directory(lab)).absolute())
    state.prepare()
    with Supervisor(path, lab, state, port=port, keep_sessions=keep_sessions) as supervisor:
        click.echo(f"Springtide · {lab.lab.name}\n")
        findings = look_for_places(lab)
        for finding in findings:
            click.echo(describe_place(finding))
        missing = [] if no_build else missing_images(lab, findings)
        # The first profile's image now, so that the first login finds a place; the others while people already work.
        for recipe in missing[:1]:
            build_image(recipe, state, click.echo)
        supervisor.start()
        _announce(supervisor, lab, state)
        later = threading.Thread(
            target=_build_the_rest, args=(lab, missing[1:], findings, state, no_build), daemon=True, name="builder"
        )
        later.start()
        supervisor.watch()


def describe_place(finding: Finding) -> str:
    """Return one line, or two, on a place: found or not, and what to do to get it."""
    mark = {"ok": "✓", "absent": "–", "broken": "✗"}[finding.state]
    line = f"  {mark} {finding.subject}: {finding.message}"
    return f"{line}\n      {finding.hint}" if finding.hint else line


def missing_images(lab: Lab, findings: list[Finding]) -> list[EnvironmentRecipe]:
    """Return the images that container profiles need and this machine lacks, in the order of the profiles."""
    if not any(finding.kind == "docker" and finding.state == "ok" for finding in findings):
        return []
    recipes = resolve(lab)
    client = connect()
    try:
        names = dict.fromkeys(profile.environment for profile in lab.profiles if _in_container(lab, profile.site))
        return [recipes[name] for name in names if image_digest(client, recipes[name].image) is None]
    finally:
        client.close()


def build_image(recipe: EnvironmentRecipe, state: StateDirectory, say: Say) -> bool:
    """Build a missing image with progress; one that cannot be built leaves its profiles unavailable, not the hub."""
    say(f"\nThe image {recipe.image} is missing and is built now (once; a few minutes).")
    try:
        with building(state.run, recipe.name):
            build(recipe, lambda line: say(f"    {line}"))
    except EnvironmentsError as error:
        say(f"  ✗ {error}")
        return False
    return True


def _build_the_rest(
    lab: Lab, missing: list[EnvironmentRecipe], findings: list[Finding], state: StateDirectory, no_build: bool
) -> None:
    log = (state.logs / "build.log").open("a", encoding="utf-8", buffering=1)

    def note(line: str) -> None:
        log.write(line + "\n")

    try:
        for recipe in missing:
            built = build_image(recipe, state, note)
            click.echo(f"The image {recipe.image} " + ("is ready." if built else f"was not built: see {log.name}"))
        if not no_build and _runs_on_host(lab, findings):
            _prepare_host_environments(lab, state, note)
    except SpringtideError as error:
        click.echo(f"  ✗ {error}", err=True)
    finally:
        log.close()


def _prepare_host_environments(lab: Lab, state: StateDirectory, say: Say) -> None:
    """Make the kernels of environments that are for everyone usable from sessions that run without a container."""
    closed = closed_environments(lab, ())
    for recipe in resolve(lab).values():
        if recipe.name in closed:
            continue
        if recipe.folder is not None and needs_host_environment(recipe, state.path / "environments"):
            say(f"Preparing the environment {recipe.name} for sessions without a container")
            prepare_host_environment(recipe, state.path / "environments", sys.executable, say)
            click.echo(f"The environment {recipe.name} is ready for sessions without a container.")


def _in_container(lab: Lab, site_name: str) -> bool:
    site = lab.sites[site_name]
    return isinstance(site, LocalSite) and site.runtime == "docker"


def _runs_on_host(lab: Lab, findings: list[Finding]) -> bool:
    """Whether some place that was found runs sessions with this machine's own Python."""
    found = {finding.site for finding in findings if finding.state == "ok"}
    sites = (site for name, site in lab.sites.items() if name in found)
    return any((isinstance(site, BatchSite) and not site.python) or site.runtime == "host" for site in sites)


def _announce(supervisor: Supervisor, lab: Lab, state: StateDirectory) -> None:
    click.echo(f"\nSpringtide is up:  {supervisor.url}")
    if lab.authentication.kind == "shared-password":
        click.echo(f"  user name  any, one for each person\n  password   {state.password()}")
        if os.geteuid() == 0 and any(isinstance(site, BatchSite) for site in lab.sites.values()):
            click.echo("  Whoever has it can run jobs as any ordinary account here; for several people use PAM.")
        if lab.authentication.admins:
            click.echo(
                f"  password of {', '.join(sorted(lab.authentication.admins))}: {state.secret('admin-password')}"
            )
    click.echo(f"  logs       {state.logs}\n\nCtrl-C stops everything that was started here.")
