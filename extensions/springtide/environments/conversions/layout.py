"""An image as files: an OCI image layout, written from what a registry or an engine gives, read by converters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"
_ENDINGS = ("gzip", "zstd")


@dataclass(frozen=True)
class Blob:
    """A part of an image."""

    digest: str
    size_bytes: int
    media_type: str = _PLAIN_LAYER

    def path(self, layout: Path) -> Path:
        """Return where it lies in a layout."""
        return layout / "blobs" / "sha256" / self.digest.removeprefix("sha256:")


def start_layout(folder: Path) -> None:
    """Make an empty layout: blobs come into it first."""
    (folder / "blobs" / "sha256").mkdir(parents=True)


def add_bytes(folder: Path, content: bytes, media_type: str) -> Blob:
    """Add a blob."""
    blob = Blob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), media_type)
    blob.path(folder).write_bytes(content)
    return blob


def finish_layout(folder: Path, config: bytes, layers: Sequence[Blob]) -> None:
    """Write the manifest over layers that are there, all in the words of OCI, whatever they were before."""
    parts = [add_bytes(folder, config, _CONFIG), *(Blob(one.digest, one.size_bytes, _of_oci(one)) for one in layers)]
    head, *rest = [
        {"mediaType": part.media_type, "digest": part.digest, "size": part.size_bytes} for part in parts
    ]  # fmt: skip
    manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": head, "layers": rest}
    written = add_bytes(folder, json.dumps(manifest).encode(), _MANIFEST)
    entry = {"mediaType": _MANIFEST, "digest": written.digest, "size": written.size_bytes}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}), encoding="utf-8")
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}', encoding="utf-8")


def _of_oci(layer: Blob) -> str:
    ending = next((ending for ending in _ENDINGS if layer.media_type.endswith(ending)), "")
    return f"{_PLAIN_LAYER}+{ending}" if ending else _PLAIN_LAYER


def layers_of(folder: Path) -> list[Path]:
    """Return the layers of a layout, the lowest first."""
    return [Blob(layer["digest"], layer["size"]).path(folder) for layer in _manifest(folder)["layers"]]


def configuration_of(folder: Path) -> Mapping[str, Any]:
    """Return what the image in a layout says of how it is run."""
    config: Mapping[str, Any] = _json(folder, _manifest(folder)["config"]["digest"]).get("config") or {}
    return config


def _manifest(folder: Path) -> Mapping[str, Any]:
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return _json(folder, index["manifests"][0]["digest"])


def _json(folder: Path, digest: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(Blob(digest, 0).path(folder).read_text(encoding="utf-8"))
    return found
