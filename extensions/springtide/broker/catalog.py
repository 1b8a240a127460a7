"""The lab's applications, read again only when a file of theirs has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from springtide.errors import Problem
from springtide.jobs.applications.load import Offer, applications_of, folders_of
from springtide.lab.models import Lab


class Catalog:
    """One per broker; several threads may read it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._seen: tuple[object, ...] = ()
        self._read: tuple[Mapping[str, Offer], Sequence[Problem]] = ({}, [])

    def read(self) -> tuple[Mapping[str, Offer], Sequence[Problem]]:
        """Return the applications by full name, and what is wrong with others."""
        files = sorted(file for folder in folders_of(self._lab).values() for file in folder.iterdir())
        now = tuple(filter(None, map(_version, files)))
        if now != self._seen:
            self._read, self._seen = applications_of(self._lab), now
        return self._read


def _version(file: Path) -> tuple[str, int, int] | None:
    try:
        known = file.stat()
    except OSError:
        return None
    return str(file), known.st_mtime_ns, known.st_size
