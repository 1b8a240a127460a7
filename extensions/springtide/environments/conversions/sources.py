"""Where an image to be converted is taken from, and a registry as such a place; ``saved`` is the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from springtide.environments.conversions.layout import Blob, finish_layout, start_layout
from springtide.environments.registry.client import Registry
from springtide.environments.registry.login import Access
from springtide.environments.registry.reference import Reference

Progress = Callable[[str], None]


class Source(Protocol):
    """An image that can be had, known by its digest."""

    digest: str
    """``sha256:…`` of its configuration."""
    reference: str
    pinned: str
    """``sha256:…`` of its manifest; empty without a registry."""
    size_bytes: int
    """As it is transferred; 0: nobody knows."""

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Write its OCI layout into `folder`, which is new, every part verified."""


class FromRegistry:
    """An image of a registry.

    Raises
    ------
    RegistryError
        If the registry cannot be asked, or has no such image.
    """

    def __init__(self, reference: Reference, access: Access) -> None:
        self._place, self._access = reference, access
        with Registry(reference.host, access) as registry:
            found = registry.manifest(reference)
        self._at = reference.at(found.digest)
        self.reference, self.pinned = str(reference), found.digest
        self.digest, self.size_bytes = found.image, found.size_bytes

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Write its OCI layout into `folder`.

        Raises
        ------
        RegistryError
            If the registry breaks off, or sends something else than it should.
        OSError
            If there is no room.
        """
        start_layout(folder)
        with Registry(self._place.host, self._access) as registry:
            config, layers = registry.parts(self._at)
            meter = Meter(self.size_bytes, progress, f"fetching {self.reference}")
            for part in (config, *layers):
                blob = Blob(part.digest, part.size_bytes, part.media_type)
                if not blob.path(folder).exists():  # a layer may be there twice
                    registry.download(self._place, part, blob.path(folder), meter.received)
        known = [Blob(part.digest, part.size_bytes, part.media_type) for part in layers]
        finish_layout(folder, Blob(config.digest, 0).path(folder).read_bytes(), known)


class Meter:
    """Says how much has come, at most once for each twentieth."""

    def __init__(self, total: int, progress: Progress, what: str) -> None:
        self._total, self._progress, self._what = total, progress, what
        self._received = self._said = 0

    def received(self, count: int) -> None:
        """So many bytes more are there."""
        self._received += count
        step = self._received * 20 // self._total if self._total else self._received // 2**26
        if step != self._said:
            self._said = step
            of = f" of {_mb(self._total)}" if self._total else ""
            self._progress(f"{self._what}: {_mb(self._received)}{of}")


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
