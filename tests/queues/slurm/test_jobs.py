"""What squeue's answers mean, on lines as it prints them."""

import time
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.errors import QueueUnreachable
from springtide.queues.model import Cause, JobInfo, JobState
from springtide.queues.slurm.jobs import FORMAT, name_format, one_each, parse_jobs, parse_names

FIELDS = {
    "ARRAY_JOB_ID": "12",
    "ARRAY_TASK_ID": "N/A",
    "STATE": "PENDING",
    "EXIT_CODE": "0",
    "RESTART_COUNT": "0",
    "SUBMIT_TIME": "1795475002",
    "START_TIME": "N/A",
    "END_TIME": "N/A",
    "USER": "marie",
    "PARTITION": "batch",
    "CPUS": "4",
    "NODES": "1",
    "TRES_ALLOC": "cpu=4,mem=1G,node=1,billing=4",
    "TIME_LIMIT": "1:00:00",
    "EXEC_HOST": "n/a",
    "NODELIST": "",
    "REASON": "None",
}
HEADING = "|".join(FIELDS) + "|;\n"
PLACED = {"START_TIME": "1795475010", "END_TIME": "1795478610", "EXEC_HOST": "n2", "NODELIST": "n[1-3]"}


def row(**values: str) -> str:
    return "|".join((FIELDS | values).values()) + "|;\n"


def jobs(*rows: str) -> list[JobInfo]:
    return parse_jobs(HEADING + "".join(rows))


def only(**values: str) -> JobInfo:
    (job,) = jobs(row(**values))
    return job


def test_the_bulk_question_leaves_out_what_a_user_may_fill_with_line_breaks() -> None:
    asked = {field.partition(":")[0] for field in FORMAT.split(",")}
    assert len(asked) == len(FIELDS)
    assert not asked & {
        "name",
        "comment",
        "command",
        "workdir",
        "stdout",
        "stderr",
        "admin_comment",
        "wckey",
        "account",
    }


def test_a_waiting_job_has_its_reason_its_forecast_and_no_node() -> None:
    job = only(REASON="Resources", START_TIME="1795480000")
    assert (job.id, job.owner, job.state, job.reason, job.nodes) == ("12", "marie", JobState.QUEUED, "Resources", ())
    assert (job.submitted, job.started, job.expected_start) == (1795475002, None, 1795480000)
    assert (job.cores, job.memory_bytes, job.node_count, job.walltime_s) == (4, 2**30, 1, 3600)
    assert (job.cause, job.runs) == (None, 0)


def test_a_running_job_has_its_nodes_the_one_of_its_script_first() -> None:
    job = only(STATE="RUNNING", **PLACED)
    assert (job.state, job.nodes, job.started) == (JobState.RUNNING, ("n2", "n1", "n3"), 1795475010)
    assert (job.reason, job.runs, job.expected_start, job.ended) == ("", 1, None, None)


@pytest.mark.parametrize(
    ("reason", "state", "cause"),
    [
        ("JobHeldUser", JobState.HELD, None),
        ("JobHeldAdmin", JobState.HELD, None),
        ("launch failed requeued held", JobState.HELD, None),
        ("job requeued in held state", JobState.HELD, None),
        ("BeginTime", JobState.WAITING, None),
        ("Dependency", JobState.WAITING, None),
        ("DependencyNeverSatisfied", JobState.WAITING, Cause.DEPENDENCY),
        ("BadConstraints", JobState.QUEUED, Cause.NEVER_RUNS),
        ("PartitionTimeLimit", JobState.QUEUED, Cause.NEVER_RUNS),
        ("QOSMaxCpuPerJobLimit", JobState.QUEUED, Cause.NEVER_RUNS),
        ("AssocMaxWallDurationPerJobLimit", JobState.QUEUED, Cause.NEVER_RUNS),
        ("QOSMaxJobsPerUserLimit", JobState.QUEUED, None),
        ("QOSMaxCpuPerUserLimit", JobState.QUEUED, None),
        ("PartitionNodeLimit", JobState.QUEUED, None),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-2]", JobState.QUEUED, None),
        ("(Nodes required for job are DOWN, DRAINED or reserved)", JobState.QUEUED, None),
    ],
)
def test_why_a_job_waits_tells_its_state_and_whether_it_ever_runs(
    reason: str, state: JobState, cause: Cause | None
) -> None:
    job = only(REASON=reason)
    assert (job.state, job.cause, job.reason) == (state, cause, reason)


