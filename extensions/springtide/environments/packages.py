"""The packages of an image, how two images differ, and what image this process runs in.

Needs no Docker: sessions, workers and jobs call `this_image`, and a cluster refuses workers of another image than its
client's with `same_image`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from springtide.environments.inventory import inventory
from springtide.errors import DifferentImages

DIGEST_VARIABLE = "SPRINGTIDE_IMAGE_DIGEST"
"""Where a session, kernel, worker or job finds the digest of the image it runs in."""

DEBIAN = "debian"
_NAMED = 6
_SHORT_DIGEST = len("sha256:") + 12


@dataclass(frozen=True)
class Package:
    """A Python package."""

    version: str
    licence: str = ""


@dataclass(frozen=True)
class Packages:
    """All packages of an image."""

    python: Mapping[str, Mapping[str, Package]] = field(default_factory=dict)
    """By the name of their environment ("session", "lisa", "system"), and their own."""
    debian: Mapping[str, str] = field(default_factory=dict)
    """Versions by name."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Packages:
        """Return what `as_json` wrote; LookupError, TypeError or ValueError if that did not write `content`."""
        python = {
            str(place): {str(name): Package(*map(str, entry)) for name, entry in packages.items()}
            for place, packages in content["python"].items()
        }
        return cls(python, {str(name): str(version) for name, version in content["debian"].items()})

    def as_json(self) -> dict[str, Any]:
        """Return plain values, as the inventory gives them."""
        return {
            "python": {
                place: {name: [one.version, one.licence] for name, one in packages.items()}
                for place, packages in self.python.items()
            },
            "debian": dict(self.debian),
        }

    def versions(self) -> dict[str, dict[str, str]]:
        """Return the versions by place ("debian" for Debian's) and name."""
        python = {
            place: {name: one.version for name, one in packages.items()} for place, packages in self.python.items()
        }
        return {**python, DEBIAN: dict(self.debian)}


@dataclass(frozen=True)
class Difference:
    """A package that two images do not have alike."""

    place: str
    name: str
    left: str
    """Its version in the first image; empty where that lacks it."""
    right: str

    def __str__(self) -> str:
        return f"{self.name} ({self.place}): {self.left or 'absent'} and {self.right or 'absent'}"


def differences(left: Packages, right: Packages) -> list[Difference]:
    """Return the packages that the two do not have alike, Python's first."""
    return list(_differences(left.versions(), right.versions()))


def _differences(left: Mapping[str, Mapping[str, str]], right: Mapping[str, Mapping[str, str]]) -> Iterator[Difference]:
    for place in sorted({*left, *right}, key=lambda place: (place == DEBIAN, place)):
        here, there = left.get(place, {}), right.get(place, {})
        for name in sorted({*here, *there}):
            if here.get(name) != there.get(name):
                yield Difference(place, name, here.get(name, ""), there.get(name, ""))


def same_image(digest_a: str, packages_a: Packages, digest_b: str, packages_b: Packages) -> None:
    """Return if both are one image. Called before two processes compute together.

    Parameters
    ----------
    digest_a, digest_b : str
        Digests of the images' configurations; empty where a process runs in none.
    packages_a, packages_b : Packages
        What each has, to name what differs.

    Raises
    ------
    DifferentImages
        If they are not; the message names the packages that differ.
    """
    if digest_a == digest_b and (digest_a or packages_a.versions() == packages_b.versions()):
        return
    found = differences(packages_a, packages_b)
    named = "; ".join(map(str, found[:_NAMED]))
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    what = f"Packages that differ: {named}{more}." if found else "Their packages are the same; other files differ."
    raise DifferentImages(
        f"The images are not the same: {_said(digest_a)} and {_said(digest_b)}. {what}",
        "Use one environment, with one digest, everywhere: “springtide env diff A B” lists all that differs.",
    )


def _said(digest: str) -> str:
    return digest[:_SHORT_DIGEST] if digest else "no image"


@dataclass(frozen=True)
class ThisImage:
    """The image that this process runs in."""

    digest: str
    """Empty where it runs in none, or nobody said."""
    packages: Packages


def this_image() -> ThisImage:
    """Return the image this process runs in, as whoever started it says, and the packages that really are here."""
    return ThisImage(os.environ.get(DIGEST_VARIABLE, ""), Packages.from_json(inventory()))
