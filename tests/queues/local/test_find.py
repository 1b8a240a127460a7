"""A job is found by its name, which is all that is known of it after a crash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.queues.local.machine import account
from springtide.queues.model import JobArray, JobState
from tests.support.local_queue import LocalSite, local_site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LocalSite]:
    with local_site(tmp_path) as found:
        yield found


async def test_a_job_that_was_over_before_anybody_looked_is_found_with_its_end(site: LocalSite) -> None:
    me = account().pw_name
    assert await site.queue.find("work-abc", me) is None
    job_id = site.submit("exit 3", name="work-abc")
    await site.ended(job_id)
    job = await site.queue.find("work-abc", me)
    assert job
    assert (job.id, job.state, job.exit_status) == (job_id, JobState.FINISHED, 3)
    assert await site.queue.find("work-abc", "somebody-else") is None
    assert await site.queue.find("work-ab", me) is None


async def test_an_array_is_found_as_a_whole(site: LocalSite) -> None:
    job_id = site.submit("exit $((PBS_ARRAY_INDEX - 1))", name="sweep-abc", array=JobArray(1, 2))
    await site.ended(job_id.replace("[]", "[2]"))
    await site.ended(job_id.replace("[]", "[1]"))
    job = await site.queue.find("sweep-abc", account().pw_name)
    assert job
    assert (job.id, job.state, job.exit_status) == (job_id, JobState.FINISHED, 1)
