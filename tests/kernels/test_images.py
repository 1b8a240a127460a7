"""Every shipped image passes its own tests, run inside it with a session's limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from springtide.share import share_path
from tests.kernels.sessions import run_in_image
from tests.support.docker_engine import DockerEngine

ENVIRONMENTS = sorted(folder.parent.name for folder in share_path("kernels").glob("*/tests"))
RUN_TESTS = ("python", "-m", "unittest", "discover", "--start-directory=/recipe/tests", "--verbose")


# The first run builds the images.
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_image_passes_its_own_tests(environment: str, docker_engine: DockerEngine) -> None:
    recipe: Path = share_path("kernels", environment)
    tests = run_in_image(environment, RUN_TESTS, mounts=[(recipe, "/recipe")], seconds=300)
    assert tests.returncode == 0, tests.stderr
    assert "Ran 0 tests" not in tests.stderr
