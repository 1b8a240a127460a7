"""An environment's image at a batch site: its runtime there, and how that starts what an account runs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from springtide.environments import inventory
from springtide.environments.at_home import launch_at_home
from springtide.environments.catalog import resolve, shipped
from springtide.environments.conversions.entries import Entry
from springtide.environments.conversions.places import ImageCaches
from springtide.environments.packages import Packages
from springtide.environments.runtimes import Command, Form, Launch, Runtime, find_runtime
from springtide.errors import EnvironmentsError
from springtide.lab.models import BatchSite, Lab

_ANSWERS_WITHIN_S = 120


@dataclass(frozen=True)
class SiteImage:
    """An image at a batch site, and what runs it there."""

    runtime: Runtime
    entry: Entry

    def command(
        self, command: Sequence[str], home: Path, environment: Mapping[str, str], folders: Sequence[Path] = ()
    ) -> Command:
        """Return what runs `command` in the image: see `launch_at_home`.

        Raises
        ------
        EnvironmentsError
            If the runtime cannot do it.
        """
        return self.runtime.command(self.entry.prepared, launch_at_home(command, home, environment, folders))

    @property
    def digest(self) -> str:
        """``sha256:…`` of its configuration."""
        return self.entry.about.digest

    def packages(self) -> Packages:
        """Return what is installed in it, after asking it here; nothing where that cannot be done here."""
        program = Path(inventory.__file__).read_text(encoding="utf-8")
        python = ("/bin/sh", "-c", 'exec "$(command -v python3 || command -v python)" -I -c "$1"', "sh", program)
        try:
            asking = self.runtime.command(self.entry.prepared, Launch(python))
            answer = subprocess.run(
                asking.argv,
                env={**os.environ, **asking.environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_ANSWERS_WITHIN_S,
                check=True,
            )
            return Packages.from_json(json.loads(answer.stdout))
        except (EnvironmentsError, OSError, subprocess.SubprocessError, ValueError):
            return Packages()


def runtime_of(site: BatchSite) -> Runtime:
    """Return the runtime of a site with containers."""
    return find_runtime(site.runtime, Form(site.image_form) if site.image_form else None, site.runtime_program)


def check_runtime(site: BatchSite, name: str) -> None:
    """Return if something can be submitted to run in containers at a site.

    Raises
    ------
    EnvironmentsError
        If its runtime is not here, and the lab file does not say where the nodes have it.
    """
    if site.runtime_program:
        return
    try:
        runtime_of(site).version()
    except EnvironmentsError as error:
        raise EnvironmentsError(
            f"The site “{name}” has containers of {site.runtime}, which cannot be used here: {error.message}",
            error.hint or "The administrator can name it with “runtime_program” of the site in the lab file.",
        ) from error


def image_at(
    lab: Lab,
    environment: str,
    name: str,
    caches: ImageCaches,
    mark: str,
    say: Callable[[str], None],
    *,
    shared_only: bool = False,
) -> SiteImage:
    """Return the image of an environment at a site with containers, after converting it where it is missing.

    Parameters
    ----------
    name : str
        Of the site.
    mark : str
        Left on the image, so that it stays: the token of the job or session, or the name of the cluster.
    say : callable
        Told what is done: the first time takes minutes.
    shared_only : bool
        Whether it is for other people than this account's, which must not see its own images.

    Raises
    ------
    EnvironmentsError
        If the site cannot run it, or it cannot be converted.
    """
    site = lab.sites[name]
    assert isinstance(site, BatchSite)
    recipe = {**shipped(), **resolve(lab)}.get(environment)
    if recipe is None:
        raise EnvironmentsError(f"There is no environment “{environment}” any more.", "Ask the administrator.")
    private = environment in lab.environments and bool(lab.environments[environment].groups)
    if private and shared_only:
        raise EnvironmentsError(
            f"The environment “{environment}” is for some groups only: from here, its image cannot be handed to jobs.",
            "What runs there in it is submitted from a login shell of the account that runs it.",
        )
    check_runtime(site, name)
    runtime = runtime_of(site)
    return SiteImage(runtime, caches.have(recipe, runtime.form, say, private=private, use=mark))
