"""The PBS Pro dialect, on what a real OpenPBS printed (tests/data/openpbs)."""

from pathlib import Path

import pytest

from springtide.errors import QueueUnreachable
from springtide.queues.base import JobRequest, JobState
from springtide.queues.commands import Answer
from springtide.queues.pbspro import PbsProQueue, parse_jobs

RECORDINGS = Path(__file__).parents[1] / "data" / "openpbs"


def recorded(name: str) -> str:
    return (RECORDINGS / name).read_text()


def delimited(name: str) -> str:
    """Return a recorded ``qstat -f`` as ``-F dsv`` prints it: the same attributes, one job a line, escaped."""
    lines = []
    for block in recorded(name).split("Job Id: ")[1:]:
        job_id, *attributes = block.replace("\n\t", "").strip().splitlines()
        fields = (attribute.strip().replace(" = ", "=", 1) for attribute in attributes)
        escaped = (field.replace("\\", "\\\\").replace("|", "\\|") for field in fields)
        lines.append("|".join([f"Job Id: {job_id}", *escaped]))
    return "\n".join(lines) + "\n"


class Scheduler:
    """Answers each command line as the real one did, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[list[str]] = []

    async def __call__(self, argv: object) -> Answer:
        self.asked.append(list(argv))  # type: ignore[call-overload]  # any sequence of words
        return self.answers.pop(0)


def queue(*answers: Answer) -> tuple[PbsProQueue, Scheduler]:
    scheduler = Scheduler(*answers)
    return PbsProQueue(Path("/opt/pbs/bin"), scheduler), scheduler


@pytest.mark.parametrize(
    ("name", "state", "exit_status"),
    [
        ("ok", JobState.FINISHED, 0),
        ("fail3", JobState.FINISHED, 3),
        ("running", JobState.RUNNING, None),
        ("never", JobState.QUEUED, None),
        ("held", JobState.HELD, None),
        ("waiting", JobState.WAITING, None),
        ("walltime_exceeded", JobState.FINISHED, -29),
        ("depends_on_failure", JobState.FINISHED, None),
        ("deleted_running", JobState.FINISHED, 271),
        ("deleted_queued", JobState.FINISHED, None),
    ],
)
def test_each_recorded_job_has_its_state_and_exit_status(name: str, state: JobState, exit_status: int | None) -> None:
    job = {job.name: job for job in parse_jobs(delimited("qstat-fx-late.txt"))}[name]
    assert (job.state, job.exit_status) == (state, exit_status)


def test_a_job_on_two_nodes_names_both_in_order() -> None:
    job = next(job for job in parse_jobs(delimited("qstat-f.txt")) if job.name == "running")
    assert job.nodes == ("pbsn1", "pbsn2")


def test_dotted_node_names_and_indices_are_kept_whole() -> None:
    text = "Job Id: 1.s|job_state=R|exec_host=node1.lab.fr/0*4+node2[0]/1\n"
    assert next(iter(parse_jobs(text))).nodes == ("node1.lab.fr", "node2[0]")


def test_a_reason_broken_over_two_lines_is_one_sentence() -> None:
    job = next(job for job in parse_jobs(delimited("qstat-f.txt")) if job.name == "never")
    assert job.reason == "Can Never Run: Insufficient amount of resource: ncpus (R: 400 A: 12 T: 12)"


def test_nobody_forges_anothers_job_with_a_line_break() -> None:
    # As OpenPBS 23.06.06 printed it for: qsub -A $'a\\nJob Id: 9.s\\n    job_state = F\\n    exec_host = n2/0|x'
    forged = r"a\nJob Id: 9.s\n    job_state = F\n    exec_host = n2/0\|x"
    said = f"Job Id: 41.pbshead|Job_Name=STDIN|job_state=Q|Account_Name={forged}|project=p"
    (job,) = parse_jobs(said + "\n")
    assert (job.id, job.state, job.nodes) == ("41.pbshead", JobState.QUEUED, ())


async def test_an_outage_is_unknown_and_never_an_empty_queue() -> None:
    pbs, _ = queue(Answer(255, "", "Connection refused\nqstat: cannot connect to server pbshead (errno=15010)"))
    with pytest.raises(QueueUnreachable, match="cannot connect"):
        await pbs.live_jobs()


async def test_ended_jobs_are_asked_for_in_groups_of_at_most_twenty() -> None:
    pbs, scheduler = queue(*[Answer(153, "", "qstat: Unknown Job Id")] * 3)
    assert await pbs.ended_jobs([f"{number}.s" for number in range(45)]) == {}
    assert [len(argv) - 6 for argv in scheduler.asked] == [20, 20, 5]


async def test_a_partial_answer_about_ended_jobs_is_used() -> None:
    pbs, _ = queue(Answer(153, delimited("qstat-fx-late.txt"), "qstat: Unknown Job Id 999999.pbshead"))
    assert (await pbs.ended_jobs(["2065.pbshead", "999999.pbshead"]))["2065.pbshead"].exit_status == 3


async def test_capacity_counts_free_cores_and_waiting_jobs() -> None:
    pbs, _ = queue(Answer(0, recorded("pbsnodes-json.json"), ""), Answer(0, delimited("qstat-f.txt"), ""))
    capacity = await pbs.capacity()
    assert (capacity.total_cores, capacity.largest_node_cores) == (12, 4)
    assert 0 < capacity.free_cores < 12
    assert capacity.waiting_jobs >= 2
    assert capacity.waiting_reason.startswith("Can Never Run")


def test_the_script_holds_directives_first_and_never_exports_the_environment() -> None:
    pbs, _ = queue()
    script = pbs.script(JobRequest("echo hi", "st-0123456789ab", 2, 2**30, 5400, "long", "lisa", ("-l place=scatter",)))
    head = script.partition("echo hi")[0].splitlines()
    assert head[0] == "#!/bin/bash -l"
    assert "#PBS -l select=1:ncpus=2:mem=1048576kb" in head
    assert "#PBS -l walltime=01:30:00" in head
    assert {"#PBS -q long", "#PBS -A lisa", "#PBS -r n", "#PBS -l place=scatter"} <= set(head)
    assert not any(line.startswith(("#PBS -v", "#PBS -V")) for line in head)


def test_an_outage_is_told_from_a_refusal() -> None:
    pbs, _ = queue()
    assert pbs.is_outage("qsub: cannot connect to server pbshead (errno=15010)")
    assert not pbs.is_outage("qsub: Unknown queue")
