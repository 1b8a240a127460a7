"""Fixtures of the broker's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.serving import Serving, serving
from tests.jobs.labs import jobs_lab


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Yield a broker for the tests of a module."""
    folder: Path = tmp_path_factory.mktemp("broker")
    with pytest.MonkeyPatch.context() as patch, jobs_lab(folder, patch) as lab, serving(lab, patch) as running:
        yield running
