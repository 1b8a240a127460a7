"""The Torque dialect, on documents written after its manual pages (tests/data/torque): there is no Torque to record."""

from __future__ import annotations

import contextlib
import re
import time
import timeit
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.errors import QueueUnreachable
from springtide.queues.commands import Answer
from springtide.queues.model import Cause, JobInfo, JobState
from springtide.queues.pbs.torque import TorqueQueue
from springtide.queues.pbs.torque_answers import parse_jobs

DOCUMENTS = Path(__file__).parents[2] / "data" / "torque"


def written(name: str) -> str:
    return (DOCUMENTS / name).read_text()


def jobs_by_name() -> dict[str, JobInfo]:
    return {job.name: job for job in parse_jobs(written("qstat-x.xml"))}


def queue(*answers: Answer) -> tuple[TorqueQueue, list[list[str]]]:
    """Return a queue whose scheduler gives these answers, and what it was asked."""
    waiting, asked = list(answers), []

    async def runner(argv: Sequence[str]) -> Answer:
        asked.append(list(argv)[2:])
        return waiting.pop(0)

    return TorqueQueue(Path("/usr/bin"), runner), asked


@pytest.mark.parametrize(
    ("name", "state", "exit_status", "cause"),
    [
        ("running", JobState.RUNNING, None, None),
        ("queued", JobState.QUEUED, None, None),
        ("held", JobState.HELD, None, None),
        ("waiting", JobState.WAITING, None, None),
        ("depends", JobState.WAITING, None, None),
        ("requeued", JobState.QUEUED, None, Cause.REQUEUED),
        ("suspended", JobState.SUSPENDED, None, None),
        ("ending", JobState.ENDING, None, None),
        ("ok", JobState.FINISHED, 0, Cause.EXIT),
        ("fail3", JobState.FINISHED, 3, Cause.EXIT),
        ("killed", JobState.FINISHED, 137, Cause.SIGNAL),
        ("cancelled", JobState.FINISHED, 143, Cause.CANCELLED),
        ("cancelled_queued", JobState.FINISHED, None, Cause.CANCELLED),
        ("walltime", JobState.FINISHED, None, Cause.WALLTIME),
        ("walltime_before_4", JobState.FINISHED, 143, Cause.WALLTIME),
        ("memory", JobState.FINISHED, None, Cause.MEMORY),
        ("not_started", JobState.FINISHED, None, Cause.NEVER_RUNS),
        ("node_restarted", JobState.FINISHED, None, Cause.LOST),
        ("depends_on_failure", JobState.FINISHED, None, Cause.DEPENDENCY),
        ("sweep", JobState.RUNNING, None, None),
    ],
)
def test_each_job_has_its_state_exit_status_and_cause(
    name: str, state: JobState, exit_status: int | None, cause: Cause | None
) -> None:
    job = jobs_by_name()[name]
    assert (job.state, job.exit_status, job.cause) == (state, exit_status, cause)


def test_a_running_job_says_where_since_when_and_with_what() -> None:
    job = jobs_by_name()["running"]
    assert (job.owner, job.nodes) == ("marie", ("node1.lab.fr", "node2.lab.fr"))
    assert (job.cores, job.node_count, job.memory_bytes, job.walltime_s) == (8, 2, 400 * 2**20, 600)
    assert (job.submitted, job.started, job.ended, job.runs) == (1795442050.0, 1795442052.0, None, 1)
    assert job.used
    assert (job.used.cpu_s, job.used.memory_bytes, job.used.walltime_s) == (65, 6164 * 2**10, 20)


def test_an_ended_job_says_when() -> None:
    job = jobs_by_name()["ok"]
    assert (job.started, job.ended) == (1795442052.0, 1795442062.0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("queued", "Not Running: Not enough of the right type of nodes available"),
        ("held", "held: Hold_Types = u"),
        ("depends", "depend = afterok:12.head.lab.fr@head.lab.fr"),
        ("not_started", "Post job file processing error; Bad UID for job execution (it could not be started)"),
        ("walltime", "(it ran longer than it had asked for)"),
    ],
)
def test_the_schedulers_own_words_are_kept(name: str, words: str) -> None:
    assert jobs_by_name()[name].reason == words


