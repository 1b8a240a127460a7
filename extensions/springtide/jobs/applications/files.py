"""Files that people name: only what they own or may use, wherever links and ``..`` lead."""

from __future__ import annotations

import fnmatch
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from springtide.jobs.applications.parameters import FileParameter
from springtide.units import format_memory

_COPY_BYTES = 2**20


@dataclass(frozen=True)
class Home:
    """Where a user's files may lie."""

    folder: Path
    """The home folder."""
    also: tuple[Path, ...] = ()
    """Further folders of the user's own, such as the one with the outputs of jobs."""
    start: Path | None = None
    """Where relative paths begin; by default the home folder."""


def check_file(path: Path, parameter: FileParameter, home: Home) -> Path:
    """Return the real path of a file that may be used.

    Raises
    ------
    ValueError
        If it is not there, no plain file, too large, not called as it should be, or lies elsewhere.
    """
    if "\0" in str(path) or len(str(path)) > 4096:
        raise ValueError("is not a path")
    parts = path.parts
    written = home.folder.joinpath(*parts[1:]) if parts[:1] == ("~",) else (home.start or home.folder) / path
    try:
        real = written.resolve(strict=True)
        found = real.stat()
    except FileNotFoundError:
        raise ValueError("does not exist") from None
    except (OSError, RuntimeError) as error:
        raise ValueError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not any(real.is_relative_to(folder.resolve()) for folder in (home.folder, *home.also, *parameter.within)):
        raise ValueError("lies outside your home folder" + (f": it leads to {real}" if real != written else ""))
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is no file")
    if not os.access(real, os.R_OK):
        raise ValueError("cannot be read by this account")
    if found.st_size > parameter.max_size:
        raise ValueError(f"has {format_memory(found.st_size)}, more than {format_memory(parameter.max_size)}")
    if parameter.names and not any(fnmatch.fnmatch(real.name, pattern) for pattern in parameter.names):
        raise ValueError("is not called as it should be")
    return real


def copy_file(source: Path, target: Path) -> None:
    """Copy a file that was checked; a link that has been put in its place since is refused.

    Raises
    ------
    OSError
        If it cannot be read or written.
    """
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{source} is no file any more")
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
            while piece := file.read(_COPY_BYTES):
                copy.write(piece)
