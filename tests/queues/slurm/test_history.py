"""What sacct says of jobs that have left the controller's memory, on lines as it prints them."""

import os
import pwd
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.errors import QueueUnreachable
from springtide.queues.commands import Answer
from springtide.queues.model import Cause, JobInfo, JobState, Used
from springtide.queues.slurm.history import parse_history
from springtide.queues.slurm.jobs import FORMAT
from springtide.queues.slurm.queue import SlurmQueue
from tests.queues.slurm import test_jobs as squeue

FIELDS = {
    "JobID": "12",
    "State": "COMPLETED",
    "ExitCode": "0:0",
    "Submit": "1795475002",
    "Start": "1795475010",
    "End": "1795478610",
    "User": "marie",
    "Partition": "batch",
    "AllocCPUS": "4",
    "AllocTRES": "billing=4,cpu=4,mem=1G,node=2",
    "TimelimitRaw": "120",
    "ElapsedRaw": "3600",
    "TotalCPU": "03:20:01",
    "MaxRSS": "",
    "NodeList": "n[1-2]",
    "Reason": "None",
}
# Of a real sacct 22.05 with slurmdbd: python that ends with 3; scancel of its owner, by root, and of a held job; a job
# whose condition could not come true; two nodes; an array.
RECORDED = """\
1|FAILED|3:0|1795477509|1795477512|1795477515|marie|batch|1|billing=1,cpu=1,mem=256M,node=1|60|3|00:03.116||n1|None
1.batch|FAILED|3:0|1795477512|1795477512|1795477515|||1|cpu=1,mem=256M,node=1||3|00:03.116|78118912|n1|
2|CANCELLED by 1003|0:0|1795477509|1795477512|1795477512|marie|batch|1|billing=1,cpu=1,mem=256M|60|0|00:00.001||n1|None
2.batch|CANCELLED|0:15|1795477512|1795477512|1795477512|||1|cpu=1,mem=256M,node=1||0|00:00.001||n1|
3|CANCELLED by 1003|0:0|1795477509|1795477512|1795477512|marie|batch|1||60|0|00:00:00||None assigned|JobHeldUser
6|CANCELLED|0:0|1795477509|None|1795477518|marie|batch|1||60|0|00:00:00||None assigned|Dependency
7|COMPLETED|0:0|1795477509|1795477512|1795477512|marie|batch|2|cpu=2,mem=512M,node=2|60|0|00:00.013||n[2-3]|None
7.batch|COMPLETED|0:0|1795477512|1795477512|1795477512|||1|cpu=1,mem=256M,node=1||0|00:00.010||n2|
7.0|COMPLETED|0:0|1795477512|1795477512|1795477512|||2|cpu=2,mem=512M,node=2||0|00:00.002||n[2-3]|
5_1|FAILED|1:0|1795477509|1795477512|1795477512|marie|batch|1|cpu=1,mem=256M,node=1|60|0|00:00.001||n1|None
5_1.batch|FAILED|1:0|1795477512|1795477512|1795477512|||1|cpu=1,mem=256M,node=1||0|00:00.001||n1|
5_2|COMPLETED|0:0|1795477509|1795477512|1795477512|marie|batch|1|cpu=1,mem=256M,node=1|60|0|00:00.001||n3|None
"""
NOT_STARTED = {
    "Start": "None",
    "ElapsedRaw": "0",
    "TotalCPU": "00:00:00",
    "NodeList": "None assigned",
    "AllocCPUS": "0",
}


def row(**values: str) -> str:
    return "|".join((FIELDS | values).values()) + "\n"


def only(**values: str) -> JobInfo:
    (job,) = parse_history(row(**values)).values()
    return job


def test_a_job_has_its_end_and_what_its_steps_used() -> None:
    batch = row(JobID="12.batch", User="", Partition="", MaxRSS="2048K", TimelimitRaw="")
    step = row(JobID="12.0", User="", Partition="", MaxRSS="1M", TimelimitRaw="")
    (job,) = parse_history(row() + batch + step).values()
    assert (job.id, job.owner, job.queue, job.state) == ("12", "marie", "batch", JobState.FINISHED)
    assert (job.cause, job.exit_status, job.cancelled_by) == (Cause.EXIT, 0, "")
    assert (job.submitted, job.started, job.ended, job.walltime_s) == (1795475002, 1795475010, 1795478610, 7200)
    assert (job.cores, job.node_count, job.memory_bytes) == (4, 2, 2**30)
    assert job.used
    assert (job.used.walltime_s, job.used.cpu_s, job.used.memory_bytes) == (3600, 12001, 2 * 2**20)


