"""How a kernel ended, for its user."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

from springtide.texts import pick_language, translate
from springtide.units import format_memory

_KILLED_FROM = 128


def language() -> str:
    """Return the language of the person whose session this is."""
    said = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := os.environ.get(name))), "")
    return pick_language(said.partition(".")[0].replace("_", "-"))


def end_in_words(report: Mapping[str, Any], memory_bytes: int, kernel: str) -> str:
    """Return how a kernel ended by itself; empty for one that was asked to, or that ended as it should.

    Parameters
    ----------
    report : mapping
        What the kernel's companion wrote of the end.
    memory_bytes : int
        Its limit; 0: none.
    """
    if report.get("words"):
        return str(report["words"])
    status = int(report.get("status") or 0)
    if report.get("asked") or not status:
        return ""
    if report.get("out_of_memory"):
        return translate(language(), "kernels.out_of_memory", kernel=kernel, memory=format_memory(memory_bytes))
    if status > _KILLED_FROM:
        return translate(language(), "kernels.killed", kernel=kernel, signal=_name_of(status - _KILLED_FROM))
    return translate(language(), "kernels.ended", kernel=kernel, status=status)


def start_in_words(report: Mapping[str, Any], memory_bytes: int, kernel: str) -> str:
    """Return why a kernel did not start: as its end, with the last lines it wrote."""
    why = end_in_words({"status": 1, **report}, memory_bytes, kernel)
    lines = "\n".join(str(line) for line in report.get("lines", ()))
    return f"{why}\n{lines}".strip()


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