async def test_an_arrays_jobs_are_known_by_the_array() -> None:
    torque, asked = queue(Answer(0, written("qstat-x-t-array.xml"), ""))
    jobs = await torque.details(["30[].head.lab.fr", "21.head.lab.fr"])
    assert asked[0][1:3] == ["-x", "-t"]
    assert {job.id: job.exit_status for job in jobs.values() if job.array == "30[].head.lab.fr"} == {
        "30[1].head.lab.fr": 0,
        "30[2].head.lab.fr": 2,
        "30[3].head.lab.fr": 143,
    }
    array = jobs["30[].head.lab.fr"]
    assert (array.exit_status, array.cause) == (143, Cause.CANCELLED)
    assert jobs["21.head.lab.fr"].exit_status == 3


async def test_no_jobs_at_all_is_an_empty_queue() -> None:
    torque, _ = queue(Answer(0, "", ""))
    assert await torque.snapshot() == {}


@pytest.mark.parametrize(
    "garbage",
    [
        "qstat: something odd",
        written("qstat-x.xml")[:-9],
        written("qstat-x.xml")[:3000],
        written("qstat-x.xml") + "odd < odd",
        written("qstat-x.xml") * 2,
        "<Data><Job><Job_Id>1.s</Job_Id></Job></Data>",
        "<Data><Job><job_state>R</job_state></Job></Data>",
        "Job id  Name  User\n1.s  a  b\n",
    ],
)
async def test_garbage_and_cut_off_answers_are_unknown(garbage: str) -> None:
    torque, _ = queue(Answer(0, garbage, ""))
    with pytest.raises(QueueUnreachable):
        await torque.snapshot()


async def test_an_outage_is_unknown() -> None:
    torque, _ = queue(Answer(1, "", "qstat: cannot connect to server head (errno=15137) could not connect to trqauthd"))
    with pytest.raises(QueueUnreachable, match="trqauthd"):
        await torque.details(["1.s"])


async def test_a_job_that_the_server_has_forgotten_is_left_out() -> None:
    torque, _ = queue(Answer(153, "", "qstat: Unknown Job Id Error 9.head.lab.fr"))
    assert await torque.details(["9.head.lab.fr"]) == {}


async def test_a_job_that_nothing_is_said_of_is_not_gone() -> None:
    torque, _ = queue(Answer(153, "", "qstat: Unknown Job Id Error 9.head.lab.fr"))
    with pytest.raises(QueueUnreachable, match="nothing of 8"):
        await torque.details(["9.head.lab.fr", "8.head.lab.fr"])


async def test_at_most_twenty_jobs_are_asked_for_at_a_time() -> None:
    unknown = "".join(f"qstat: Unknown Job Id Error {number}.s\n" for number in range(45))
    torque, asked = queue(*[Answer(153, "", unknown)] * 3)
    await torque.details([f"{number}.s" for number in range(45)])
    assert [len(argv) - 2 for argv in asked] == [20, 20, 5]


async def test_a_job_is_found_by_the_name_it_was_submitted_with() -> None:
    torque, _ = queue(*[Answer(0, "<Data>" + _job("1.s", "j_ete") + "</Data>", "")] * 2)
    found = await torque.find("?_été", "marie")
    assert found
    assert found.id == "1.s"
    assert await torque.find("?_été", "paul") is None


def _job(job_id: str, name: str) -> str:
    fields = {"Job_Id": job_id, "Job_Name": name, "Job_Owner": "marie@x", "job_state": "R"}
    return "<Job>" + "".join(f"<{tag}>{escape(value)}</{tag}>" for tag, value in fields.items()) + "</Job>"


