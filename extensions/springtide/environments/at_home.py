"""What runs in an image for an account that sees its home as usual, and this package: batch sessions and workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import springtide
from springtide.environments.runtimes.base import Bind, Launch

PACKAGES = "/opt/springtide/python"
"""Where containers find this package: the one of who starts them, so that both ends speak the same words."""
# What holds for the machine's own software only.
_OF_THE_MACHINE = frozenset({"PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME", "JUPYTER_PATH"})


def package_folder() -> Path:
    """Return the folder of this package."""
    return Path(springtide.__file__).resolve().parent


def closed_folder(path: Path) -> str:
    """Return the folder nearest to `path` on the way there that other accounts cannot enter, "" if they can."""
    return next((str(folder) for folder in path.parents if not folder.stat().st_mode & 0o001), "")


def launch_at_home(
    command: Sequence[str], home: Path, environment: Mapping[str, str], folders: Sequence[Path] = ()
) -> Launch:
    """Return a process whose home and working folder is `home`, seen at its own path.

    Parameters
    ----------
    environment : mapping
        What holds for the machine's own software in it is left out.
    folders : sequence of Path
        What else is seen at its own path.
    """
    inside = {name: value for name, value in environment.items() if name not in _OF_THE_MACHINE}
    outside_home = [folder for folder in folders if not folder.is_relative_to(home)]
    binds = [Bind(folder, str(folder)) for folder in (home, *outside_home)]
    package = package_folder()
    # A checkout below root's home: the image's own package, if it has one, has to do.
    if not closed_folder(package):
        binds.append(Bind(package, f"{PACKAGES}/{package.name}"))
        inside["PYTHONPATH"] = PACKAGES
    return Launch(
        command=tuple(command), binds=tuple(binds), environment={**inside, "HOME": str(home)}, folder=str(home)
    )
