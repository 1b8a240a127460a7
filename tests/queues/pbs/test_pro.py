"""The PBS Pro dialect, on what a real OpenPBS printed (tests/data/openpbs)."""

from __future__ import annotations

import json
import re
import time
import timeit
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from springtide.errors import QueueUnreachable
from springtide.queues.commands import Answer
from springtide.queues.model import Cause, JobInfo, JobState
from springtide.queues.pbs.pro import PbsProQueue
from springtide.queues.pbs.pro_jobs import STATES, parse_jobs

RECORDINGS = Path(__file__).parents[2] / "data" / "openpbs"
DELIMITER = "|delimiter|"


def recorded(name: str) -> str:
    return (RECORDINGS / name).read_text()


def delimited(name: str, kind: str = "Job Id") -> str:
    """Return a recorded ``-f`` answer as ``-F dsv`` prints it: the same attributes, one job a line, escaped."""
    lines = []
    for block in recorded(name).split(f"{kind}: ")[1:]:
        job_id, *attributes = block.replace("\n\t", "").strip().splitlines()
        fields = (attribute.strip().replace(" = ", "=", 1).replace("\\", "\\\\") for attribute in attributes)
        lines.append(DELIMITER.join([f"{kind}: {job_id}", *fields]) + "\n")
    return "".join(lines)


def jobs_of(name: str) -> dict[str, JobInfo]:
    """Return the recorded jobs by name."""
    return {job.name: job for job in parse_jobs(delimited(name), DELIMITER)}


def real_jobs() -> dict[str, JobInfo]:
    """Return the jobs recorded in the form that is asked for, by id."""
    return {job.id: job for job in parse_jobs(recorded("qstat-fxt.dsv"), DELIMITER)}


