"""A job that is to follow nobody."""

import pytest

from springtide.queues.feasible import problems_with
from springtide.queues.model import After, Dependency, JobRequest
from springtide.queues.reasons import explain_reason


@pytest.mark.parametrize("ids", [(), ("",), ("12", "")])
def test_a_dependency_on_no_job_is_refused(ids: tuple[str, ...]) -> None:
    request = JobRequest("true", "x", dependencies=(Dependency(After.OK, ids),))
    assert problems_with(request, [], [], "en") == ["It is to follow another job, but none is named."]
    assert len(problems_with(request, [], [], "fr")) == 1


def test_a_dependency_on_a_job_is_no_problem() -> None:
    request = JobRequest("true", "x", dependencies=(Dependency(After.ANY, ("12",)),))
    assert problems_with(request, [], [], "en") == []


@pytest.mark.parametrize(
    "words", ["Not Running: Failed to run: Access denied (15007)", "Not Running: A scheduling error has occurred"]
)
def test_a_start_that_failed_is_said(words: str) -> None:
    assert explain_reason(words, "en") != words
