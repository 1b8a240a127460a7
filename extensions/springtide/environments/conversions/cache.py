"""The cache of converted images, in a folder that machines may share: each image once, by its digest.

However many ask for an image at once, one of them converts it (see `claims`). It works under a name of its own beside
the image's, and renames when everything is on the disk: an image is there whole or not at all. What a killed one has
left is removed by the next.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from springtide.environments.conversions.claims import Claim, holder_of, remove_if_dead
from springtide.environments.conversions.entries import (
    USED_FOR_S,
    Entry,
    image_path,
    read_entry,
    seal,
    size_of,
    sync,
    uses_of,
)
from springtide.environments.conversions.forms import convert, converter
from springtide.environments.conversions.layout import configuration_of
from springtide.environments.conversions.problems import in_words
from springtide.environments.conversions.scratch import scratch_folder
from springtide.environments.conversions.sources import Source
from springtide.environments.runtimes.base import Form
from springtide.errors import EnvironmentsError
from springtide.units import format_memory

Progress = Callable[[str], None]
Over = Callable[[str], bool]

_LOOK_EVERY_S = 0.2
_NEW, _GONE, _BAD = ".new-", ".gone-", ".bad-"
_DIGEST = re.compile("sha256:[0-9a-f]{64}")


def _never(name: str) -> bool:
    return False


class ConversionCache:
    """The converted images in `folder`.

    Parameters
    ----------
    folder : Path
        On a file system that the nodes see; it may be new.
    limit_bytes : int
        How much all images may take together; 0: as much as there is.
    is_over : callable
        Whether the owner of a mark (see `Entry.mark`) needs the image no more; asked before an image is removed.
    mode : int
        Of the folder, where it is made.
    """

    def __init__(self, folder: Path, limit_bytes: int = 0, is_over: Over = _never, mode: int = 0o755) -> None:
        self.folder = folder.absolute()
        self.limit_bytes = limit_bytes
        self._is_over = is_over
        self._mode = mode

    # --- looking ------------------------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """Return the images that are there, what was used last first."""
        with suppress(FileNotFoundError):
            places = [place for place in self.folder.iterdir() if not place.name.startswith(".")]
            found = [entry for place in places if (entry := read_entry(place))]
            return sorted(found, key=lambda entry: entry.used, reverse=True)
        return []

    def find(self, digest: str, form: Form) -> Entry | None:
        """Return an image that is there and sound; None where it would have to be converted."""
        entry = read_entry(self._place(digest, form))
        return entry if entry and not entry.problem() else None

    def find_made_from(self, reference: str, form: Form, pinned: str = "") -> Entry | None:
        """Return the sound image last made from `reference`, or from the manifest `pinned`, without asking anyone."""
        found = [
            entry
            for entry in self.entries()
            if entry.about.form == form.value
            and (entry.about.pinned == pinned if pinned else entry.about.reference == reference)
        ]
        newest = max(found, key=lambda entry: entry.about.made, default=None)
        return newest if newest and not newest.problem() else None

    @property
    def may_write(self) -> bool:
        """Whether this account may convert into it."""
        nearest = next(folder for folder in (self.folder, *self.folder.parents) if folder.exists())
        return os.access(nearest, os.W_OK | os.X_OK)

    def check(self) -> None:
        """Return if what lies in it can be trusted.

        Raises
        ------
        EnvironmentsError
            If everyone may write to it.
        """
        if self.folder.is_dir() and self.folder.stat().st_mode & 0o002:
            raise EnvironmentsError(
                f"Everyone may write to the image cache {self.folder}: anyone could put an image there for others.",
                f"chmod o-w {self.folder}",
            )

    # --- having -------------------------------------------------------------------------------------------------

    def have(
        self, source: Source, form: Form, progress: Progress, *, use: str = "", for_s: float = USED_FOR_S
    ) -> Entry:
        """Return an image, converted where it is not there; may wait for another process that does.

        Parameters
        ----------
        use : str
            The mark to leave on it, so that nobody removes it: see `Entry.mark`. Empty: none.
        for_s : float
            How long the mark holds.

        Raises
        ------
        EnvironmentsError
            If it cannot be had: the image cannot be fetched or converted, a disk is full, or all room is in use. What
            is in the cache stays as it was.
        """
        while True:
            entry = self.find(source.digest, form) or self._convert_once(source, form, progress)
            if not use or entry.mark(use, for_s):
                return entry
            # It was removed between our look and our mark: with the mark it could not have been.

    def _convert_once(self, source: Source, form: Form, progress: Progress) -> Entry:
        key = _key(source.digest, form)
        with in_words(self.folder):
            self._prepare_folder()
            failure = self.folder / f".{key}.failed"
            before = _failure(failure)
            claim = Claim(self._claim_path(key))
            waited = self._take(claim, self._claim_path(key), progress)
        try:
            if entry := self.find(source.digest, form):
                return entry
            # Else forty that wait would fail one after the other.
            if waited and (now := _failure(failure)) and now != before:
                raise EnvironmentsError(now["message"], now["hint"], transient=now["transient"])
            return self._convert(source, form, progress, failure)
        finally:
            claim.release()

    def _take(self, claim: Claim, path: Path, progress: Progress) -> bool:
        """Take a claim; return whether that meant waiting."""
        waited = False
        while not claim.take():
            if not waited:
                progress(f"waiting: it is being converted on {holder_of(path) or 'another machine'}")
            waited = True
            time.sleep(_LOOK_EVERY_S)
        return waited

    def _convert(self, source: Source, form: Form, progress: Progress, failure: Path) -> Entry:
        try:
            with in_words(self.folder):
                entry = self._converted(source, form, progress)
        except EnvironmentsError as error:
            said = {"message": error.message, "hint": error.hint, "transient": error.transient}
            with suppress(OSError):
                failure.write_text(json.dumps({**said, "nonce": secrets.token_hex(8)}), encoding="utf-8")
            raise
        failure.unlink(missing_ok=True)
        return entry

    def _converted(self, source: Source, form: Form, progress: Progress) -> Entry:
        made_with, started = converter(form), time.monotonic()
        key = _key(source.digest, form)
        self._sweep(key)
        place = self.folder / f"{_NEW}{key}.{secrets.token_hex(8)}"
        place.mkdir()
        try:
            with scratch_folder() as scratch:
                layout = scratch / "layout"
                source.fetch(layout, progress)
                convert(layout, image_path(place, form), form, scratch, progress)
                config = configuration_of(layout)
            self.make_room(size_of(image_path(place, form)))
            about = {
                "digest": source.digest,
                "reference": source.reference,
                "pinned": source.pinned,
                "made_with": made_with,
                "took_s": round(time.monotonic() - started, 1),
                "environment": dict(one.split("=", 1) for one in config.get("Env") or () if "=" in one),
                "folder": config.get("WorkingDir") or "",
            }
            seal(place, about, form)
            self._publish(place, self._place(source.digest, form))
        finally:
            shutil.rmtree(place, ignore_errors=True)
        entry = self.find(source.digest, form)
        if entry is None:
            raise EnvironmentsError(f"The image {source.reference} was converted, and is gone.", "Try again.")
        progress(f"{entry.image} is ready")
        return entry

    def _publish(self, new: Path, place: Path) -> None:
        if place.exists():
            if (entry := read_entry(place)) and not entry.problem():
                return  # somebody was quicker, as it thought us dead
            self._renamed(place, _BAD)
        try:
            new.rename(place)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        sync(self.folder)

    # --- removing -----------------------------------------------------------------------------------------------

    def remove(self, entry: Entry) -> bool:
        """Remove an image unless it is in use; return whether it was removed."""
        if uses_of(entry.place, self._is_over):
            return False
        aside = self._renamed(entry.place, _GONE)
        # Somebody may have marked it just now; who marks it from here on finds that it is not there.
        return aside is not None and self._removed_unless_used(aside)

    def _removed_unless_used(self, aside: Path) -> bool:
        if uses_of(aside, self._is_over):
            with suppress(OSError):
                aside.rename(self.folder / aside.name.removeprefix(_GONE).rpartition(".")[0])
            return False
        shutil.rmtree(aside, ignore_errors=True)
        return True

    def make_room(self, size_bytes: int = 0) -> list[Entry]:
        """Remove what was not used for longest until `size_bytes` more are within the limit; return what was removed.

        Raises
        ------
        EnvironmentsError
            If they are not, as the rest is in use.
        """
        if not self.limit_bytes:
            return []
        entries, removed = self.entries(), []
        total = sum(entry.about.size_bytes for entry in entries)
        for entry in reversed(entries):
            if total + size_bytes <= self.limit_bytes:
                break
            if self.remove(entry):
                removed.append(entry)
                total -= entry.about.size_bytes
        if size_bytes and total + size_bytes > self.limit_bytes:
            raise EnvironmentsError(
                f"The image takes {format_memory(size_bytes)}, and the cache {self.folder} has room for "
                f"{format_memory(max(0, self.limit_bytes - total))}: the rest is in use.",
                "Wait until jobs are over, or raise “limit” of “images” in the lab file.",
                transient=size_bytes <= self.limit_bytes,
            )
        return removed

    def _sweep(self, own: str) -> None:
        """Remove what killed processes have left, of whatever image; the claim on `own` is ours."""
        for left in self.folder.glob(".*"):
            if left.name.startswith(_GONE):
                self._removed_unless_used(left)
            elif left.name.startswith(_BAD):
                shutil.rmtree(left, ignore_errors=True)
            elif left.name.startswith(_NEW):
                key = left.name.removeprefix(_NEW).rpartition(".")[0]
                if key == own or remove_if_dead(self._claim_path(key)):
                    shutil.rmtree(left, ignore_errors=True)

    # --- names --------------------------------------------------------------------------------------------------

    def _renamed(self, place: Path, kind: str) -> Path | None:
        aside = self.folder / f"{kind}{place.name}.{secrets.token_hex(8)}"
        try:
            return place.rename(aside)
        except FileNotFoundError:
            return None

    def _place(self, digest: str, form: Form) -> Path:
        return self.folder / _key(digest, form)

    def _claim_path(self, key: str) -> Path:
        return self.folder / f".{key}.claim"

    def _prepare_folder(self) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(self._mode)
        self.check()


def _key(digest: str, form: Form) -> str:
    if not _DIGEST.fullmatch(digest):
        raise EnvironmentsError(f"“{digest}” is no digest of an image.", "It is “sha256:” and 64 digits.")
    return f"{form.value}-{digest.removeprefix('sha256:')}"


def _failure(file: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError):
        return None
