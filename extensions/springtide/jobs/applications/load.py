"""Reads application files, and finds those of a lab."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from springtide.errors import ApplicationFileError, LabFileError, Problem, UnknownApplication
from springtide.jobs.applications.models import Application
from springtide.lab.document import read_document, read_text
from springtide.lab.fields import NAME_FORM, NAME_PATTERN, Surroundings
from springtide.lab.models import SHIPPED_ENVIRONMENTS, Lab
from springtide.lab.problems import problems_of
from springtide.share import share_path

FOLDER = "apps"
"""The folder of an environment's recipe in which its applications are."""
_WHAT = "an application file"
_SKETCH = "springtide: 1, label, parameters, command"


@dataclass(frozen=True)
class Offer:
    """An application, and where it comes from."""

    name: str
    """The file's name without ``.yaml``."""
    environment: str
    application: Application
    file: Path
    environment_groups: frozenset[str] = frozenset()
    """Groups whose members may use its environment; empty: everyone."""

    @property
    def full_name(self) -> str:
        """The name that is unique in a lab."""
        return f"{self.environment}/{self.name}"

    def for_members_of(self, groups: Collection[str]) -> bool:
        """Whether a user who is in these groups sees it."""
        needed = (self.application.groups, self.environment_groups)
        return all(not some or not some.isdisjoint(groups) for some in needed)


def load_application(file: Path) -> Application:
    """Return the application that `file` declares.

    Raises
    ------
    ApplicationFileError
        If it cannot be read or is wrong; it names every fault found, in the order of the lines.
    """
    try:
        text = read_text(file, _WHAT)
    except LabFileError as error:
        raise ApplicationFileError(error.problems) from None
    document = read_document(text, str(file), what=_WHAT, sketch=_SKETCH)
    problems = list(document.problems)
    application = None
    if not (document.data is None and problems):
        try:
            application = Application.model_validate(document.data, context=Surroundings(file.absolute().parent))
        except ValidationError as refused:
            problems += problems_of(refused, document, Application)
    if not re.fullmatch(NAME_PATTERN, file.stem):
        problems.append(Problem(str(file), 1, "the file", "has a name that is none", repr(file.stem), NAME_FORM))
    if problems or application is None:
        raise ApplicationFileError(sorted(problems, key=lambda problem: (problem.line, problem.key)))
    return application


def folders_of(lab: Lab) -> dict[str, Path]:
    """Return the folders of applications of a lab's environments, by the environment's name."""
    recipes = {name: share_path("kernels", name) for name in SHIPPED_ENVIRONMENTS}
    recipes |= {name: environment.folder for name, environment in lab.environments.items() if environment.folder}
    return {name: folder / FOLDER for name, folder in recipes.items() if (folder / FOLDER).is_dir()}


def applications_of(lab: Lab) -> tuple[dict[str, Offer], list[Problem]]:
    """Return the applications of a lab's environments by full name, and what is wrong with the others."""
    offers: dict[str, Offer] = {}
    problems: list[Problem] = []
    for environment, folder in folders_of(lab).items():
        members = lab.environments[environment].groups if environment in lab.environments else frozenset()
        for file in sorted(folder.glob("*.yaml")):
            try:
                offer = Offer(file.stem, environment, load_application(file), file, members)
            except ApplicationFileError as error:
                problems += error.problems
            else:
                offers[offer.full_name] = offer
    return offers, problems


def find_offer(offers: Mapping[str, Offer], name: str, groups: Collection[str]) -> Offer:
    """Return the application that `name` means to a user: a full name, or a name without its environment.

    Raises
    ------
    UnknownApplication
        If there is none, or several. One that the user may not see does not exist for them.
    """
    seen = {full: offer for full, offer in offers.items() if offer.for_members_of(groups)}
    if name in seen:
        return seen[name]
    found = [offer for offer in seen.values() if offer.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(sorted(offer.full_name for offer in found))
        raise UnknownApplication(f"Several environments have an application “{name}”.", f"Name one: {several}.")
    names = [*(offer.name for offer in seen.values()), *seen]
    close = difflib.get_close_matches(name[:60], names, n=1, cutoff=0.6)
    shown = name if len(name) <= 60 else f"{name[:60]}…"
    hint = f"Did you mean “{close[0]}”? " if close else ""
    listed = ", ".join(sorted(offer.name for offer in seen.values())) or "no applications"
    raise UnknownApplication(f"There is no application “{shown}”.", f"{hint}This lab has: {listed}.")
