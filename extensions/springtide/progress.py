"""Telling how far a program is: one line on its standard output, which whoever follows the job shows as a bar.

The line is ``progress 0.42 "chain 3/8"``: a fraction of the whole and, if one likes, some words. Any program in any
language can print it. This file needs nothing but Python: copy it, or import it where Springtide is installed. Beside
the program of an application it lies as ``springtide_progress``.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from typing import TypeVar

Thing = TypeVar("Thing")

_LINE = re.compile(rb'^progress\s+([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)(?:\s+"((?:[^"\\]|\\.)*)")?\s*$', re.MULTILINE)
_TAIL_BYTES = 2**16
_MOST_TAIL_BYTES = 2**20
_LONGEST_WORDS = 200
_EVERY_S = 0.5


def progress(fraction: float, words: str = "") -> None:
    """Print how far the program is.

    Parameters
    ----------
    fraction : float
        From 0 to 1.
    words : str, optional
        What it does just now.
    """
    quoted = " ".join(str(words).split()).replace("\\", "\\\\").replace('"', '\\"')
    print(f"progress {min(1.0, max(0.0, float(fraction))):.4g}" + (f' "{quoted}"' if quoted else ""), flush=True)


def track(things: Iterable[Thing], total: int | None = None, words: str = "") -> Iterator[Thing]:
    """Yield `things` one after the other, and print how far one is, at most twice a second.

    Parameters
    ----------
    total : int, optional
        How many they are, where ``len`` does not say.
    """
    if total is None:
        total = len(things) if isinstance(things, Collection) else 0
    last = 0.0
    for number, thing in enumerate(things):
        now = time.monotonic()
        if now - last >= _EVERY_S:
            progress(number / max(1, total), (f"{words} {number + 1}/{total}").strip())
            last = now
        yield thing
    progress(1.0, words)


def last_progress(file: str | os.PathLike[str]) -> tuple[float, str] | None:
    """Return the fraction and the words of the last such line that a file ends with, None where there is none.

    Only the end of a large file is read.
    """
    try:
        with open(file, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            reach = _TAIL_BYTES
            while True:
                stream.seek(max(0, size - reach))
                tail = stream.read(reach)
                found = progress_in(tail)
                if found or reach >= min(size, _MOST_TAIL_BYTES):
                    break
                reach = _MOST_TAIL_BYTES
    except OSError:
        return None
    return found


def progress_in(tail: bytes) -> tuple[float, str] | None:
    """Return the fraction and the words of the last such line in the end of a file, None where there is none."""
    # Half a line is none: it may still be written.
    found = _LINE.findall(tail[: tail.rfind(b"\n") + 1])
    if not found:
        return None
    fraction, words = found[-1]
    text = re.sub(r"\\(.)", r"\1", words.decode("utf-8", "replace"))
    shown = "".join(sign if sign.isprintable() else " " for sign in text[:_LONGEST_WORDS])
    return min(1.0, float(fraction)), shown


if __name__ == "__main__":
    progress(float(sys.argv[1]), " ".join(sys.argv[2:]))