async def test_nodes_have_cores_memory_and_gpus() -> None:
    torque, _ = queue(Answer(0, written("pbsnodes-x.xml"), ""))
    one, two, three = await torque.nodes()
    assert (one.cores, one.free_cores, one.gpus, one.usable) == (8, 3, 2, True)
    assert (one.memory_bytes, one.free_memory_bytes) == (32 * 2**30, 24 * 2**30)
    assert (two.free_cores, two.usable, two.state) == (0, True, "job-exclusive")
    assert (three.usable, three.memory_bytes) == (False, 0)
    assert await torque.node_address(one.name) == "node1.lab.fr"


async def test_garbage_about_nodes_is_unknown_and_a_server_may_have_none() -> None:
    torque, _ = queue(Answer(0, "odd <", ""), Answer(1, "", "no"), Answer(1, "", "pbsnodes: Server has no node list"))
    for _ in range(2):
        with pytest.raises(QueueUnreachable):
            await torque.nodes()
    assert await torque.nodes() == ()


async def test_queues_have_their_limits_and_one_is_the_default() -> None:
    torque, _ = queue(Answer(0, written("qstat-Bf.txt"), ""), Answer(0, written("qstat-Qf.txt"), ""))
    batch, short = await torque.queues()
    assert (batch.name, batch.default, batch.open, batch.walltime_s) == ("batch", True, True, 172800)
    assert (batch.nodes, batch.cores, batch.waiting, batch.running) == (2, 64, 6, 4)
    assert (short.default, short.open, short.walltime_s, short.memory_bytes) == (False, False, 600, 8 * 2**30)


async def test_garbage_about_the_server_is_unknown() -> None:
    torque, _ = queue(Answer(0, "odd", ""), Answer(0, "odd", ""))
    with pytest.raises(QueueUnreachable):
        await torque.queues()


_XML_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"])) | st.sampled_from(
    ["</Job_Name><job_state>C</job_state>", "]]>", "&amp;", "<Job>", "\n</Job><Job><Job_Id>9.s</Job_Id>", "|\\\n"]
)


@settings(deadline=None, max_examples=100)
@given(name=_XML_TEXT)
def test_a_users_words_change_no_job(name: str) -> None:
    said = "<Data>" + _job("1.s", "one") + _job("2.s", name) + _job("3.s", "three") + "</Data>"
    jobs = {job.id: (job.name, job.state) for job in parse_jobs(said)}
    kept = re.sub(r"\r\n?", "\n", name).strip()
    assert jobs == {
        number: (said, JobState.RUNNING) for number, said in (("1.s", "one"), ("2.s", kept), ("3.s", "three"))
    }


@settings(deadline=None, max_examples=100)
@given(text=_XML_TEXT)
def test_whatever_is_printed_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(QueueUnreachable):
        assert all(job.id for job in parse_jobs(text))


def many_jobs(count: int) -> str:
    """Return an answer about as many jobs, of the written kinds."""
    jobs = re.findall(r"<Job_Name>.*?</Job>", written("qstat-x.xml"), re.DOTALL)
    body = (f"<Job><Job_Id>{number}.s</Job_Id>{jobs[number % len(jobs)]}" for number in range(count))
    return f"<Data>{''.join(body)}</Data>"


def test_ten_thousand_jobs_are_read_in_a_second() -> None:
    text = many_jobs(10_000)
    # The best of three: other programs of the machine take their share of its caches.
    assert min(timeit.repeat(lambda: list(parse_jobs(text)), timer=time.process_time, number=1, repeat=3)) < 1


def test_ten_thousand_jobs_take_little_memory() -> None:
    # A tenth of them: to trace memory takes time.
    text = many_jobs(1_000)
    tracemalloc.start()
    jobs = list(parse_jobs(text))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(jobs) == 1_000
    assert 10 * (len(text) + most) < 100 * 2**20
