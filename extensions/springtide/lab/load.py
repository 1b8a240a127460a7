"""Reads a lab file: every fault it has is told at once, with its line."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import ValidationError

from springtide.errors import LabFileError, Problem
from springtide.lab.crosscheck import crosscheck
from springtide.lab.document import Document, read_document, read_text
from springtide.lab.fields import Surroundings
from springtide.lab.models import SHIPPED_ENVIRONMENTS, BatchSite, Environment, Lab, WalltimeRange
from springtide.lab.problems import problems_of
from springtide.share import share_path


def load_lab(path: Path) -> Lab:
    """Return the lab that the file at `path` describes.

    Relative paths in it start at its folder. Every environment a profile names is in ``environments`` afterwards,
    and every profile of a batch site has a walltime.

    Raises
    ------
    LabFileError
        If the file cannot be read or is wrong; it names every fault found, in the order of the lines.
    """
    return parse_lab(read_text(path), path)


def parse_lab(text: str, path: Path) -> Lab:
    """Return the lab that `text` describes; `path` is where it lies, for messages and relative paths.

    Raises
    ------
    LabFileError
        If it is wrong.
    """
    document = read_document(text, str(path))
    surroundings = Surroundings(path.absolute().parent)
    lab, problems = None, list(document.problems)
    if not (document.data is None and problems):
        error: ValidationError | None = None
        try:
            lab = Lab.model_validate(document.data, context=surroundings)
        except ValidationError as refused:
            error = refused
            problems += [problem for problem in problems_of(refused, document) if not _around(problem, document)]
        problems += crosscheck(document, error, surroundings)
    if problems or lab is None:
        raise LabFileError(sorted(_one_for_each_place(problems), key=lambda problem: (problem.line, problem.key)))
    return _completed(lab)


def _around(problem: Problem, document: Document) -> bool:
    """Say whether `problem` is about a value that is only wrong because a part of it could not be read."""
    return any(re.match(rf"{re.escape(problem.key)}([.\[]|$)", unread.key) for unread in document.problems)


def _one_for_each_place(problems: list[Problem]) -> list[Problem]:
    """Return the first problem of each place: what follows there is mostly its consequence."""
    return list({(problem.line, problem.key): problem for problem in reversed(problems)}.values())


def _completed(lab: Lab) -> Lab:
    """Return `lab` with what is left unsaid: shipped environments and the walltime of batch profiles."""
    named = {profile.environment for profile in lab.profiles}
    environments = dict(lab.environments)
    for name in SHIPPED_ENVIRONMENTS:
        environment = environments.get(name, Environment())
        if name in named or name in environments:
            # Who names an image wants that one: nothing is built under its name from the shipped recipe.
            shipped = None if environment.image else share_path("kernels", name)
            environments[name] = environment.model_copy(update={"folder": environment.folder or shipped})
    profiles = tuple(
        profile.model_copy(update={"walltime": WalltimeRange()})
        if isinstance(lab.sites[profile.site], BatchSite) and not profile.walltime
        else profile
        for profile in lab.profiles
    )
    return lab.model_copy(update={"environments": environments, "profiles": profiles})
