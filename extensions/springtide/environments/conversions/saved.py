"""An image to be converted as this machine's engine saves it.

Apart from the other sources, as sessions and nodes have no library that talks to an engine.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from pathlib import Path
from typing import IO

import docker.errors
import requests

from springtide.environments.conversions.layout import Blob, finish_layout, start_layout
from springtide.environments.conversions.sources import Meter, Progress
from springtide.environments.engine import connect, image_digest
from springtide.errors import EngineError, EnvironmentsError

_ENGINE_TIMEOUT_S = 1800
_PIECE = 2**20


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
        meter = Meter(self.size_bytes, progress, f"fetching {self.reference}")
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
