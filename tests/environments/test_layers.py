"""Unpacking layers: what the upper ones add, replace and remove, and that none leads out of the folder."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from springtide.environments.conversions.layers import unpack_layers
from springtide.errors import EnvironmentsError


class Layer:
    """A layer that is being written."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._tar = tarfile.open(file, "w")  # noqa: SIM115  # closed by `done`

    def add(
        self, name: str, content: str = "", *, mode: int = 0o644, kind: bytes = tarfile.REGTYPE, to: str = ""
    ) -> Layer:
        entry = tarfile.TarInfo(name)
        entry.mode, entry.type, entry.linkname, entry.size = mode, kind, to, len(content)
        self._tar.addfile(entry, io.BytesIO(content.encode()))
        return self

    def done(self) -> Path:
        self._tar.close()
        return self.file


def unpacked(tmp_path: Path, *layers: Layer) -> Path:
    root = tmp_path / "root"
    unpack_layers([layer.done() for layer in layers], root, lambda line: None)
    return root


def layer(tmp_path: Path, number: int = 1) -> Layer:
    return Layer(tmp_path / f"{number}.tar")


def test_an_upper_layer_adds_replaces_and_removes(tmp_path: Path) -> None:
    lower = layer(tmp_path, 1).add("a/x", "1").add("a/y", "2").add("b/z", "3").add("kept", "4")
    upper = layer(tmp_path, 2).add("a/.wh.x").add("b/new", "5").add("b/.wh..wh..opq").add("a/y", "6")
    root = unpacked(tmp_path, lower, upper)
    found = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}
    assert found == {"a/y": "6", "b/new": "5", "kept": "4"}


def test_links_and_modes_are_kept_without_setuid(tmp_path: Path) -> None:
    one = layer(tmp_path).add("usr/bin/run", "x", mode=0o4755)
    one.add("bin", kind=tarfile.SYMTYPE, to="usr/bin").add("bin/more", "y", mode=0o700)
    one.add("same", kind=tarfile.LNKTYPE, to="bin/run").add("closed", kind=tarfile.DIRTYPE, mode=0o555)
    one.add("closed/in", "z", mode=0o444)
    root = unpacked(tmp_path, one)
    assert os.readlink(root / "bin") == "usr/bin"
    assert (root / "usr/bin/run").stat().st_mode & 0o7777 == 0o755
    assert (root / "usr/bin/more").read_text() == "y"
    assert (root / "same").samefile(root / "usr/bin/run")
    assert (root / "closed/in").read_text() == "z"


def test_a_link_to_the_root_means_that_of_the_image(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    one = layer(tmp_path, 1).add("trap", kind=tarfile.SYMTYPE, to=str(outside))
    one.add("up", kind=tarfile.SYMTYPE, to="../../../..")
    two = layer(tmp_path, 2).add("trap/file", "x").add("up/etc/file", "y").add("trap/.wh.other")
    (outside / "other").write_text("kept")
    root = unpacked(tmp_path, one, two)
    assert [path.name for path in outside.iterdir()] == ["other"]
    assert (root / str(outside).lstrip("/") / "file").read_text() == "x"
    assert (root / "etc" / "file").read_text() == "y"


def test_a_name_that_leads_out_and_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentsError, match="leads out of it"):
        unpacked(tmp_path, layer(tmp_path, 1).add("a/../../x", "1"))
    circle = layer(tmp_path, 2).add("a", kind=tarfile.SYMTYPE, to="b").add("b", kind=tarfile.SYMTYPE, to="a")
    with pytest.raises(EnvironmentsError, match="in a circle"):
        unpack_layers([circle.add("a/x", "1").done()], tmp_path / "other", lambda line: None)


def test_a_layer_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"no archive")
    with pytest.raises(EnvironmentsError, match="cannot be read"):
        unpack_layers([tmp_path / "broken"], tmp_path / "root", lambda line: None)
