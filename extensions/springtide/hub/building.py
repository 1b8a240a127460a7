"""Which images are being built now: a mark on disk, as the builder and the hub are different processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def building(run: Path, environment: str) -> Iterator[None]:
    """Mark `environment` as being built by this process."""
    mark = _mark(run, environment)
    mark.write_text(str(os.getpid()), encoding="utf-8")
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def is_building(run: Path, environment: str) -> bool:
    """Whether a living process is building `environment`; the mark of a killed one does not count."""
    try:
        builder = int(_mark(run, environment).read_text(encoding="utf-8"))
        os.kill(builder, 0)
    except (OSError, ValueError):
        return False
    return True


def _mark(run: Path, environment: str) -> Path:
    return run / f"building-{environment}"
