"""Where the files that come with Springtide lie: lab files, environment recipes, tutorials."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def share_path(*parts: str) -> Path:
    """Return the path of a shipped file or folder, e.g. ``share_path("kernels", "base")``.

    An installed wheel carries them in ``_share``; a checkout has them at its top.
    """
    installed = _PACKAGE / "_share"
    top = installed if installed.is_dir() else _PACKAGE.parents[1]
    return top.joinpath(*parts)
