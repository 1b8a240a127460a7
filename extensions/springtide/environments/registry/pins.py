"""Whether a registry still has under a tag what it had: a tag may be moved to another image, or removed."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from springtide.environments.registry.client import Registry
from springtide.environments.registry.login import Access
from springtide.environments.registry.reference import Reference


class Standing(enum.Enum):
    """What has become of an image in its registry."""

    SAME = "same"
    """It is there, under its tag."""
    MOVED = "moved"
    """Its tag names another image now; it is still there under its digest."""
    UNTAGGED = "untagged"
    """Its tag is gone; it is still there under its digest."""
    REPLACED = "replaced"
    """Its tag names another image, and it is gone."""
    REMOVED = "removed"
    """It is gone, and so is its tag."""
    UNPINNED = "unpinned"
    """No digest is known to compare with."""


@dataclass(frozen=True)
class Pin:
    """An image as it was pinned, and what its registry has now."""

    reference: Reference
    known: str
    """The digest it had, from the reference itself or from a record; empty: none is known."""
    now: str
    """The digest of its tag now; empty where there is none."""
    standing: Standing

    def in_words(self) -> str:
        """Return a sentence for whoever looks after the lab file."""
        tagged = f"{self.reference.name}:{self.reference.tag}" if self.reference.tag else self.reference.name
        return {
            Standing.SAME: f"{tagged} is what it was.",
            Standing.MOVED: f"{tagged} is another image now ({self.now}); {self.known} is still there.",
            Standing.UNTAGGED: f"{tagged} was removed; its image is still there as {self.known}.",
            Standing.REPLACED: f"{tagged} is another image now ({self.now}), and {self.known} is gone.",
            Standing.REMOVED: f"{tagged} was removed, and its image {self.known or 'too'} is gone.",
            Standing.UNPINNED: f"{tagged} is {self.now}; no digest is pinned or recorded to compare it with.",
        }[self.standing]


def look(reference: Reference, access: Access, recorded: str = "") -> Pin:
    """Return what became of `reference` in its registry.

    Parameters
    ----------
    reference : Reference
        As the lab file has it.
    access : Access
        How to come to the registry.
    recorded : str, optional
        The digest that was recorded for it, where the reference pins none.

    Raises
    ------
    RegistryError
        If the registry cannot be asked.
    """
    known = reference.digest or recorded
    by_tag = replace(reference, digest="")
    with Registry(reference.host, access) as registry:
        # Pinned without a tag, there is no tag that could move.
        now = registry.digest(by_tag) if by_tag.tag or not reference.digest else registry.digest(reference)
        there = now == known or bool(known and registry.digest(reference.at(known)))
    return Pin(reference, known, now or "", _standing(known, now or "", there))


def _standing(known: str, now: str, there: bool) -> Standing:
    if not known:
        return Standing.UNPINNED if now else Standing.REMOVED
    if now == known:
        return Standing.SAME
    if there:
        return Standing.MOVED if now else Standing.UNTAGGED
    return Standing.REPLACED if now else Standing.REMOVED
