"""One image of the cache: a folder with the image, what is known of it, and the marks of those who use it.

::

    sif-0f3a…/
        image.sif       or root/, an unpacked root file system
        about.json      digest, size, checksum, origin; written before the folder gets its name
        uses/           one file for each use; its time is until when it holds

Everyone may leave a mark in ``uses`` and nobody may remove another's (mode 1777), so that those who can only read the
cache are safe from its clean-up. The folder's own time is that of the last use.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from springtide.environments.runtimes.base import Form, Prepared

USED_FOR_S = 30 * 86400.0
"""How long a mark holds whose owner does not take it away: longer than anything waits and runs."""
_ABOUT, _USES = "about.json", "uses"
_IMAGES = {Form.SIF: "image.sif", Form.FOLDER: "root"}
_PIECE = 2**20


@dataclass(frozen=True)
class About:
    """What is known of an image."""

    digest: str
    """``sha256:…`` of its configuration."""
    form: str
    size_bytes: int
    sha256: str
    """Of the file; of a folder: of the names, kinds, modes and sizes of all that is in it."""
    time_ns: int
    """When the file was last changed: as long as that and the size are the same, so is the rest."""
    reference: str
    """What it was made from."""
    pinned: str = ""
    """``sha256:…`` of the manifest, where a registry had it."""
    made_with: str = ""
    made: float = 0.0
    took_s: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    """The image's working folder."""

    @property
    def prepared_form(self) -> Form:
        """Its form."""
        return Form(self.form)


@dataclass(frozen=True)
class Entry:
    """An image that is in the cache."""

    place: Path
    about: About

    @property
    def image(self) -> Path:
        """The file or folder that a runtime takes."""
        return image_path(self.place, self.about.prepared_form)

    @property
    def prepared(self) -> Prepared:
        """The image as runtimes take it."""
        return Prepared(self.about.digest, str(self.image), dict(self.about.environment), self.about.folder)

    @property
    def used(self) -> float:
        """When it was used last."""
        with contextlib.suppress(OSError):
            return (self.place / _USES).stat().st_mtime
        return self.about.made

    def problem(self, *, thorough: bool = False) -> str:
        """Return what is wrong with it in words, empty where nothing is.

        Parameters
        ----------
        thorough : bool
            Read all of it, even where nothing speaks for a change.
        """
        try:
            if self.about.prepared_form is Form.FOLDER:
                sound = self.image.is_dir() and (not thorough or checksum(self.image) == self.about.sha256)
                return "" if sound else "files are missing or changed"
            found = self.image.stat()
            if found.st_size != self.about.size_bytes:
                return f"it has {found.st_size} bytes of {self.about.size_bytes}"
            if (thorough or found.st_mtime_ns != self.about.time_ns) and checksum(self.image) != self.about.sha256:
                return "its checksum is wrong"
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        return ""

    # --- uses ---------------------------------------------------------------------------------------------------

    def mark(self, name: str, for_s: float = USED_FOR_S) -> bool:
        """Leave the mark `name`: until it is taken away, or the time is over, nobody removes the image.

        Returns
        -------
        bool
            False if the image went away meanwhile.
        """
        mark = self.place / _USES / name
        try:
            with contextlib.suppress(PermissionError):  # another account's of that name holds as well
                mark.touch(mode=0o644)
                until = time.time() + for_s
                os.utime(mark, (until, until))
            return (self.place / _ABOUT).exists() and mark.exists()
        except (FileNotFoundError, NotADirectoryError):
            return False

    def unmark(self, name: str) -> None:
        """Take a mark away."""
        with contextlib.suppress(OSError):
            (self.place / _USES / name).unlink()

    def uses(self) -> list[str]:
        """Return the marks that hold."""
        return uses_of(self.place)


def uses_of(place: Path, over: Callable[[str], bool] = lambda name: False) -> list[str]:
    """Return the marks in the folder of an image that hold, without those whose owners are `over`."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for mark in os.scandir(place / _USES):
            with contextlib.suppress(FileNotFoundError):
                if mark.stat(follow_symlinks=False).st_mtime > time.time() and not over(mark.name):
                    found.append(mark.name)
    return sorted(found)


def image_path(place: Path, form: Form) -> Path:
    """Return where the image is in its folder."""
    return place / _IMAGES[form]


def read_entry(place: Path) -> Entry | None:
    """Return the image in the folder `place`; None where there is none that could be used."""
    try:
        about = About(**json.loads((place / _ABOUT).read_text(encoding="utf-8")))
        return Entry(place, about) if about.prepared_form in _IMAGES else None
    except (OSError, ValueError, TypeError):
        return None


def seal(place: Path, about: Mapping[str, Any], form: Form) -> About:
    """Write down what is known of the image in `place`, all of it on the disk when this returns."""
    image = image_path(place, form)
    changed = image.stat().st_mtime_ns
    known = About(
        **about, form=form.value, size_bytes=size_of(image), sha256=checksum(image), time_ns=changed, made=time.time()
    )
    (place / _USES).mkdir()
    (place / _USES).chmod(0o1777)
    with (place / _ABOUT).open("w", encoding="utf-8") as file:
        json.dump(asdict(known), file, indent=2, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    (place / _ABOUT).chmod(0o644)
    if form is Form.SIF:
        image.chmod(0o644)
        sync(image)
    else:
        os.sync()
    place.chmod(0o755)
    sync(place)
    return known


def sync(path: Path) -> None:
    """Have `path` on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_of(image: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if image.is_file():
        return image.stat().st_size
    return sum(found.st_size for _, found in _walk(image) if stat.S_ISREG(found.st_mode))


def checksum(image: Path) -> str:
    """Return the SHA-256 of a file; of a folder, that of the names, kinds, modes and sizes of all that is in it."""
    digest = hashlib.sha256()
    if image.is_file():
        with image.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()
    for path, found in _walk(image):
        size = found.st_size if stat.S_ISREG(found.st_mode) else 0
        digest.update(f"{path.relative_to(image)}\0{found.st_mode:o}\0{size}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(parent, name)
            yield path, path.lstat()
