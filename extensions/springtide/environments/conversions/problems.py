"""What failures of a file system mean for whoever converts images."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from springtide.environments.conversions.forms import NoRoom
from springtide.environments.conversions.scratch import scratch_place
from springtide.errors import EnvironmentsError
from springtide.units import format_memory


@contextmanager
def in_words(folder: Path) -> Iterator[None]:
    """Say what a failure of the file system means."""
    try:
        yield
    except NoRoom as error:
        raise _full(folder) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(folder) from error
        what = error.strerror or str(error)
        where = error.filename or folder
        raise EnvironmentsError(f"The image cache {folder} cannot be used: {where}: {what}.") from error


def _full(folder: Path) -> EnvironmentsError:
    left = ", ".join(f"{format_memory(shutil.disk_usage(one).free)} in {one}" for one in (folder, scratch_place()))
    return EnvironmentsError(
        f"A disk is full, or a quota used up: the image cannot be converted. There is left: {left}.",
        "springtide env cache lists the images that are there, and removes what is not in use; "
        "TMPDIR names another folder to work in.",
    )
