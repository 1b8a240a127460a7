"""The widgets of the account that runs this kernel. A cell that is run again closes what it showed before."""

from __future__ import annotations

import os
import sys
from typing import Any, TypeVar

from springtide.jobs.api import desk
from springtide.texts import pick_language
from springtide.widgets.launcher import Launcher
from springtide.widgets.table import JobsTable

Shown = TypeVar("Shown")

_of_cells: dict[str, Any] = {}


def jobs_table(language: str = "") -> JobsTable:
    """Return a live table of your jobs."""
    return _instead(JobsTable(desk(), language or own_language()))


def launcher(application: str = "", *, language: str = "") -> Launcher:
    """Return a form to launch applications with, and a live table of your jobs.

    Parameters
    ----------
    application : str, optional
        The one to begin with; by default the first of those that ``springtide apps`` lists.
    language : str, optional
        "en" or "fr"; by default that of the environment.

    Raises
    ------
    UnknownApplication
        If there is none of this name.
    """
    return _instead(Launcher(desk(), language or own_language(), application))


def own_language() -> str:
    """Return the language that the environment asks for: SPRINGTIDE_LANGUAGE, else that of its texts."""
    names = ("SPRINGTIDE_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
    said = next((value for name in names if (value := os.environ.get(name))), "")
    return pick_language(said.partition(".")[0].replace("_", "-"))


def _instead(widget: Shown) -> Shown:
    """Close what the same cell showed before: the front end does not say that it is gone."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    parent = shell.get_parent() if shell and hasattr(shell, "get_parent") else {}
    if cell := parent.get("metadata", {}).get("cellId"):
        if before := _of_cells.get(cell):
            before.close()
        _of_cells[cell] = widget
    return widget
