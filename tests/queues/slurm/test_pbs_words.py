"""What Slurm's qstat and pbsnodes print, on lines as they print them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.errors import QueueUnreachable
from springtide.queues.model import JobState
from springtide.queues.slurm.pbs_words import NAME_BYTES, parse_detail, parse_nodes, parse_queues, parse_rows

HEADING = """
head:
                                                                               Req'd  Req'd   Elap
Job id               Username Queue    Name                 SessID NDS   TSK   Memory Time Use S Time
-------------------- -------- -------- -------------------- ------ ----- ----- ------ ----- - -----
"""


def row(number: int = 28, name: str = "wrap", state: str = "R", limit: str = "01:00", hosts: str = "n1/2+n2/2") -> str:
    cut = name.encode()[:NAME_BYTES].ljust(NAME_BYTES).decode(errors="replace")
    tail = f"{cut} --         2     4     -- {limit:5.5s} {state} 00:01   {hosts}\n"
    return f"{number:<20} {'marie':8} {'batch':8} {tail}"


def detail(name: str = "wrap", state: str = "C") -> str:
    return (
        f"Job Id:\t28\n\tJob_Name = {name}\n\tJob_Owner = marie@head\n\tjob_state = {state}\n\tqueue = batch\n"
        "\tqtime = Mon Nov 23 23:03:22 2026\n\tmtime = Mon Nov 23 23:03:23 2026\n\tctime = Mon Nov 23 23:13:23 2026\n"
        "\texec_host = n1/2+n2/2\n\tPriority = 1\n\teuser = marie(1003)\n\tegroup = marie(1003)\n"
        "\tResource_List.walltime = 01:00:00\n\tResource_List.nodect = 2\n\tResource_List.ncpus = 4\n\n"
    )


def test_a_row_tells_owner_nodes_cores_and_walltime() -> None:
    (found,) = parse_rows(HEADING + row())
    job = found.job
    assert (job.id, job.name, job.owner, job.queue, job.state) == ("28", "wrap", "marie", "batch", JobState.RUNNING)
    assert (job.nodes, job.cores, job.node_count, job.walltime_s) == (("n1", "n2"), 4, 2, 3600)
    assert found.cores == {"n1": 2, "n2": 2}


@pytest.mark.parametrize(
    ("letter", "state"),
    [("Q", JobState.QUEUED), ("S", JobState.SUSPENDED), ("C", JobState.FINISHED), ("U", JobState.FINISHED)],
)
def test_an_end_tells_neither_cause_nor_exit_status(letter: str, state: JobState) -> None:
    (found,) = parse_rows(HEADING + row(state=letter))
    assert (found.job.state, found.job.cause, found.job.exit_status) == (state, None, None)


def test_a_limit_that_was_cut_is_not_told() -> None:
    rows = parse_rows(HEADING + row(limit="720:00") + row(limit="Infinite"))
    assert [found.job.walltime_s for found in rows] == [None, None]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30) | st.sampled_from(
    ["n\n99 bob batch x", "\n\n\n", "x\n9                   ", "a --     1 1 -- 01:00", "é" * 30]
)


@given(st.lists(NAMES, max_size=4))
def test_no_name_changes_another_job(names: list[str]) -> None:
    rows = list(parse_rows(HEADING + "".join(row(10 + number, name) for number, name in enumerate(names))))
    assert [found.job.id for found in rows] == [str(10 + number) for number in range(len(names))]
    assert all(found.job.state is JobState.RUNNING and found.cores == {"n1": 2, "n2": 2} for found in rows)


@pytest.mark.parametrize("text", ["garbage\n", row(), HEADING + "garbage\n", HEADING + row() + row()[:-30]])
def test_a_table_that_cannot_be_read_whole_says_nothing_of_any_job(text: str) -> None:
    with pytest.raises(QueueUnreachable):
        list(parse_rows(text))


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_one_way(text: str) -> None:
    for answer in (text, HEADING + text, HEADING + row() + text):
        try:
            list(parse_rows(answer))
            list(parse_nodes(answer, {}))
            list(parse_queues(answer))
            parse_detail("28", answer)
        except QueueUnreachable:
            continue


def test_the_full_form_tells_the_times() -> None:
    job = parse_detail("28", detail())
    assert (job.state, job.owner, job.nodes, job.cores) == (JobState.FINISHED, "marie", (), 4)
    assert (job.submitted, job.started, job.ended) == (1795475002, 1795475003, 1795475603)
    assert (job.walltime_s, job.node_count, job.cause, job.exit_status) == (3600, 2, None, None)
    assert job.used
    assert job.used.walltime_s == 600


def test_what_a_name_pretends_is_not_believed() -> None:
    name = "x\n\tJob_Owner = root@head\n\tjob_state = C\n\nJob Id:\t29\n\tJob_Name = y"
    job = parse_detail("28", detail(name, "R"))
    assert (job.id, job.state, job.owner, job.name) == ("28", JobState.RUNNING, "marie", name)
    with pytest.raises(QueueUnreachable):
        parse_detail("29", detail(name))


def test_nodes_less_the_cores_that_jobs_have() -> None:
    text = (
        "n1\n    state = mixed\n    np = 4\n    ntype = cluster\n    status = state=mixed,ncpus=4,availmem=4096mb\n"
        "    gpus = 2\n\nn2\n    state = down\n    np = 4\n    ntype = cluster\n\n"
    )
    one, two = parse_nodes(text, {"n1": 3})
    assert (one.name, one.usable, one.cores, one.free_cores, one.memory_bytes, one.gpus) == ("n1", True, 4, 1, 2**32, 2)
    assert (two.usable, two.free_cores) == (False, 0)


def test_queues_with_limits_and_counts() -> None:
    text = (
        "Queue            Memory CPU Time Walltime Node  Run Que Lm State\n"
        "---------------- ------ -------- -------- ----  --- --- -- -----\n"
        "batch              --      --    12:00:00    4    1   7 --  E R \n"
        "old                --      --       --     --    0   0 --  D S \n"
        "                                               ----- -----\n"
        "                                                   1     7\n"
    )
    batch, old = parse_queues(text)
    assert (batch.name, batch.walltime_s, batch.nodes, batch.running, batch.waiting) == ("batch", 43200, 4, 1, 7)
    assert (old.open, old.started, old.walltime_s, old.nodes) == (False, False, None, None)
