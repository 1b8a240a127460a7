"""Nobody forges a job: whatever users put into attributes comes back as it was, or as something harmless."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.errors import QueueUnreachable
from springtide.queues.model import JobState
from springtide.queues.pbs.pro_answers import new_delimiter, parse_records
from springtide.queues.pbs.pro_jobs import parse_jobs

DELIMITER = "|0123456789ab|"
RECORDED = Path(__file__).parents[2] / "data" / "openpbs" / "qstat-fxt.dsv"
# What people and programs put into names, comments and variables, and what forges where lines are trusted.
NASTY = st.lists(
    st.sampled_from(
        ["|", "\\", "\n", "\r", "\f", "\x0b", "\x1c", "\x85", "\u2028", "=", ",", "'", '"', "é", "n", "|0|"]
    )
    | st.sampled_from(["Job Id: 9.s", "|job_state=F", "job_state=F", "|Job_Owner=root@x", "\nJob Id: 9.s|job_state=F"])
    | st.text(max_size=4)
).map("".join)
VALUES = NASTY.filter(lambda value: DELIMITER not in value)


def printed(value: str) -> str:
    """Return a value as OpenPBS 23.06 prints it in the delimited form: its escapes, then control characters as ^X."""
    escaped = ""
    for at, character in enumerate(value):
        before_a_quote = character == "\\" and value[at + 1 : at + 2] in ("'", '"', ",")
        escaped += "\\\\" if character == "\\" and not before_a_quote else character
    escaped = escaped.replace("\n", "\\n").replace("\f", "\\f")
    return "".join(f"^{chr(ord(one) + 64)}" if ord(one) < 32 and one not in "\n\t" else one for one in escaped)


def answer(job_id: str, **attributes: str) -> str:
    attributes = {"Job_Name": "one", **attributes}
    fields = DELIMITER.join(f"{name}={value}" for name, value in attributes.items())
    return f"Job Id: {job_id}{DELIMITER}{fields}\n"


@settings(deadline=None, max_examples=150)
@given(name=VALUES, account=VALUES, variables=VALUES, comment=VALUES)
def test_a_users_words_change_no_job(name: str, account: str, variables: str, comment: str) -> None:
    said = answer("1.s", job_state="R", Job_Owner="anna@x")
    said += answer(
        "2.s",
        Job_Name=printed(name),
        Job_Owner="marie@x",
        job_state="H",
        Account_Name=printed(account),
        Variable_List=printed(variables),
        comment=printed(comment),
    )
    said += answer("3.s", job_state="Q", Job_Owner="paul@x")
    jobs = {job.id: (job.state, job.owner) for job in parse_jobs(said, DELIMITER)}
    assert jobs == {
        "1.s": (JobState.RUNNING, "anna"),
        "2.s": (JobState.HELD, "marie"),
        "3.s": (JobState.QUEUED, "paul"),
    }


@settings(deadline=None, max_examples=150)
@given(account=VALUES)
def test_a_server_that_escapes_nothing_forges_nothing_either(account: str) -> None:
    said = answer("1.s", job_state="R", Account_Name=account, Job_Owner="anna@x") + answer("3.s", job_state="Q")
    assert {job.id: (job.state, job.owner) for job in parse_jobs(said, DELIMITER)} == {
        "1.s": (JobState.RUNNING, "anna"),
        "3.s": (JobState.QUEUED, ""),
    }


@settings(deadline=None, max_examples=150)
@given(values=st.lists(VALUES, max_size=5))
def test_values_come_back_as_they_were_printed(values: list[str]) -> None:
    attributes = {f"a{number}": printed(value) for number, value in enumerate(values)}
    said = answer("1.s", **attributes)
    ((_, read),) = parse_records(said, "Job Id", DELIMITER)
    assert read == {"Job_Name": "one", **attributes}


@settings(deadline=None, max_examples=150)
@given(text=NASTY)
def test_whatever_is_printed_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(QueueUnreachable):
        assert all(job.id for job in parse_jobs(text, DELIMITER))


@settings(deadline=None, max_examples=100)
@given(cut=st.integers(0, 20_000))
def test_an_answer_cut_off_anywhere_is_never_a_job_less_than_it_says(cut: int) -> None:
    whole = RECORDED.read_text().replace("|delimiter|", DELIMITER)
    part = whole[: min(cut, len(whole) - 1)]
    if part.endswith("\n") or not part:
        # At the end of a line: `details` notices by the ids that it asked for, qstat by its exit status.
        return
    with pytest.raises(QueueUnreachable):
        list(parse_jobs(part, DELIMITER))


def test_a_real_attempt_to_forge_stays_where_it_is() -> None:
    jobs = {job.id: job for job in parse_jobs(RECORDED.read_text(), "|delimiter|")}
    assert "9.s" not in jobs
    assert (jobs["72.pbshead"].owner, jobs["72.pbshead"].state) == ("pbsuser1", JobState.HELD)


def test_each_command_has_a_delimiter_of_its_own() -> None:
    assert len({new_delimiter() for _ in range(100)}) == 100
