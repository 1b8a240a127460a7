"""What no part of a lab file can know alone: whether the parts fit together.

The parts are checked one by one, so that a mistake in one does not hide those of the others.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from springtide.errors import Problem
from springtide.lab.document import Document, Place, dotted
from springtide.lab.fields import Surroundings, is_loopback
from springtide.lab.models import (
    SHIPPED_ENVIRONMENTS,
    AnySite,
    Authentication,
    BatchSite,
    CloudSite,
    Environment,
    Hub,
    LocalSite,
    Profile,
)
from springtide.lab.problems import place_of

T = TypeVar("T")
_SITE: TypeAdapter[LocalSite | BatchSite | CloudSite] = TypeAdapter(AnySite)


@dataclass(frozen=True)
class Parts:
    """The parts of a lab file that are right in themselves; None stands for one that is not."""

    hub: Hub | None
    authentication: Authentication | None
    environments: dict[str, Environment | None]
    sites: dict[str, LocalSite | BatchSite | CloudSite | None]
    profiles: dict[int, Profile]


def crosscheck(document: Document, error: ValidationError | None, surroundings: Surroundings) -> list[Problem]:
    """Return the faults between the parts of `document`; `error` is what is wrong within them."""
    parts = _take_apart(document, error, surroundings)
    noted = Document(document.file, document.data, document.lines)
    _check_login(parts, noted)
    _check_environments(parts, noted)
    _check_names(parts, noted)
    for index, profile in parts.profiles.items():
        _check_profile(("profiles", index), profile, parts, noted)
    return noted.problems


def _take_apart(document: Document, error: ValidationError | None, surroundings: Surroundings) -> Parts:
    data = document.data if isinstance(document.data, dict) else {}
    cleaned = _without_faults(document, error)
    profiles = cleaned.get("profiles")
    read = {
        index: _right(TypeAdapter(Profile), value, surroundings)
        for index, value in enumerate(profiles if isinstance(profiles, list) else [])
    }
    return Parts(
        hub=_right(TypeAdapter(Hub), data.get("hub"), surroundings),
        authentication=_right(TypeAdapter(Authentication), data.get("authentication"), surroundings),
        environments={
            name: _right(TypeAdapter(Environment), value, surroundings)
            for name, value in _section(data, "environments").items()
        },
        sites={name: _right(_SITE, value, surroundings) for name, value in _section(cleaned, "sites").items()},
        profiles={index: profile for index, profile in read.items() if profile},
    )


def _section(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _right(adapter: TypeAdapter[T], value: Any, surroundings: Surroundings) -> T | None:
    try:
        return adapter.validate_python(value, context=surroundings)
    except ValidationError:
        return None


def _without_faults(document: Document, error: ValidationError | None) -> dict[str, Any]:
    """Return the data without the keys that are wrong, so that the rest of a profile or site can still be checked."""
    data = copy.deepcopy(document.data) if isinstance(document.data, dict) else {}
    places = [place_of(detail, document) for detail in error.errors()] if error else []
    for place in places:
        while place and isinstance(place[-1], int):
            place = place[:-1]
        if len(place) > 2 and place[0] in ("profiles", "sites"):
            _delete(data, place)
    return data


def _delete(data: Any, place: Place) -> None:
    for step in place[:-1]:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(data, dict):
        data.pop(place[-1], None)


def _check_login(parts: Parts, noted: Document) -> None:
    if not parts.hub or not parts.authentication or is_loopback(parts.hub.address):
        return
    if parts.authentication.kind == "shared-password":
        noted.complain(
            ("hub", "address"),
            "would offer a login by one shared password to other machines",
            repr(parts.hub.address),
            "127.0.0.1; or authentication.kind pam or custom, with TLS in front",
        )


def _check_environments(parts: Parts, noted: Document) -> None:
    for name, environment in parts.environments.items():
        if environment and not (environment.image or environment.folder or name in SHIPPED_ENVIRONMENTS):
            noted.complain(
                ("environments", name), "has neither image nor folder", allowed="an image, a folder, or both"
            )


def _check_names(parts: Parts, noted: Document) -> None:
    taken: dict[str, int] = {}
    for index, profile in parts.profiles.items():
        if profile.name in taken:
            first = noted.line(("profiles", taken[profile.name], "name"))
            message = f"is the name of the profile of line {first} too"
            noted.complain(("profiles", index, "name"), message, repr(profile.name), "a name of its own")
        taken.setdefault(profile.name, index)


def _check_profile(place: Place, profile: Profile, parts: Parts, noted: Document) -> None:
    environments = sorted({*parts.environments, *SHIPPED_ENVIRONMENTS})
    if profile.environment not in environments:
        noted.complain((*place, "environment"), "is no environment", repr(profile.environment), _listed(environments))
    # Without a word about sites there is nothing to compare with, and that they are missing is said already.
    site = parts.sites.get(profile.site)
    of_sessions = [name for name, one in parts.sites.items() if not isinstance(one, CloudSite)]
    if parts.sites and profile.site not in parts.sites:
        noted.complain((*place, "site"), "is no site of this lab", repr(profile.site), _listed(of_sessions))
    if isinstance(site, CloudSite):
        allowed = _listed(of_sessions) or "a site of kind local or of a batch queue"
        noted.complain((*place, "site"), "is a cloud, where no sessions run", repr(profile.site), allowed)
        return
    if isinstance(site, LocalSite):
        _check_local(place, profile, noted)
    elif isinstance(site, BatchSite):
        _check_batch(place, profile, noted)
    if site and site.runtime == "host":
        _check_host(place, profile, parts, noted)
    elif isinstance(site, BatchSite):
        _check_containers_of_nodes(place, profile, parts, noted)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dotted((name,)) for name in names)


def _check_local(place: Place, profile: Profile, noted: Document) -> None:
    for key, word in (("walltime", "has no effect"), ("queues", "have no effect")):
        if getattr(profile, key):
            message = f"{word}: site {profile.site} is this machine"
            noted.complain((*place, key), message, allowed="no such line, or a batch site")


def _check_batch(place: Place, profile: Profile, noted: Document) -> None:
    for key in ("min", "default", "max"):
        cores = getattr(profile.cpus, key)
        written = (*place, "cpus", key)
        if not float(cores).is_integer() and (noted.holds(written) or key == "default"):
            noted.complain(
                written if noted.holds(written) else (*place, "cpus"),
                "is not a whole number of cores",
                f"{cores:g}",
                "whole cores: batch nodes do not share one",
            )
            return


def _check_host(place: Place, profile: Profile, parts: Parts, noted: Document) -> None:
    environment = parts.environments.get(profile.environment)
    if environment and environment.groups:
        noted.complain(
            (*place, "environment"),
            f"is for some groups only, and site {profile.site} runs no containers, so that everyone would see it",
            repr(profile.environment),
            "an environment for everyone, or a site with containers",
        )
    # Who writes no environment, or base, gets the Python of the site.
    if environment and profile.environment != "base" and environment.image and not environment.folder:
        noted.complain(
            (*place, "environment"),
            f"is only an image, and site {profile.site} runs no containers",
            repr(profile.environment),
            "an environment with a folder, or a site with containers",
        )


def _check_containers_of_nodes(place: Place, profile: Profile, parts: Parts, noted: Document) -> None:
    environment = parts.environments.get(profile.environment)
    if environment and environment.groups:
        noted.complain(
            (*place, "environment"),
            f"is for some groups only, and on the nodes of site {profile.site} everyone could read its image",
            repr(profile.environment),
            "an environment for everyone, or a site of kind local with runtime docker",
        )
