"""Where an image to be converted is taken from: a registry, or this machine's engine."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

import docker
import docker.errors
import requests

from springtide.environments.conversions.layout import Blob, finish_layout, start_layout
from springtide.environments.engine import connect, image_digest
from springtide.environments.registry.client import Registry
from springtide.environments.registry.login import Access
from springtide.environments.registry.reference import Reference
from springtide.errors import EngineError, EnvironmentsError

Progress = Callable[[str], None]

_ENGINE_TIMEOUT_S = 1800
_PIECE = 2**20


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
            meter = _Meter(self.size_bytes, progress, f"fetching {self.reference}")
            for part in (config, *layers):
                blob = Blob(part.digest, part.size_bytes, part.media_type)
                if not blob.path(folder).exists():  # a layer may be there twice
                    registry.download(self._place, part, blob.path(folder), meter.received)
        known = [Blob(part.digest, part.size_bytes, part.media_type) for part in layers]
        finish_layout(folder, Blob(config.digest, 0).path(folder).read_bytes(), known)


class FromEngine:
    """An image of this machine's engine.

    Raises
    ------
    EngineError
        If the engine does not answer.
    EnvironmentsError
        If it has no such image.
    """

    pinned = ""

    def __init__(self, image: str) -> None:
        client = connect()
        try:
            found = image_digest(client, image)
            if found is None:
                raise EnvironmentsError(f"There is no image {image} on this machine.", "springtide env build makes it.")
            self.size_bytes = int(client.images.get(found).attrs.get("Size", 0))
        finally:
            client.close()
        self.reference, self.digest = image, found

    def fetch(self, folder: Path, progress: Progress) -> None:
        """Write its OCI layout into `folder`.

        Raises
        ------
        EngineError
            If the engine breaks off.
        OSError
            If there is no room.
        """
        archive = folder.with_suffix(".tar")
        meter = _Meter(self.size_bytes, progress, f"fetching {self.reference}")
        client = connect(_ENGINE_TIMEOUT_S)
        try:
            with archive.open("wb") as file:
                for piece in client.images.get(self.digest).save(chunk_size=_PIECE):
                    file.write(piece)
                    meter.received(len(piece))
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise EngineError(f"The Docker Engine does not give the image {self.reference}: {error}") from error
        finally:
            client.close()
        _unpack_saved(archive, folder)
        archive.unlink()


def _unpack_saved(archive: Path, folder: Path) -> None:
    """Write the layout of what ``docker save`` wrote; the configuration keeps its digest."""
    start_layout(folder)
    with tarfile.open(archive) as tar:

        def opened(name: str) -> IO[bytes]:
            found = tar.extractfile(name)
            if found is None:
                raise EnvironmentsError(f"The engine's archive has no {name}.")
            return found

        said = json.load(opened("manifest.json"))[0]
        layers = [_stored(opened(name), folder) for name in said["Layers"]]
        finish_layout(folder, opened(said["Config"]).read(), layers)


def _stored(content: IO[bytes], folder: Path) -> Blob:
    beside = folder / "blobs" / "layer"
    with content, beside.open("wb") as file:
        shutil.copyfileobj(content, file, _PIECE)
    with beside.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        packed = file.read(2) == b"\x1f\x8b"
    blob = Blob(f"sha256:{digest}", beside.stat().st_size, "gzip" if packed else "tar")
    beside.rename(blob.path(folder))
    return blob


class _Meter:
    """Says how much has come, at most once for each twentieth."""

    def __init__(self, total: int, progress: Progress, what: str) -> None:
        self._total, self._progress, self._what = total, progress, what
        self._received = self._said = 0

    def received(self, count: int) -> None:
        self._received += count
        step = self._received * 20 // self._total if self._total else self._received // 2**26
        if step != self._said:
            self._said = step
            of = f" of {_mb(self._total)}" if self._total else ""
            self._progress(f"{self._what}: {_mb(self._received)}{of}")


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