def test_a_job_that_ran_and_waits_again_was_requeued() -> None:
    job = only(REASON="BeginTime", RESTART_COUNT="2", START_TIME="1795475416")
    assert (job.cause, job.runs, job.state) == (Cause.REQUEUED, 2, JobState.WAITING)


# squeue of 22.05 prints the number of wait(2), others "status:signal".
@pytest.mark.parametrize(
    ("state", "code", "reason", "cause", "status"),
    [
        ("COMPLETED", "0", "None", Cause.EXIT, 0),
        ("FAILED", "768", "NonZeroExitCode", Cause.EXIT, 3),
        ("FAILED", "3:0", "NonZeroExitCode", Cause.EXIT, 3),
        ("FAILED", "9", "JobLaunchFailure", Cause.SIGNAL, 137),
        ("FAILED", "0:11", "RaisedSignal:11(Segmentation_fault)", Cause.SIGNAL, 139),
        ("FAILED", "0", "JobLaunchFailure", Cause.LOST, None),
        ("TIMEOUT", "15", "TimeLimit", Cause.WALLTIME, 143),
        ("TIMEOUT", "0", "TimeLimit", Cause.WALLTIME, None),
        ("CANCELLED", "15", "None", Cause.CANCELLED, 143),
        ("CANCELLED", "0", "None", Cause.CANCELLED, None),
        ("CANCELLED", "0", "DependencyNeverSatisfied", Cause.DEPENDENCY, None),
        ("NODE_FAIL", "15", "NodeDown", Cause.LOST, 143),
        ("BOOT_FAIL", "0", "None", Cause.LOST, None),
        ("OUT_OF_MEMORY", "0:125", "OutOfMemory", Cause.MEMORY, None),
        ("OUT_OF_MEMORY", "125", "OutOfMemory", Cause.MEMORY, None),
        ("OUT_OF_MEMORY", "9", "OutOfMemory", Cause.MEMORY, 137),
        ("DEADLINE", "0", "DeadLine", Cause.WALLTIME, None),
        ("PREEMPTED", "15", "None", Cause.CANCELLED, 143),
    ],
)
def test_how_a_job_ended(state: str, code: str, reason: str, cause: Cause, status: int | None) -> None:
    job = only(STATE=state, EXIT_CODE=code, REASON=reason, **PLACED)
    assert (job.state, job.cause, job.exit_status) == (JobState.FINISHED, cause, status)
    assert (job.started, job.ended, job.nodes) == (1795475010, 1795478610, ())
    assert job.used
    assert job.used.walltime_s == 3600


def test_a_job_that_never_had_a_node_never_started() -> None:
    cancelled = only(STATE="CANCELLED", START_TIME="1795475042", END_TIME="1795475042", REASON="JobHeldUser")
    assert (cancelled.started, cancelled.ended, cancelled.runs) == (None, 1795475042, 0)
    assert cancelled.reason == "CANCELLED (JobHeldUser)"
    assert only(STATE="DEADLINE", END_TIME="1795475042").cause is Cause.NEVER_RUNS


@pytest.mark.parametrize(("state", "expected"), [("DREAMING", JobState.QUEUED), ("EXPEDITING", JobState.QUEUED)])
def test_a_word_of_a_version_to_come_is_no_end(state: str, expected: JobState) -> None:
    assert only(STATE=state).state is expected
    assert only(STATE=state, **PLACED).state.alive


def test_an_array_is_one_job_where_its_liveliest_are() -> None:
    rows = [
        row(ARRAY_JOB_ID="6", ARRAY_TASK_ID="3-9%2", REASON="JobArrayTaskLimit"),
        row(ARRAY_JOB_ID="6", ARRAY_TASK_ID="1", STATE="FAILED", EXIT_CODE="256", **PLACED),
        row(ARRAY_JOB_ID="6", ARRAY_TASK_ID="2", STATE="RUNNING", **PLACED),
        row(),
    ]
    assert [job.id for job in jobs(*rows)] == ["6", "6_1", "6_2", "12"]
    whole = one_each(jobs(*rows))
    assert list(whole) == ["6", "12"]
    array = whole["6"]
    assert (array.id, array.array, array.state, array.cores, array.ended) == ("6", "", JobState.RUNNING, 4, None)
    assert array.nodes == ("n2", "n1", "n3")
    assert (array.exit_status, array.cause) == (None, None)


