"""What sinfo and scontrol say of a site, on lines as they print them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.errors import QueueUnreachable
from springtide.queues.model import JobInfo, JobState
from springtide.queues.slurm.site import count_gpus, parse_nodes, parse_partitions
from springtide.queues.slurm.words import expand_hosts, parse_limit, parse_size, parse_time

HEADING = "HOSTNAMES|CPUS(A/I/O/T)|MEMORY|ALLOCMEM|GRES|STATE|PARTITION|\n"
PARTITION = (
    "PartitionName=batch AllowGroups=ALL Default=YES QoS=N/A DefaultTime=01:00:00 MaxNodes=4 MaxTime=2-12:00:00"
    " MaxCPUsPerNode=16 Nodes=n[1-4] State=UP TotalCPUs=64 TotalNodes=4 MaxMemPerNode=65536\n"
    "PartitionName=old Default=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED MaxCPUsPerNode=UNLIMITED State=DRAIN"
    " MaxMemPerNode=UNLIMITED\n"
)


def test_a_node_is_one_however_many_partitions_it_is_in() -> None:
    lines = (
        "n1|3/13/0/16|65536|1024|gpu:a100:2(S:0-1),mps:100|mixed|batch|\n"
        "n1|3/13/0/16|65536|1024|gpu:a100:2(S:0-1),mps:100|mixed|short|\n"
    )
    (node,) = parse_nodes(HEADING + lines)
    assert (node.name, node.usable, node.cores, node.free_cores, node.gpus) == ("n1", True, 16, 13, 2)
    assert (node.memory_bytes, node.free_memory_bytes) == (64 * 2**30, 63 * 2**30)
    assert node.queues == ("batch", "short")


@pytest.mark.parametrize(
    ("state", "usable"),
    [
        ("idle", True),
        ("allocated", True),
        ("mixed", True),
        ("completing", True),
        ("planned", True),
        ("idle~", True),
        ("idle*", False),
        ("down", False),
        ("down*", False),
        ("drained", False),
        ("draining@", False),
        ("maint", False),
        ("reserved", False),
        ("inval", False),
    ],
)
def test_a_node_that_takes_no_jobs_has_nothing_free(state: str, usable: bool) -> None:
    (node,) = parse_nodes(f"{HEADING}n1|0/4/0/4|4096|0|(null)|{state}|batch|\n")
    assert (node.usable, node.free_cores, node.free_memory_bytes) == (usable, 4 * usable, 4 * usable * 2**30)


def test_a_partition_has_its_limits_and_its_jobs() -> None:
    jobs = [
        JobInfo("1", JobState.RUNNING, queue="batch"),
        JobInfo("2", JobState.QUEUED, queue="batch,old"),
        JobInfo("3", JobState.FINISHED, queue="batch"),
    ]
    batch, old = parse_partitions(PARTITION, jobs)
    assert (batch.name, batch.default, batch.open, batch.started) == ("batch", True, True, True)
    assert (batch.walltime_s, batch.nodes, batch.cores_per_node) == (60 * 3600, 4, 16)
    assert (batch.memory_bytes, batch.running, batch.waiting) == (64 * 2**30, 1, 1)
    assert (old.open, old.started, old.waiting) == (False, True, 1)
    assert (old.walltime_s, old.nodes, old.cores_per_node, old.memory_bytes) == (None, None, None, None)


@pytest.mark.parametrize(
    "text", ["", "garbage\n", HEADING + "n1|a/b/c/d|4096|0|(null)|idle|batch|\n", HEADING + "n1\n"]
)
def test_nodes_that_cannot_be_read_are_an_outage(text: str) -> None:
    with pytest.raises(QueueUnreachable):
        parse_nodes(text)


def test_partitions_that_cannot_be_read_are_an_outage() -> None:
    with pytest.raises(QueueUnreachable):
        list(parse_partitions("garbage\n", []))


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_one_way(text: str) -> None:
    for answer in (text, HEADING + text):
        try:
            parse_nodes(answer)
            list(parse_partitions(answer, []))
        except QueueUnreachable:
            continue


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", 0),
        ("gpu:2", 2),
        ("gpu:a100:2(S:0-1),gpu:1", 3),
        ("gpu", 1),
        ("nogpu:4,mps:100", 0),
        ("gpu:4(S:0,2)", 4),
    ],
)
def test_gpus_are_counted(gres: str, gpus: int) -> None:
    assert count_gpus(gres) == gpus


@pytest.mark.parametrize(
    ("hosts", "names"),
    [
        ("", ()),
        ("n1", ("n1",)),
        ("n[08-10,12]-ib,m1", ("n08-ib", "n09-ib", "n10-ib", "n12-ib", "m1")),
        ("r[1-2]n[1-2]", ("r1n1", "r1n2", "r2n1", "r2n2")),
        ("127.0.0.[2-3]", ("127.0.0.2", "127.0.0.3")),
    ],
)
def test_a_list_of_hosts_is_written_out(hosts: str, names: tuple[str, ...]) -> None:
    assert expand_hosts(hosts) == names


def test_times_limits_and_sizes() -> None:
    assert [parse_time(text) for text in ("1795475002", "0", "N/A", "Unknown")] == [1795475002, None, None, None]
    assert [parse_limit(text) for text in ("5:00", "1:00:00", "2-00:00:00")] == [300, 3600, 172800]
    assert [parse_limit(text) for text in ("UNLIMITED", "NOT_SET", "Partition_Limit", "", "N/A")] == [None] * 5
    assert [parse_size(text) for text in ("4096", "512M", "1.5G", "UNLIMITED")] == [2**32, 2**29, 3 * 2**29, None]
