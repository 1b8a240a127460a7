"""What can never run is refused before it is submitted, with figures; what might run never is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from springtide.queues.feasible import problems_with
from springtide.queues.model import JobArray, JobRequest, Node, QueueLimits
from springtide.texts import LANGUAGES

GIB = 2**30
HOUR = 3600


def request(**wishes: Any) -> JobRequest:
    return JobRequest("true", "job", **wishes)


def node(name: str, cores: int, memory: int, gpus: int = 0, *queues: str, usable: bool = True) -> Node:
    state = "free" if usable else "down"
    return Node(name, usable, state, cores, cores if usable else 0, memory, memory, gpus, queues)


# Two nodes of 4 cores, a fat one that is down, a GPU node that takes jobs of one queue only.
NODES = (
    node("n1", 4, 16 * GIB),
    node("n2", 4, 16 * GIB),
    node("fat", 2, 256 * GIB, usable=False),
    node("g1", 16, 64 * GIB, 2, "gpu"),
)
QUEUES = (
    QueueLimits("work", default=True, walltime_s=24 * HOUR, cores=8, nodes=2),
    QueueLimits("long", walltime_s=7 * 24 * HOUR, cores_per_node=2, memory_bytes=8 * GIB),
    QueueLimits("gpu"),
    QueueLimits("old", open=False),
)

REFUSED = [
    (
        request(cores=400, queue="gpu"),
        "It asks for 400 cores; the largest node has 16. "
        "Ask for at most 16 cores per node; all nodes together have 26.",
        "Elle demande 400 cœurs ; le plus grand nœud en a 16.",
    ),
    (
        request(cores=6),
        "It asks for 6 cores; the largest node has 4. Ask for at most 4 cores per node, or for several nodes. "
        "Queues whose limits allow it: gpu.",
        "Demandez au plus 4 cœurs par nœud, ou plusieurs nœuds.",
    ),
    (
        request(cores=5, nodes=2, queue="work"),
        "It asks for 5 cores on each of 2 nodes; the largest node has 4.",
        "sur chacun des 2 nœuds",
    ),
    (
        request(memory_bytes=512 * GIB, queue="work"),
        "It asks for 512G of memory on a node; the largest node has 256G. Ask for at most 256G per node",
        "512G de mémoire",
    ),
    (
        request(cores=4, memory_bytes=64 * GIB),
        "No node has all at once that it asks for on a node: 4 cores, 64G of memory. "
        "With 4 cores on a node ask for at most 16G; with 64G, for at most 2 cores.",
        "4 cœurs, 64G de mémoire",
    ),
    (
        request(cores=1, memory_bytes=64 * GIB, nodes=2),
        "It asks for 2 nodes with 1 core, 64G of memory each; the number of such nodes is 1.",
        "1 cœur, 64G de mémoire",
    ),
    (request(nodes=5, queue="gpu"), "It asks for 5 nodes; the number of nodes is 4.", "5 nœuds"),
    (request(gpus=1, queue="work"), "It asks for GPUs (1 on a node); no node has any.", "GPU"),
    (request(gpus=3, queue="gpu"), "It asks for 3 GPUs on a node; the most that a node has is 2.", "3 GPU"),
    (
        request(walltime_s=48 * HOUR),
        "It asks for 2 d; the queue work allows 1 d. Ask for at most 1 d, and save results in between to go on in a "
        "further job. Queues whose limits allow it: long, gpu.",
        "la file work accorde 1 d",
    ),
    (request(cores=3, nodes=3), "It asks for 9 cores in all; the queue work allows 8.", "9 cœurs au total"),
    (request(nodes=3, queue="work"), "It asks for 3 nodes; the queue work allows 2.", "3 nœuds"),
    (request(cores=3, queue="long"), "It asks for 3 cores on a node; the queue long allows 2.", "3 cœurs par nœud"),
    (request(memory_bytes=9 * GIB, queue="long"), "It asks for 9G of memory; the queue long allows 8G.", "9G"),
    (
        request(queue="nowhere"),
        "There is no queue nowhere. Queues that are open: work, long, gpu.",
        "Il n’y a pas de file nowhere. Files ouvertes : work, long, gpu.",
    ),
    (request(queue="old"), "The queue old takes no jobs. Queues that are open: work", "ne prend pas de tâches"),
]


@pytest.mark.parametrize(("asked", "english", "french"), REFUSED)
def test_what_can_never_run_is_told_with_figures(asked: JobRequest, english: str, french: str) -> None:
    assert any(english in problem for problem in problems_with(asked, NODES, QUEUES, "en"))
    assert any(french in problem for problem in problems_with(asked, NODES, QUEUES, "fr"))


IMPOSSIBLE = [
    (request(cores=0), "It asks for 0 (cores), which is impossible. Ask for 1 to 1000000."),
    (request(cores=-4), "-4 (cores)"),
    (request(cores=10**9), "1000000000 (cores)"),
    (request(nodes=0), "0 (nodes)"),
    (request(memory_bytes=-1), "-1B (memory)"),
    (request(memory_bytes=2**70), "Ask for 0B to 1048576T."),
    (request(walltime_s=-60), "-1 min (walltime)"),
    (request(walltime_s=10**12), "Ask for 0 s to 3660 d."),
    (request(gpus=-1), "-1 (GPUs)"),
    (request(ranks=-1), "-1 (MPI processes)"),
    (request(array=JobArray(1, 0)), "1-0:1 holds no job"),
    (request(array=JobArray(-3, 5)), "-3-5:1 holds no job"),
    (request(array=JobArray(1, 5, 0)), "1-5:0 holds no job"),
    (request(array=JobArray(1, 5, at_once=-1)), "holds no job"),
    (request(array=JobArray(0, 10**30)), "at most 1000000 are possible"),
]


@pytest.mark.parametrize(("asked", "said"), IMPOSSIBLE)
@pytest.mark.parametrize("site", [(NODES, QUEUES), ((), ())], ids=["known", "unknown"])
def test_impossible_numbers_are_refused_everywhere(asked: JobRequest, said: str, site: Any) -> None:
    nodes, queues = site
    (problem,) = problems_with(asked, nodes, queues, "en")
    assert said in problem
    assert len(problems_with(asked, nodes, queues, "fr")) == 1


ACCEPTED = [
    ("the defaults", request()),
    ("a whole node", request(cores=4, memory_bytes=16 * GIB)),
    ("all that the queue allows", request(cores=4, nodes=2, walltime_s=24 * HOUR)),
    ("what only a node that is down has", request(memory_bytes=200 * GIB)),
    ("the site's own memory and walltime", request(memory_bytes=0, walltime_s=0)),
    ("a time in the past", request(start_after=1.0)),
    ("the GPU queue", request(cores=16, gpus=2, queue="gpu", walltime_s=30 * 24 * HOUR)),
    ("one of several partitions", request(cores=16, queue="work,gpu")),
    ("an array", request(array=JobArray(0, 999, 3, at_once=5))),
    ("a queue of another server", request(cores=99, queue="work@elsewhere")),
    ("limits lifted by a quality of service", request(walltime_s=90 * HOUR, directives=("--qos=long",))),
    ("resources of the directives", request(cores=99, directives=("-l select=2:ncpus=4",))),
    ("parts that may share a node", request(nodes=8, queue="gpu", directives=("-l place=free",))),
]


@pytest.mark.parametrize("asked", [asked for _, asked in ACCEPTED], ids=[what for what, _ in ACCEPTED])
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_may_run_is_not_refused(asked: JobRequest, language: str) -> None:
    assert problems_with(asked, NODES, QUEUES, language) == []


@pytest.mark.parametrize("asked", [asked for asked, _, _ in REFUSED])
def test_where_nothing_is_known_nothing_is_refused(asked: JobRequest) -> None:
    assert problems_with(asked, (), (), "en") == []


def test_a_node_of_unknown_size_may_hold_anything() -> None:
    nodes = (node("n1", 4, 16 * GIB), node("new", 0, 0, usable=False))
    assert problems_with(request(cores=64, memory_bytes=512 * GIB), nodes, (), "en") == []


def test_a_queue_without_known_nodes_is_not_judged_by_those_of_others() -> None:
    nodes = (node("g1", 4, GIB, 0, "gpu"),)
    assert problems_with(request(cores=64, queue="cloud"), nodes, (QueueLimits("cloud"),), "en") == []


def test_a_queue_hidden_from_the_list_is_known_by_its_nodes() -> None:
    nodes = (node("n1", 4, 16 * GIB, 0, "work", "secret"),)
    queues = (QueueLimits("work", default=True),)
    assert problems_with(request(queue="secret"), nodes, queues, "en") == []
    assert "largest node has 4" in problems_with(request(queue="secret", cores=8), nodes, queues, "en")[0]


def test_where_a_routing_queue_leads_is_not_known() -> None:
    queues = (QueueLimits("route", default=True, routes=True), QueueLimits("gpu"))
    assert problems_with(request(cores=16), NODES, queues, "en") == []


def test_the_parts_of_a_host_count_together() -> None:
    nodes = (node("n1", 0, 0), node("n1[0]", 8, 32 * GIB), node("n1[1]", 8, 32 * GIB))
    assert problems_with(request(cores=16, memory_bytes=64 * GIB), nodes, (), "en") == []
    assert "largest node has 16" in problems_with(request(cores=17), nodes, (), "en")[0]


def test_a_size_that_is_offered_can_be_had() -> None:
    nodes = (node("n1", 4, 8_193_572_864),)
    (problem,) = problems_with(request(memory_bytes=8 * GIB), nodes, (), "en")
    assert "asks for 8G of memory on a node; the largest node has 7.63G. Ask for at most 7.63G" in problem
    assert problems_with(request(memory_bytes=int(7.63 * GIB)), nodes, (), "en") == []


QUEUE_NAMES = ("a", "b", "c")
SITE_NODES = st.builds(
    Node,
    name=st.text("n0123456789[]", min_size=1, max_size=6),
    usable=st.booleans(),
    state=st.just("any"),
    cores=st.integers(0, 128),
    free_cores=st.integers(0, 128),
    memory_bytes=st.integers(0, 2**40),
    gpus=st.integers(0, 8),
    queues=st.lists(st.sampled_from(QUEUE_NAMES), unique=True).map(tuple),
)
LIMITS = st.builds(
    QueueLimits,
    name=st.sampled_from(QUEUE_NAMES),
    default=st.booleans(),
    walltime_s=st.none() | st.integers(0, 10**6),
    cores=st.none() | st.integers(0, 256),
    nodes=st.none() | st.integers(0, 8),
    memory_bytes=st.none() | st.integers(0, 2**40),
    cores_per_node=st.none() | st.integers(0, 128),
)


@settings(deadline=None, max_examples=200)
@given(
    nodes=st.lists(SITE_NODES, min_size=1, max_size=6, unique_by=lambda node: node.name),
    queues=st.lists(LIMITS, max_size=3, unique_by=lambda queue: queue.name),
    part=st.tuples(*[st.floats(0, 1)] * 4),
    data=st.data(),
)
def test_what_fits_a_node_within_the_limits_is_never_refused(
    nodes: list[Node], queues: list[QueueLimits], part: tuple[float, ...], data: st.DataObject
) -> None:
    chosen = data.draw(st.sampled_from(nodes))
    names = chosen.queues or QUEUE_NAMES
    possible = [queue for queue in queues if queue.name in names]
    assume(possible or not queues)
    limits = data.draw(st.sampled_from(possible)) if possible else QueueLimits(data.draw(st.sampled_from(names)))

    def up_to(most: int, *caps: int | None) -> int:
        return min([most, *(cap for cap in caps if cap)])

    asked = request(
        queue=limits.name,
        cores=max(1, int(part[0] * up_to(chosen.cores, limits.cores, limits.cores_per_node))),
        memory_bytes=int(part[1] * up_to(chosen.memory_bytes, limits.memory_bytes)),
        walltime_s=int(part[2] * up_to(10**6, limits.walltime_s)),
        gpus=int(part[3] * chosen.gpus),
    )
    assert problems_with(asked, nodes, queues, "en") == []
    assert problems_with(replace(asked, cores=10**6 + 1), nodes, queues, "fr") != []
