"""Unpacks an image's layers into a folder, as this account's files, without a container runtime.

What a layer says is not trusted: a path is followed within the folder only, through symbolic links too, which in an
image mean its own root. Devices are left out (runtimes bring them), owners are this account, and nothing is setuid.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from springtide.errors import EnvironmentsError

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_MOST_LINKS = 40
_PIECE = 2**20


def unpack_layers(layers: Sequence[Path], root: Path, progress: Callable[[str], None]) -> None:
    """Have in `root`, which is new, what `layers` make together, the lowest first.

    Raises
    ------
    EnvironmentsError
        If a layer cannot be read, or leads out of the image.
    OSError
        If there is no room.
    """
    root.mkdir()
    folders: dict[Path, int] = {}
    for number, layer in enumerate(layers, 1):
        progress(f"unpacking layer {number} of {len(layers)}")
        try:
            with tarfile.open(layer) as tar:
                _unpack(tar, root, folders)
        except tarfile.TarError as error:
            raise EnvironmentsError(
                f"A layer of the image cannot be read: {error}", "Convert it to a SIF (--to apptainer)."
            ) from error
    # Last of all: into a folder that must not be written, nothing could have been unpacked.
    for folder, mode in folders.items():
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(mode)


def _unpack(tar: tarfile.TarFile, root: Path, folders: dict[Path, int]) -> None:
    fresh: set[Path] = set()
    for member in tar:
        where = _inside(root, member.name)
        if where == root:
            continue
        if where.name == _OPAQUE:
            for path in set(where.parent.iterdir()) - fresh:
                _remove(path)
        elif where.name.startswith(_WHITEOUT):
            _remove(where.with_name(where.name.removeprefix(_WHITEOUT)))
        else:
            _make(tar, member, where, root, folders)
            fresh |= {where, *where.parents}


def _make(tar: tarfile.TarFile, member: tarfile.TarInfo, where: Path, root: Path, folders: dict[Path, int]) -> None:
    mode = stat.S_IMODE(member.mode) & 0o777 | (0o700 if member.isdir() else 0o600)
    if member.isdir():
        if where.is_symlink() or not where.is_dir():
            _remove(where)
            where.mkdir()
        folders[where] = mode
        return
    if member.islnk():
        source = _inside(root, member.linkname)
        if source != where:
            _remove(where)
            os.link(source, where, follow_symlinks=False)
        return
    _remove(where)
    if member.issym():
        where.symlink_to(member.linkname)
    elif member.isreg():
        content = tar.extractfile(member)
        assert content is not None  # of a regular file there is always one
        with content, where.open("xb") as file:
            shutil.copyfileobj(content, file, _PIECE)
            os.fchmod(file.fileno(), mode)
        os.utime(where, (member.mtime, member.mtime))


def _inside(root: Path, name: str) -> Path:
    """Return where `name` of an image lies, its folders made; the last part itself may be a link."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise EnvironmentsError(f"The image has a file called {name!r}, which leads out of it.")
    place, todo, links = root, parts, 0
    while len(todo) > 1:
        part, *todo = todo
        if part == "..":
            place = place if place == root else place.parent
            continue
        following = place / part
        if following.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise EnvironmentsError(f"The image has a file called {name!r}, behind links in a circle.")
            target = os.readlink(following)
            place = root if target.startswith("/") else place
            todo = [*(one for one in target.split("/") if one not in ("", ".")), *todo]
            continue
        if not following.is_dir():
            _remove(following)
            following.mkdir(mode=0o755)
        place = following
    return place / todo[0] if todo else place


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