class Scheduler:
    """Answers each command line as the real one did, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[list[str]] = []

    async def __call__(self, argv: Sequence[str]) -> Answer:
        # Without what sets the time zone.
        self.asked.append(list(argv)[2:])
        answer = self.answers.pop(0)
        delimiter = argv[argv.index("-D") + 1] if "-D" in argv else DELIMITER
        return Answer(answer.exit_status, answer.output.replace(DELIMITER, delimiter), answer.errors)


def queue(*answers: Answer) -> tuple[PbsProQueue, Scheduler]:
    scheduler = Scheduler(*answers)
    return PbsProQueue(Path("/opt/pbs/bin"), scheduler), scheduler


@pytest.mark.parametrize(
    ("name", "state", "exit_status", "cause"),
    [
        ("ok", JobState.FINISHED, 0, Cause.EXIT),
        ("fail3", JobState.FINISHED, 3, Cause.EXIT),
        ("running", JobState.RUNNING, None, None),
        ("never", JobState.QUEUED, None, Cause.NEVER_RUNS),
        ("held", JobState.HELD, None, None),
        ("waiting", JobState.WAITING, None, None),
        ("queued_on_resources", JobState.QUEUED, None, None),
        ("walltime_exceeded", JobState.FINISHED, None, Cause.WALLTIME),
        ("depends_on_failure", JobState.FINISHED, None, Cause.DEPENDENCY),
        ("deleted_running", JobState.FINISHED, 143, Cause.CANCELLED),
        ("deleted_queued", JobState.FINISHED, None, Cause.CANCELLED),
        ("a-rather-long-job-name_with.dots-and_underscores_2026", JobState.FINISHED, 0, Cause.EXIT),
    ],
)
def test_each_recorded_job_has_its_state_exit_status_and_cause(
    name: str, state: JobState, exit_status: int | None, cause: Cause | None
) -> None:
    job = jobs_of("qstat-fx-late.txt")[name]
    assert (job.state, job.exit_status, job.cause) == (state, exit_status, cause)


@pytest.mark.parametrize(
    ("job_id", "cause", "status", "by"),
    [
        ("70.pbshead", Cause.CANCELLED, 143, "root"),
        ("71[0].pbshead", Cause.EXIT, 0, ""),
        ("71[1].pbshead", Cause.CANCELLED, 143, "pbsuser1"),
        ("71[2].pbshead", Cause.EXIT, 2, ""),
        ("2.pbshead", Cause.WALLTIME, None, ""),
        ("62.pbshead", Cause.LOST, None, ""),
        ("67.pbshead", Cause.LOST, None, ""),
    ],
)
def test_who_or_what_ended_a_job_is_told(job_id: str, cause: Cause, status: int | None, by: str) -> None:
    job = real_jobs()[job_id]
    assert (job.cause, job.exit_status, job.cancelled_by) == (cause, status, by)


def test_a_job_that_lost_its_node_says_so_in_words() -> None:
    assert real_jobs()["62.pbshead"].reason.endswith("and failed (its node was started anew)")
    assert real_jobs()["67.pbshead"].reason.endswith("(its node was lost)")


def test_a_job_says_what_it_asked_for_and_what_it_used() -> None:
    job = jobs_of("qstat-f.txt")["running"]
    assert (job.cores, job.memory_bytes, job.node_count, job.walltime_s) == (2, 400 * 2**20, 2, 600)
    used = jobs_of("qstat-fx-late.txt")["walltime_exceeded"].used
    assert used
    assert (used.cpu_s, used.memory_bytes, used.walltime_s) == (0, 6164 * 2**10, 20)


def test_times_are_seconds_since_1970() -> None:
    job = jobs_of("qstat-fx-late.txt")["deleted_running"]
    assert (job.submitted, job.started, job.ended) == (1795442050.0, 1795442052.0, 1795442062.0)
    assert jobs_of("qstat-fx-late.txt")["deleted_queued"].ended == 1795442053.0


def test_a_job_that_waits_has_neither_node_nor_start() -> None:
    for job in jobs_of("qstat-f.txt").values():
        assert (job.started is None) == job.state.waits
        assert bool(job.nodes) == (job.state.placed and "[]" not in job.id)


def test_a_job_on_two_nodes_names_both_in_order() -> None:
    assert jobs_of("qstat-f.txt")["running"].nodes == ("pbsn1", "pbsn2")


def said_of(**attributes: str) -> JobInfo:
    """Return a job that the scheduler says this of."""
    attributes = {"Job_Name": "one", **attributes}
    fields = DELIMITER.join(f"{name}={value}" for name, value in attributes.items())
    return next(parse_jobs(f"Job Id: 1.s{DELIMITER}{fields}\n", DELIMITER))


def test_dotted_node_names_and_indices_are_kept_whole() -> None:
    job = said_of(job_state="R", exec_host="node1.lab.fr/0*4+node2[0]/1")
    assert job.nodes == ("node1.lab.fr", "node2[0]")


def test_a_reason_broken_over_two_lines_is_one_sentence() -> None:
    reason = jobs_of("qstat-f.txt")["never"].reason
    assert reason == "Can Never Run: Insufficient amount of resource: ncpus (R: 400 A: 12 T: 12)"


def test_why_a_job_waits_is_told_where_pbs_writes_no_comment() -> None:
    assert jobs_of("qstat-f.txt")["held"].reason == "held: Hold_Types = u"
    assert jobs_of("qstat-f.txt")["waiting"].reason == "Execution_Time = Mon Nov 23 14:54:10 2026 UTC"


def test_a_job_that_waits_for_another_is_not_held() -> None:
    job = jobs_of("qstat-f.txt")["depends_on_failure"]
    assert (job.state, job.reason) == (JobState.WAITING, "depend = afterok:2071.pbshead@pbshead")


def test_a_job_back_in_the_queue_was_requeued_and_has_not_ended() -> None:
    job = said_of(job_state="Q", run_count="1", Exit_status="-20", stime="Mon Nov 23 23:23:21 2026")
    assert (job.cause, job.exit_status, job.started, job.runs) == (Cause.REQUEUED, None, None, 1)


@pytest.mark.parametrize(
    "words",
    [
        "job held, too many failed attempts to run",
        "Job Array Held, too many failed attempts to run subjob 147[2].pbshead",
    ],
)
def test_a_job_whose_starts_all_failed_never_runs(words: str) -> None:
    job = said_of(job_state="H", substate="20", Hold_Types="s", comment=words, run_count="21", Exit_status="-3")
    assert (job.state, job.cause, job.reason, job.runs) == (JobState.HELD, Cause.NEVER_RUNS, words, 21)


@pytest.mark.parametrize(
    ("code", "status", "cause"),
    [
        ("265", 137, Cause.SIGNAL),
        ("137", 137, Cause.SIGNAL),
        ("200", 200, Cause.EXIT),
        ("255", 255, Cause.EXIT),
        ("-27", None, Cause.MEMORY),
        ("-28", None, Cause.SIGNAL),
        ("-10", None, Cause.NEVER_RUNS),
        ("-99", None, Cause.LOST),
    ],
)
def test_an_exit_status_is_the_scripts_own_or_says_what_ended_it(code: str, status: int | None, cause: Cause) -> None:
    job = said_of(job_state="F", substate="93", Exit_status=code)
    assert (job.exit_status, job.cause) == (status, cause)


def test_a_job_killed_for_its_memory_by_the_sites_hook_says_so() -> None:
    job = said_of(job_state="F", substate="93", Exit_status="265", comment="Cgroup mem limit exceeded: oom-kill")
    assert (job.exit_status, job.cause) == (137, Cause.MEMORY)


def test_a_job_that_failed_without_a_word_is_lost() -> None:
    assert said_of(job_state="F", substate="93").cause is Cause.LOST
    assert said_of(job_state="F", substate="92").cause is Cause.NEVER_RUNS


async def test_an_ended_array_tells_the_worst_of_its_jobs() -> None:
    pbs, _ = queue(Answer(0, delimited("qstat-xtf-array.txt"), ""))
    jobs = await pbs.details(["2073[].pbshead"])
    assert jobs["2073[].pbshead"].exit_status == 1
    own = [job.exit_status for job in jobs.values() if job.array == "2073[].pbshead"]
    assert own == [1, 0, 1, 0]


async def test_an_array_of_which_one_job_was_cancelled_says_by_whom() -> None:
    pbs, _ = queue(Answer(0, "".join(re.findall(r"Job Id: 71\[.*\n", recorded("qstat-fxt.dsv"))), ""))
    array = (await pbs.details(["71[].pbshead"]))["71[].pbshead"]
    assert (array.cause, array.cancelled_by) == (Cause.CANCELLED, "pbsuser1")


def test_an_array_alone_does_not_pretend_that_all_went_well() -> None:
    array = jobs_of("qstat-fx-array.txt")["sweep"]
    assert (array.state, array.exit_status) == (JobState.FINISHED, None)


def test_an_array_that_runs_is_one_running_job() -> None:
    array = jobs_of("qstat-f.txt")["sweep"]
    assert (array.id, array.state, array.exit_status) == ("2073[].pbshead", JobState.RUNNING, None)


@pytest.mark.parametrize(
    ("table", "full"),
    [("qstat-x.txt", "qstat-fx-late.txt"), ("qstat-xt-array.txt", "qstat-xtf-array.txt")],
)
def test_the_full_answer_agrees_with_the_table(table: str, full: str) -> None:
    letters = {line.split()[0]: line.split()[-2] for line in recorded(table).splitlines()[2:]}
    for job in parse_jobs(delimited(full), DELIMITER):
        # Seconds lie between the two commands.
        assert STATES[letters[job.id]] is job.state or letters[job.id] == "Q"


@pytest.mark.parametrize("table", ["qstat.txt", "qstat-u.txt", "qstat-T.txt"])
def test_the_tables_for_people_name_no_job_that_is_not_known(table: str) -> None:
    known = {job.id: job for job in parse_jobs(delimited("qstat-f.txt"), DELIMITER)}
    lines = [line.split() for line in recorded(table).splitlines() if ".pbshead" in line]
    assert lines
    assert all(known[words[0]].owner in words for words in lines)


def test_what_fails_at_once_is_known_a_moment_and_a_minute_later() -> None:
    soon, late = jobs_of("qstat-fx.txt"), jobs_of("qstat-fx-late.txt")
    assert soon["fail3"].exit_status == late["fail3"].exit_status == 3
    assert soon["walltime_exceeded"].state is JobState.RUNNING


def test_json_says_the_same_as_what_is_asked_for() -> None:
    for job_id, attributes in json.loads(recorded("qstat-f.json"))["Jobs"].items():
        flat = {name: str(value) for name, value in attributes.items() if not isinstance(value, dict)}
        flat |= {f"Resource_List.{name}": str(value) for name, value in attributes["Resource_List"].items()}
        job = said_of(**flat)
        assert job.state is STATES[attributes["job_state"]], job_id
        assert job.cores == attributes["Resource_List"]["ncpus"]


async def test_an_answer_about_the_first_of_two_jobs_only_is_no_answer() -> None:
    (only,) = json.loads(recorded("qstat-f-two-ids.json"))["Jobs"]
    first = Answer(0, f"Job Id: {only}{DELIMITER}Job_Name=one{DELIMITER}job_state=R\n", "")
    pbs, scheduler = queue(first, Answer(0, "", ""))
    with pytest.raises(QueueUnreachable, match=r"nothing of 2089\.pbshead"):
        await pbs.details([only, "2089.pbshead"])
    assert [argv[6:] for argv in scheduler.asked] == [[only, "2089.pbshead"], ["2089.pbshead"]]


async def test_an_outage_is_unknown_and_never_an_empty_queue() -> None:
    pbs, _ = queue(Answer(255, "", "Connection refused\nqstat: cannot connect to server pbshead (errno=15010)"))
    with pytest.raises(QueueUnreachable, match="cannot connect"):
        await pbs.snapshot()


@pytest.mark.parametrize(
    "garbage",
    [
        "qstat: something odd\n",
        recorded("qstat.txt"),
        recorded("qstat-f.txt"),
        "\0\x01\x02",
        delimited("qstat-f.txt")[:-1],
        delimited("qstat-f.txt")[:2000],
        delimited("qstat-f.txt") * 2,
        f"Job Id: 1.s{DELIMITER}Job_Name=x\n",
        f"Job Id: 1.s{DELIMITER}job_state=R\n",
    ],
)
async def test_garbage_and_cut_off_answers_are_unknown(garbage: str) -> None:
    pbs, _ = queue(Answer(0, garbage, ""))
    with pytest.raises(QueueUnreachable):
        await pbs.snapshot()


async def test_no_job_at_all_is_an_empty_queue() -> None:
    pbs, _ = queue(Answer(0, "", ""))
    assert await pbs.snapshot() == {}


async def test_times_are_asked_for_in_utc() -> None:
    asked: list[Sequence[str]] = []

    async def runner(argv: Sequence[str]) -> Answer:
        asked.append(argv)
        return Answer(0, "", "")

    await PbsProQueue(Path("/opt/pbs/bin"), runner).snapshot()
    assert list(asked[0][:3]) == ["/usr/bin/env", "TZ=UTC", "/opt/pbs/bin/qstat"]


async def test_ended_jobs_are_asked_for_in_groups_of_at_most_twenty() -> None:
    ids = [f"{number}.s" for number in range(45)]
    unknown = "".join(f"qstat: Unknown Job Id {job_id}\n" for job_id in ids)
    pbs, scheduler = queue(*[Answer(153, "", unknown)] * 6)
    assert await pbs.details(ids) == {}
    assert [len(argv) - 6 for argv in scheduler.asked] == [20, 20, 20, 20, 5, 5]


async def test_known_jobs_are_asked_for_in_one_connection() -> None:
    pbs, scheduler = queue(Answer(0, delimited("qstat-fx-late.txt"), ""))
    assert set(await pbs.details(["2064.pbshead", "2065.pbshead"])) >= {"2064.pbshead", "2065.pbshead"}
    assert [argv[5] for argv in scheduler.asked] == ["-fxtE"]


async def test_what_the_one_connection_is_silent_about_is_asked_for_by_itself() -> None:
    pbs, scheduler = queue(
        Answer(0, delimited("qstat-fx-late.txt"), ""),
        Answer(153, "", "qstat: Unknown Job Id 999999.pbshead"),
    )
    assert (await pbs.details(["2065.pbshead", "999999.pbshead"]))["2065.pbshead"].exit_status == 3
    assert [argv[5:] for argv in scheduler.asked] == [
        ["-fxtE", "2065.pbshead", "999999.pbshead"],
        ["-fxt", "999999.pbshead"],
    ]


async def test_a_job_that_nothing_is_said_of_is_not_gone() -> None:
    pbs, _ = queue(
        Answer(0, delimited("qstat-fx-late.txt"), ""),
        Answer(153, "", "qstat: Unknown Job Id 999999.pbshead"),
    )
    with pytest.raises(QueueUnreachable, match=r"nothing of 888888\.pbshead"):
        await pbs.details(["2065.pbshead", "888888.pbshead", "999999.pbshead"])


async def test_a_qstat_without_the_express_option_is_asked_without_it() -> None:
    pbs, scheduler = queue(Answer(2, "", "usage: qstat"), Answer(0, delimited("qstat-fx-late.txt"), ""))
    assert (await pbs.details(["2065.pbshead"]))["2065.pbshead"].exit_status == 3
    assert [argv[5] for argv in scheduler.asked] == ["-fxtE", "-fxt"]


async def test_what_cannot_be_an_id_is_not_asked_for() -> None:
    pbs, scheduler = queue()
    assert await pbs.details(["-f", "workq", "@other", "12;rm", "١٢"]) == {}
    assert scheduler.asked == []


async def test_without_a_history_the_live_jobs_are_asked_for() -> None:
    no_history = Answer(36, "", "qstat: PBS is not configured to maintain job history 5.s")
    unknown = Answer(153, "", "qstat: Unknown Job Id 5.s")
    pbs, scheduler = queue(no_history, unknown, no_history, unknown)
    assert await pbs.details(["5.s"]) == {}
    assert [argv[5] for argv in scheduler.asked] == ["-fxtE", "-ftE", "-fxt", "-ft"]


def test_recorded_refusals_are_no_outages() -> None:
    pbs, _ = queue()
    for line in recorded("errors.txt").splitlines():
        assert not pbs.is_outage(line)
    for words in ("cannot connect to server pbshead (errno=15010)", "Unknown Host.", "Batch protocol error"):
        assert pbs.is_outage(f"qsub: {words}")


async def test_the_newest_of_two_jobs_of_a_name_is_found() -> None:
    pbs, scheduler = queue(
        Answer(0, "9.pbshead\n2065.pbshead\n", ""),
        Answer(0, delimited("qstat-fx-late.txt"), ""),
    )
    found = await pbs.find("été", "marie")
    assert found
    assert found.id == "2065.pbshead"
    assert scheduler.asked[0][1:] == ["-x", "-N", "ete", "-u", "marie"]


async def test_a_name_that_no_job_has_finds_none() -> None:
    pbs, _ = queue(Answer(0, "", ""))
    assert await pbs.find("st-0123456789ab", "marie") is None


async def test_capacity_counts_free_cores_and_waiting_jobs() -> None:
    pbs, _ = queue(Answer(0, recorded("pbsnodes-json.json"), ""), Answer(0, delimited("qstat-f.txt"), ""))
    capacity = await pbs.capacity()
    assert (capacity.total_cores, capacity.largest_node_cores, capacity.free_cores) == (12, 4, 4)
    assert capacity.waiting_jobs >= 2
    assert capacity.waiting_reason.startswith("Can Never Run")


async def test_nodes_are_told_as_people_read_them() -> None:
    pbs, _ = queue(Answer(0, recorded("pbsnodes-json.json"), ""))
    names = re.findall(r"^(\w+)$", recorded("pbsnodes-a.txt"), re.MULTILINE)
    states = re.findall(r"^     state = (.*)$", recorded("pbsnodes-a.txt"), re.MULTILINE)
    nodes = await pbs.nodes()
    assert [(node.name, node.state) for node in nodes] == list(zip(names, states, strict=True))
    assert nodes[0].free_memory_bytes == 8 * 2**30 - 256000 * 2**10


@pytest.mark.parametrize("state", ["down", "state-unknown,down", "offline", "free,offline", "stale", "maintenance"])
async def test_a_node_out_of_service_is_not_usable(state: str) -> None:
    said = {"nodes": {"n1": {"state": state, "resources_available": {"ncpus": 4, "ngpus": 2}, "queue": "long"}}}
    pbs, _ = queue(Answer(0, json.dumps(said), ""))
    (node,) = await pbs.nodes()
    assert (node.usable, node.gpus, node.queues) == (False, 2, ("long",))


@pytest.mark.parametrize(
    "garbage", ["", "odd", "[]", "{}", '{"nodes": {"a": 1}}', recorded("pbsnodes-json.json")[:900]]
)
async def test_garbage_about_nodes_is_unknown(garbage: str) -> None:
    pbs, _ = queue(Answer(0, garbage, ""))
    with pytest.raises(QueueUnreachable):
        await pbs.nodes()


async def test_a_server_without_nodes_has_none() -> None:
    pbs, _ = queue(Answer(1, "", "pbsnodes: Server has no node list"))
    assert await pbs.nodes() == ()


async def test_a_nodes_address_is_that_of_its_daemon() -> None:
    pbs, _ = queue(Answer(0, '{"nodes": {"n1[0]": {"Mom": "n1.lab.fr"}}}', ""), Answer(1, "", "Unknown node"))
    assert [await pbs.node_address("n1[0]"), await pbs.node_address("n2")] == ["n1.lab.fr", "n2"]


async def test_queues_have_their_limits_and_one_is_the_default() -> None:
    pbs, _ = queue(
        Answer(0, delimited("qstat-Bf.txt", "Server"), ""), Answer(0, delimited("qstat-Qf.txt", "Queue"), "")
    )
    queues = {queue.name: queue for queue in await pbs.queues()}
    assert list(queues) == ["workq", "short", "long", "routeq"]
    assert [name for name, queue in queues.items() if queue.default] == ["workq"]
    assert (queues["short"].walltime_s, queues["long"].walltime_s) == (600, None)
    assert (queues["workq"].waiting, queues["workq"].running) == (7, 5)
    assert all(queue.open and queue.started for queue in queues.values())


async def test_the_servers_limit_holds_where_the_queue_has_none() -> None:
    server = recorded("qstat-Bf.dsv").replace(
        f"scheduling=True{DELIMITER}",
        f"scheduling=False{DELIMITER}resources_max.walltime=48:00:00{DELIMITER}resources_max.ncpus=64{DELIMITER}",
    )
    pbs, _ = queue(Answer(0, server, ""), Answer(0, recorded("qstat-Qf.dsv"), ""))
    limits = {queue.name: (queue.walltime_s, queue.cores, queue.started) for queue in await pbs.queues()}
    assert limits == {"workq": (172800, 64, False), "short": (600, 64, False)}


async def test_the_schedulers_forecast_is_for_those_who_wait() -> None:
    pbs, scheduler = queue(Answer(0, recorded("qstat-f-estimated.dsv"), ""))
    ids = [f"{number}.pbshead" for number in (114, 115, 116, 117, 118)]
    assert await pbs.forecast(ids) == {"116.pbshead": 1795476951.0}
    assert len(scheduler.asked) == 1


def test_an_unknown_forecast_is_none() -> None:
    assert said_of(job_state="Q", **{"estimated.start_time": "UNKNOWN"}).expected_start is None


def many_jobs(count: int) -> str:
    """Return an answer about as many jobs, of the recorded kinds."""
    jobs = [line.partition(DELIMITER)[2] for line in delimited("qstat-f.txt").splitlines()]
    return "".join(f"Job Id: {number}.s{DELIMITER}{jobs[number % len(jobs)]}\n" for number in range(count))


def test_ten_thousand_jobs_are_read_in_half_a_second() -> None:
    text = many_jobs(10_000)
    # The best of three: other programs of the machine take their share of its caches.
    assert (
        min(timeit.repeat(lambda: list(parse_jobs(text, DELIMITER)), timer=time.process_time, number=1, repeat=3)) < 0.5
    )


def test_ten_thousand_jobs_take_little_memory() -> None:
    # A tenth of them: to trace memory takes time.
    text = many_jobs(1_000)
    tracemalloc.start()
    jobs = list(parse_jobs(text, DELIMITER))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(jobs) == 1_000
    assert 10 * (len(text) + most) < 100 * 2**20
