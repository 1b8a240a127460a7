"""The lab of the tests of jobs."""

from tests.jobs.conftest import lab

__all__ = ["lab"]