def test_a_real_answer() -> None:
    jobs = parse_history(RECORDED)
    assert {job_id: (job.cause, job.exit_status) for job_id, job in jobs.items()} == {
        "1": (Cause.EXIT, 3),
        "2": (Cause.CANCELLED, 143),
        "3": (Cause.CANCELLED, None),
        "6": (Cause.DEPENDENCY, None),
        "7": (Cause.EXIT, 0),
        "5_1": (Cause.EXIT, 1),
        "5_2": (Cause.EXIT, 0),
    }
    assert (jobs["2"].cancelled_by, jobs["6"].cancelled_by) == (_name(1003), "")
    assert jobs["1"].used == Used(cpu_s=3.116, memory_bytes=78118912, walltime_s=3)
    assert (jobs["3"].started, jobs["6"].started, jobs["7"].node_count) == (None, None, 2)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def test_who_cancelled_it_is_known() -> None:
    mine = only(State=f"CANCELLED by {os.geteuid()}", ExitCode="0:15")
    assert (mine.cause, mine.exit_status) == (Cause.CANCELLED, 143)
    assert mine.cancelled_by == pwd.getpwuid(os.geteuid()).pw_name
    assert only(State="CANCELLED by 4123456").cancelled_by == "4123456"
    assert only(State="CANCELLED").cancelled_by == ""


@pytest.mark.parametrize(
    ("state", "code", "cause", "status"),
    [
        ("FAILED", "3:0", Cause.EXIT, 3),
        ("FAILED", "0:11", Cause.SIGNAL, 139),
        ("TIMEOUT", "0:0", Cause.WALLTIME, None),
        ("OUT_OF_MEMORY", "0:125", Cause.MEMORY, None),
        ("NODE_FAIL", "0:0", Cause.LOST, None),
    ],
)
def test_how_a_job_ended(state: str, code: str, cause: Cause, status: int | None) -> None:
    job = only(State=state, ExitCode=code)
    assert (job.cause, job.exit_status) == (cause, status)


def test_a_job_that_never_ran_used_nothing() -> None:
    job = only(State="CANCELLED by 0", **NOT_STARTED)
    assert (job.started, job.used, job.node_count, job.exit_status) == (None, None, 0, None)


def test_a_job_of_an_array_knows_its_array() -> None:
    job = only(JobID="12_3")
    assert (job.id, job.array) == ("12_3", "12")


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "REQUEUED", "SUSPENDED"])
def test_what_the_accounts_call_alive_and_the_controller_does_not_know_is_left_out(state: str) -> None:
    assert parse_history(row(State=state)) == {}


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_one_way(text: str) -> None:
    for answer in (text, row(Reason=text), row() + text):
        try:
            parse_history(answer)
        except QueueUnreachable:
            continue


class Site:
    """A controller that has forgotten all jobs but those it is given, and the accounts' answer."""

    def __init__(self, accounts: Answer, controller: str = "") -> None:
        self.accounts = accounts
        self.controller = controller
        self.asked = 0

    async def __call__(self, argv: Sequence[str]) -> Answer:
        if "/usr/bin/sacct" in argv:
            self.asked += 1
            return self.accounts
        wanted = argv[-1].removeprefix("--Format=")
        one_id = not any("," in word for word in argv if word.startswith("--jobs="))
        if one_id and not self.controller:
            return Answer(1, "", "slurm_load_jobs error: Invalid job id specified")
        if wanted == FORMAT:
            return Answer(0, self.controller or squeue.HEADING, "")
        return Answer(0, f"ARRAY_JOB_ID|ARRAY_TASK_ID|NAME{wanted.partition('name:')[2]}\n", "")


async def test_forgotten_jobs_are_asked_of_the_accounts() -> None:
    site = Site(Answer(0, row() + row(JobID="13_1") + row(JobID="13_2", State="FAILED", ExitCode="2:0"), ""))
    known = await SlurmQueue(Path("/usr/bin"), site).details(["12", "13"])
    assert list(known) == ["12", "13_1", "13_2", "13"]
    assert (known["13"].exit_status, known["13"].array) == (2, "")


CANCELLED = squeue.HEADING + squeue.row(STATE="CANCELLED", EXIT_CODE="15", **squeue.PLACED)


async def test_the_accounts_say_who_cancelled_a_job_that_the_controller_still_knows() -> None:
    site = Site(Answer(0, row(State="CANCELLED by 4123456"), ""), CANCELLED)
    job = (await SlurmQueue(Path("/usr/bin"), site).details(["12"]))["12"]
    assert (job.cause, job.exit_status, job.cancelled_by) == (Cause.CANCELLED, 143, "4123456")
    assert job.used
    assert job.used.cpu_s == 12001


async def test_what_the_controller_knows_needs_no_accounts() -> None:
    site = Site(Answer(1, "", "Connection refused"), CANCELLED)
    queue = SlurmQueue(Path("/usr/bin"), site)
    assert (await queue.details(["12"]))["12"].cause is Cause.CANCELLED
    with pytest.raises(QueueUnreachable):
        await queue.details(["12", "13"])


@pytest.mark.parametrize(
    "answer", [Answer(1, "", "Slurm accounting storage is disabled"), Answer(127, "", "env: sacct: No such file")]
)
async def test_a_site_without_accounts_is_asked_once(answer: Answer) -> None:
    site = Site(answer)
    queue = SlurmQueue(Path("/usr/bin"), site)
    assert await queue.details(["12"]) == await queue.details(["12"]) == {}
    assert site.asked == 1


async def test_accounts_that_do_not_answer_are_an_outage() -> None:
    site = Site(Answer(1, "", "sacct: error: Problem talking to the database: Connection refused"))
    with pytest.raises(QueueUnreachable):
        await SlurmQueue(Path("/usr/bin"), site).details(["12"])
