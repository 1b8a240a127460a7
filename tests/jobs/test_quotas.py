"""Quotas: what a user's and a group's jobs may take together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import yaml

from springtide.errors import LabFileError, NotSubmitted, QuotaExceeded
from springtide.jobs.asked import Asked
from springtide.jobs.desk import Desk
from tests.jobs.labs import JobsLab


def limited(lab: JobsLab, quotas: dict[str, Any], **changes: Any) -> Desk:
    """Return a desk of a lab with quotas."""
    file = lab.lab_file
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "quotas": quotas}))
    return replace(lab.new_desk(), **changes)


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        ({"jobs": 3}, "You may have 3 jobs at a time: 2 are taken, and this needs 2."),
        ({"cores": 7}, "You may have 7 cores at a time: 4 are taken, and this needs 4."),
        (
            {"core_hours": 0.1, "period": "7d"},
            "You may have 0.1 core hours in 7 days: 0.0666667 are taken, and this needs 0.0666667.",
        ),
    ],
)
async def test_what_a_quota_has_no_room_for_is_refused_with_what_is_used_and_allowed(
    lab: JobsLab, quota: dict[str, Any], words: str
) -> None:
    desk = limited(lab, {"everyone": quota})
    twice = {"first": [1, 2], "sleep": 60}
    run = await desk.submit("sum", twice, Asked(cores=2))
    with pytest.raises(QuotaExceeded) as refused:
        await desk.submit("sum", twice, Asked(cores=2))
    assert (refused.value.message, "springtide quota" in refused.value.hint) == (words, True)
    assert len(lab.ledger.runs()) == len(lab.ledger.jobs()) == len(list((lab.folder / "jobs").iterdir())) == 1
    await desk.cancel(run)
    await lab.ended(run)
    # What was cancelled at its beginning has used next to nothing.
    await desk.submit("sum", {"first": [1, 2]}, Asked(cores=2))


async def test_submissions_at_the_same_time_do_not_pass_a_quota(lab: JobsLab) -> None:
    limited(lab, {"everyone": {"jobs": 2}})
    desks = [lab.new_desk() for _ in range(5)]
    answers = await asyncio.gather(
        *(desk.submit("sum", {"sleep": 60}, Asked()) for desk in desks), return_exceptions=True
    )
    assert sum(isinstance(answer, QuotaExceeded) for answer in answers) == 3, answers
    assert len(lab.ledger.jobs(kind="job")) == 2
    for run in lab.ledger.runs():
        await desks[0].cancel(run)


async def test_the_members_of_a_group_have_its_quota_together(lab: JobsLab) -> None:
    alice = limited(lab, {"everyone": {"jobs": 5}, "groups": {"lisa": {"jobs": 1}}}, groups={"lisa"})
    bob = replace(lab.new_desk(), user="bob", groups={"lisa", "other"})
    await alice.submit("sum", {"sleep": 60}, Asked())
    with pytest.raises(QuotaExceeded, match="The group lisa may have 1 jobs at a time: 1 are taken"):
        await bob.submit("sum", {}, Asked())
    shown = {one.whose: (one.spent.jobs, one.quota.jobs) for one in await bob.quotas()}
    assert shown == {"user bob": (0, 5), "group lisa": (1, 1)}
    # Who is not in the group is not told of it.
    assert [one.whose for one in await replace(bob, groups=()).quotas()] == ["user bob"]
    for run in lab.ledger.runs():
        await alice.cancel(run)


async def test_what_a_user_is_given_comes_before_what_everyone_has(lab: JobsLab) -> None:
    desk = limited(lab, {"everyone": {"jobs": 1, "cores": 8}, "users": {"carol": {"jobs": 9}}}, user="carol")
    (standing,) = await desk.quotas()
    assert (standing.quota.jobs, standing.quota.cores) == (9, 8)
    assert await limited(lab, {}).quotas() == []


async def test_what_was_refused_takes_nothing(lab: JobsLab) -> None:
    desk = limited(lab, {"everyone": {"jobs": 1}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("springtide.jobs.desk.problems_with", lambda *_: ["No node has so much."])
        with pytest.raises(NotSubmitted):
            await desk.submit("sum", {}, Asked())
    assert (await desk.quotas())[0].spent.jobs == 0
    await lab.ended(await desk.submit("sum", {}, Asked()))


@pytest.mark.parametrize(
    ("quotas", "words"),
    [
        ({"everyone": {"jobs": -1}}, "quotas.everyone.jobs"),
        ({"everyone": {"core_hours": float("nan")}}, "quotas.everyone.core_hours"),
        ({"groups": {"lisa": {"job": 3}}}, "quotas.groups.lisa.job"),
        ({"everyone": {"jobs": 1, "period": "soon"}}, "quotas.everyone.period"),
    ],
)
def test_quotas_that_cannot_be_are_told_with_their_place(lab: JobsLab, quotas: dict[str, Any], words: str) -> None:
    with pytest.raises(LabFileError, match=words):
        limited(lab, quotas)
