"""Which smaller or shorter request would start sooner."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from springtide.ledger.records import JobRecord
from springtide.queues.expected.estimate import Suggestion, sooner
from springtide.queues.model import JobRequest, Node, QueueLimits

NOW = 1_700_000_000.0
GIB = 2**30
DAY = 86400
REQUEST = JobRequest("", "a", cores=16, memory_bytes=8 * GIB, walltime_s=DAY)
LONG = QueueLimits("long", default=True, walltime_s=10 * DAY)
SHORT = QueueLimits("short", walltime_s=7200)
LONG_WAITS = [10 * 3600.0 + 60 * number for number in range(60)]
SHORT_WAITS = [300.0 + number for number in range(60)]


def waits_of(seconds: list[float], **asked: Any) -> list[JobRecord]:
    job = JobRecord("", "", "", "", "", "", **({"cores": 16, "walltime_s": DAY} | asked), submitted=NOW)
    return [dataclasses.replace(job, started=NOW + wait_s) for wait_s in seconds]


def node(free_cores: int, free_memory: int = 64 * GIB, **more: Any) -> Node:
    return Node("n", True, "busy", 32, free_cores, 64 * GIB, free_memory, **more)


def suggestions(request: JobRequest = REQUEST, **known: Any) -> list[Suggestion]:
    known = {"nodes": [], "queues": [], "waits": waits_of(LONG_WAITS), "now": NOW, **known}
    return sooner(request, **known)


def test_nothing_is_suggested_where_nothing_is_known() -> None:
    assert suggestions(waits=[]) == []


def test_nothing_is_suggested_to_who_starts_now() -> None:
    assert suggestions(nodes=[node(32)]) == []


def test_nothing_is_suggested_where_less_gains_nothing() -> None:
    assert suggestions() == []


def test_what_is_free_on_one_node_starts_now() -> None:
    (found,) = suggestions(nodes=[node(4), node(12)])
    assert found.request == dataclasses.replace(REQUEST, cores=12)
    assert found.estimate.source == "free"
    assert found.gain_s > 9 * 3600


def test_memory_may_be_what_is_scarce() -> None:
    (found,) = suggestions(nodes=[node(16, free_memory=6 * GIB + 100)])
    assert found.request == dataclasses.replace(REQUEST, memory_bytes=6 * GIB)


def test_ranks_stay_within_the_cores() -> None:
    (found,) = suggestions(dataclasses.replace(REQUEST, ranks=16), nodes=[node(12)])
    assert found.request.ranks == 12


def test_many_nodes_may_shrink_to_one() -> None:
    (found,) = suggestions(dataclasses.replace(REQUEST, nodes=4), nodes=[node(32), node(8)])
    assert (found.request.nodes, found.request.cores) == (1, 16)


def test_one_free_core_is_no_help_to_who_asks_for_many() -> None:
    assert suggestions(dataclasses.replace(REQUEST, cores=32), nodes=[node(1)]) == []


def test_free_room_is_not_suggested_while_others_wait_for_it() -> None:
    assert suggestions(nodes=[node(12)], queues=[dataclasses.replace(LONG, waiting=3)]) == []


def test_fewer_cores_are_suggested_where_smaller_jobs_have_waited_less() -> None:
    (found,) = suggestions(waits=waits_of(LONG_WAITS) + waits_of(SHORT_WAITS, cores=2))
    assert found.request.cores < 16
    assert found.estimate.source == "history"


def test_a_shorter_walltime_is_suggested_where_shorter_jobs_have_waited_less() -> None:
    (found,) = suggestions(waits=waits_of(LONG_WAITS) + waits_of(SHORT_WAITS, walltime_s=DAY // 16))
    assert found.request.walltime_s in (DAY // 4, DAY // 8)
    assert found.estimate.source == "history"


def test_a_queue_for_shorter_jobs_is_suggested() -> None:
    waits = waits_of(LONG_WAITS, queue="long") + waits_of(SHORT_WAITS, queue="short")
    (found,) = suggestions(dataclasses.replace(REQUEST, queue="long"), queues=[LONG, SHORT], waits=waits)
    assert (found.request.queue, found.request.walltime_s) == ("short", 7200)


def test_a_queue_that_does_not_take_the_request_is_not_suggested() -> None:
    waits = waits_of(LONG_WAITS, queue="long") + waits_of(SHORT_WAITS, queue="short")
    queues = [dataclasses.replace(SHORT, **limit) for limit in ({"cores": 8}, {"open": False}, {"started": False})]
    for short in queues:
        assert suggestions(dataclasses.replace(REQUEST, queue="long"), queues=[LONG, short], waits=waits) == []


def test_no_gain_is_taken_from_the_schedulers_word_alone() -> None:
    assert suggestions(forecast=NOW + 10 * DAY) == []


def test_the_soonest_comes_first_and_three_are_enough() -> None:
    waits = waits_of(LONG_WAITS, queue="long") + waits_of(SHORT_WAITS, queue="short")
    waits += waits_of(SHORT_WAITS, queue="long", walltime_s=DAY // 16)
    request = dataclasses.replace(REQUEST, queue="long")
    found = suggestions(request, nodes=[node(12, queues=("long",))], queues=[LONG, SHORT], waits=waits)
    assert len(found) == 3
    assert found[0].estimate.source == "free"
    assert [each.estimate.median_s for each in found] == sorted(each.estimate.median_s for each in found)


@given(
    request=st.builds(
        JobRequest,
        st.just(""),
        st.just(""),
        cores=st.integers(1, 64),
        nodes=st.integers(0, 8),
        memory_bytes=st.integers(0, 2**40),
        walltime_s=st.integers(0, 10**6),
    ),
    free_cores=st.integers(0, 32),
    free_memory=st.integers(0, 64 * GIB),
)
def test_what_is_suggested_asks_for_less_and_gains(request: JobRequest, free_cores: int, free_memory: int) -> None:
    for found in suggestions(request, nodes=[node(free_cores, free_memory)], queues=[LONG, SHORT]):
        asked, less = request, found.request
        assert found.gain_s >= 300
        assert 1 <= less.cores <= asked.cores
        assert less.nodes <= max(1, asked.nodes)
        assert (less.memory_bytes > 0) == (asked.memory_bytes > 0)
        assert less.walltime_s <= asked.walltime_s
        assert less != asked
