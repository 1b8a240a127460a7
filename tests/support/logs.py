"""Logs of the services a test used, shown with its failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

TAIL_LINES = 60
TAIL_BYTES = 64 * 1024

_sources: dict[str, list[Callable[[], Iterable[Path]]]] = {}


def show_on_failure(fixture: str, files: Callable[[], Iterable[Path]]) -> None:
    """Show the ends of `files` with every failing test that uses `fixture`."""
    _sources.setdefault(fixture, []).append(files)


def forget(fixture: str) -> None:
    _sources.pop(fixture, None)


def sections_for(fixtures: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield title and text of each log that belongs to one of `fixtures`."""
    for fixture in fixtures:
        for files in _sources.get(fixture, []):
            for path in files():
                text = tail(path)
                if text:
                    yield f"{fixture}: {path.name}", text


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a file, or nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
