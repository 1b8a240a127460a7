"""Fixtures for jobs of applications."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.labs import JobsLab, jobs_lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobsLab]:
    """Yield a lab with a queue of this machine."""
    with jobs_lab(tmp_path, monkeypatch) as found:
        yield found