def test_an_array_that_ended_failed_like_the_first_of_its_jobs_that_did() -> None:
    done = row(ARRAY_JOB_ID="6", ARRAY_TASK_ID="1", STATE="COMPLETED", **PLACED)
    failed = row(ARRAY_JOB_ID="6", ARRAY_TASK_ID="2", STATE="FAILED", EXIT_CODE="512", **PLACED)
    array = one_each(jobs(done, failed, done))["6"]
    assert (array.state, array.cause, array.exit_status) == (JobState.FINISHED, Cause.EXIT, 2)
    assert one_each(jobs(done, done))["6"].exit_status == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Segmentation fault\n",
        row(),
        HEADING + row()[:-20],
        HEADING + "12|PENDING\n",
        HEADING + row(ARRAY_JOB_ID="x"),
        HEADING + row(STATE="FAILED", EXIT_CODE="?"),
        HEADING + row(STATE="RUNNING", **(PLACED | {"NODELIST": "n[1-99999999]"})),
    ],
)
def test_an_answer_that_cannot_be_read_whole_says_nothing_of_any_job(text: str) -> None:
    with pytest.raises(QueueUnreachable):
        parse_jobs(text)


def test_an_answer_without_jobs_is_an_answer() -> None:
    assert parse_jobs(HEADING) == []


def test_a_reason_may_hold_bars_and_line_breaks() -> None:
    first, second = jobs(row(REASON="Prolog|said:\n13|N/A|COMPLETED"), row(ARRAY_JOB_ID="13"))
    assert first.reason == "Prolog|said:\n13|N/A|COMPLETED"
    assert (second.id, second.state) == ("13", JobState.QUEUED)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.just("x|;\n13|N/A|evil|;\n")


@given(st.lists(NAMES, max_size=5))
def test_no_name_can_pass_for_another_jobs(names: Sequence[str]) -> None:
    secret = "|5f1c9a20be77d3e4"
    assert name_format(secret).endswith(secret)
    text = f"ARRAY_JOB_ID|ARRAY_TASK_ID|NAME{secret}\n"
    text += "".join(f"{number}|N/A|{name}{secret}\n" for number, name in enumerate(names))
    assert parse_names(text, secret) == {str(number): name for number, name in enumerate(names)}


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_in_one_way(text: str) -> None:
    for answer in (text, HEADING + text, HEADING + row(REASON=text), HEADING + row() + text):
        try:
            parsed = parse_jobs(answer)
        except QueueUnreachable:
            continue
        assert all(job.id for job in parsed)


@given(st.dictionaries(st.sampled_from(sorted(set(FIELDS) - {"REASON"})), st.text(max_size=12), max_size=4))
def test_any_field_is_read_or_refused_in_one_way(values: dict[str, str]) -> None:
    try:
        parsed = one_each(jobs(row(**values), row(ARRAY_JOB_ID="99")))
    except QueueUnreachable:
        return
    assert parsed["99"].state is JobState.QUEUED


def test_ten_thousand_jobs_are_read_in_half_a_second_and_100_mb() -> None:
    rows = [
        row(ARRAY_JOB_ID=str(number), STATE=state, TIME_LIMIT=f"{number % 30}:00:00", **places)
        for number in range(3_334)
        for state, places in (("PENDING", {}), ("RUNNING", PLACED), ("COMPLETED", PLACED))
    ]
    text = HEADING + "".join(rows)
    best = min(_seconds_to_read(text) for _ in range(3))
    tracemalloc.start()
    one_each(parse_jobs(text))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert best < 0.5
    assert most < 100e6


def _seconds_to_read(text: str) -> float:
    begin = time.process_time()
    one_each(parse_jobs(text))
    return time.process_time() - begin
