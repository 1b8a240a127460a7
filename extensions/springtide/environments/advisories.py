"""Known vulnerabilities of an image's packages, as a source of advisories that speaks OSV's protocol knows them.

One question for all packages, with names and versions only. Where no source answers, nothing is known, and that is what
is said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from springtide.environments.findings import Finding, State
from springtide.environments.packages import DEBIAN, Packages

SOURCE_VARIABLE = "SPRINGTIDE_ADVISORIES"
"""Names another source than OSV's own, such as a mirror of the lab."""
_SOURCE = "https://api.osv.dev"
_TIMEOUT_S = 20
_AT_ONCE = 500
_SUBJECT = "vulnerabilities"


@dataclass(frozen=True)
class _Asked:
    place: str
    name: str
    version: str

    def as_query(self) -> dict[str, Any]:
        ecosystem = "Debian:12" if self.place == DEBIAN else "PyPI"
        return {"package": {"name": self.name, "ecosystem": ecosystem}, "version": self.version}


def look_up(packages: Packages) -> Finding:
    """Return which of `packages` have known vulnerabilities. Never raises: what is not known is said."""
    source = os.environ.get(SOURCE_VARIABLE, _SOURCE).rstrip("/")
    asked = [
        _Asked(place, name, version)
        for place, versions in packages.versions().items()
        for name, version in versions.items()
    ]
    if not asked:
        return Finding(_SUBJECT, State.NOT_CHECKED, "the image's packages are not known")
    try:
        found = [pair for begin in range(0, len(asked), _AT_ONCE) for pair in _ask(source, asked[begin:][:_AT_ONCE])]
    except (requests.RequestException, ValueError, LookupError, TypeError) as error:
        why = (
            "does not answer" if isinstance(error, requests.ConnectionError | requests.Timeout) else "answers nonsense"
        )
        hint = f"{SOURCE_VARIABLE} names another source of advisories"
        return Finding(_SUBJECT, State.NOT_CHECKED, f"{source} {why}; {hint}")
    affected = {f"{one.place}/{one.name} {one.version}": identifiers for one, identifiers in found}
    details = tuple(f"{package}: {', '.join(identifiers)}" for package, identifiers in affected.items())
    if not affected:
        return Finding(_SUBJECT, State.OK, f"none known of {len(asked)} packages ({source})", data={"affected": {}})
    message = f"{len(affected)} of {len(asked)} packages have known ones ({source})"
    return Finding(_SUBJECT, State.WARNING, message, details, {"affected": affected})


def _ask(source: str, asked: Sequence[_Asked]) -> Iterator[tuple[_Asked, list[str]]]:
    answer = requests.post(
        f"{source}/v1/querybatch", json={"queries": [one.as_query() for one in asked]}, timeout=_TIMEOUT_S
    )
    answer.raise_for_status()
    results = answer.json()["results"]
    if len(results) != len(asked):
        raise ValueError("not one answer for each package")
    for one, result in zip(asked, results, strict=True):
        if identifiers := sorted(str(entry["id"]) for entry in result.get("vulns") or []):
            yield one, identifiers
