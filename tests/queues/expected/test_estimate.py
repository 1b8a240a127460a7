"""When a job may be expected to start: what room, the scheduler and the measured waits say."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.ledger.records import JobRecord
from springtide.queues.expected.estimate import estimate
from springtide.queues.model import After, Dependency, JobRequest, Node

NOW = 1_700_000_000.0
GIB = 2**30
REQUEST = JobRequest("", "a", cores=4, memory_bytes=2 * GIB, walltime_s=3600)


def started(wait_s: float, *, cores: int = 4, walltime_s: int = 3600, queue: str = "", **more: Any) -> JobRecord:
    return JobRecord(
        "",
        "",
        "",
        "",
        "",
        "",
        cores=cores,
        walltime_s=walltime_s,
        queue=queue,
        submitted=NOW,
        started=NOW + wait_s,
        **more,
    )


def waits_of(*seconds: float, **job: Any) -> list[JobRecord]:
    return [started(wait_s, **job) for wait_s in seconds]


def node(free_cores: int, *, cores: int = 8, free_memory: int = 16 * GIB, **more: Any) -> Node:
    return Node("n", True, "free", cores, free_cores, 16 * GIB, free_memory, **more)


HOURS = [3600.0 + 60 * number for number in range(60)]
MINUTES = [60.0 + number for number in range(60)]


def test_nothing_known_gives_no_estimate() -> None:
    assert estimate(REQUEST, now=NOW) is None


def test_nine_measured_waits_are_too_few() -> None:
    assert estimate(REQUEST, now=NOW, waits=waits_of(*HOURS[:9])) is None


def test_ten_measured_waits_give_an_interval() -> None:
    found = estimate(REQUEST, now=NOW, waits=waits_of(*HOURS[:10]))
    assert found is not None
    assert (found.source, found.samples) == ("history", 10)
    assert found.low_s <= 3600 < found.median_s < 4140 <= found.high_s


def test_records_that_have_not_started_are_no_measurements() -> None:
    queued = [dataclasses.replace(record, started=None) for record in waits_of(*HOURS)]
    assert estimate(REQUEST, now=NOW, waits=queued) is None


@pytest.mark.parametrize("like", [{"cores": 512}, {"walltime_s": 864000}], ids=["cores", "walltime"])
def test_jobs_alike_count_more_than_others(like: dict[str, int]) -> None:
    found = estimate(REQUEST, now=NOW, waits=waits_of(*MINUTES) + waits_of(*HOURS, **like))
    assert found is not None
    assert found.high_s < 300


def test_without_jobs_alike_the_others_must_do() -> None:
    found = estimate(REQUEST, now=NOW, waits=waits_of(*HOURS, cores=4096))
    assert found is not None
    assert found.median_s > 3600


def test_the_last_waits_count_more_than_older_ones() -> None:
    found = estimate(REQUEST, now=NOW, waits=waits_of(*(5 * HOURS + 10 * MINUTES)))
    assert found is not None
    assert found.median_s > 3600


def test_only_its_own_queue_counts_where_enough_is_known_of_it() -> None:
    waits = waits_of(*HOURS, queue="long") + waits_of(*MINUTES, queue="short")
    found = estimate(dataclasses.replace(REQUEST, queue="short"), now=NOW, waits=waits)
    assert found is not None
    assert found.high_s < 300


def test_a_queue_never_used_is_taken_for_the_site() -> None:
    found = estimate(dataclasses.replace(REQUEST, queue="new"), now=NOW, waits=waits_of(*HOURS, queue="long"))
    assert found is not None
    assert found.median_s > 3600


def test_who_has_waited_is_compared_with_those_who_waited_longer() -> None:
    waits = waits_of(*(MINUTES + HOURS))
    fresh, waited = (estimate(REQUEST, now=NOW, waits=waits, waited_s=waited_s) for waited_s in (0.0, 3500.0))
    assert fresh is not None
    assert waited is not None
    assert fresh.low_s < 100
    assert 60 < waited.low_s + 30 < waited.median_s < waited.high_s < 3700


def test_who_has_waited_longer_than_anybody_gets_no_estimate() -> None:
    assert estimate(REQUEST, now=NOW, waits=waits_of(*HOURS), waited_s=1e6) is None


def test_misses_widen_the_next_intervals() -> None:
    waits = waits_of(*(3 * HOURS))
    missed = [
        dataclasses.replace(record, expected_start_low=NOW, expected_start_high=NOW + 60) if number % 3 == 0 else record
        for number, record in enumerate(waits)
    ]
    before, after = (estimate(REQUEST, now=NOW, waits=known) for known in (waits, missed))
    assert before is not None
    assert after is not None
    assert after.low_s < before.low_s
    assert after.high_s > before.high_s


def test_free_room_means_now() -> None:
    found = estimate(REQUEST, now=NOW, nodes=[node(4)])
    assert found is not None
    assert (found.source, found.low_s, found.samples) == ("free", 0.0, 0)
    assert found.high_s < 60


def test_free_room_is_believed_less_where_jobs_have_waited_all_the_same() -> None:
    found = estimate(REQUEST, now=NOW, nodes=[node(4)], waits=waits_of(*HOURS))
    assert found is not None
    assert found.source == "free"
    assert 50 < found.samples <= 60
    assert found.median_s < 60
    assert found.high_s > 3600


@pytest.mark.parametrize(
    "nodes",
    [
        [node(3)],
        [node(3), node(3)],
        [node(8, free_memory=GIB)],
        [dataclasses.replace(node(8), usable=False)],
        [node(8, queues=("gpu",)), node(0, queues=("cpu",))],
    ],
    ids=["cores", "spread", "memory", "unusable", "perhaps of another queue"],
)
def test_room_that_is_not_enough_is_no_room(nodes: list[Node]) -> None:
    assert estimate(REQUEST, now=NOW, nodes=nodes) is None


@pytest.mark.parametrize(
    ("queue", "there"), [("gpu", True), ("cpu", False), ("", True)], ids=["its own", "another's", "the only one"]
)
def test_nodes_of_another_queue_are_no_room(queue: str, there: bool) -> None:
    found = estimate(dataclasses.replace(REQUEST, queue=queue), now=NOW, nodes=[node(8, queues=("gpu",))])
    assert (found is not None) is there


@pytest.mark.parametrize(("free_cores", "there"), [(8, True), (7, False)])
def test_only_the_gpus_of_an_idle_node_are_surely_free(free_cores: int, there: bool) -> None:
    found = estimate(dataclasses.replace(REQUEST, gpus=1), now=NOW, nodes=[node(free_cores, gpus=2)])
    assert (found is not None) is there


def test_memory_that_the_scheduler_does_not_tell_is_no_obstacle() -> None:
    assert estimate(REQUEST, now=NOW, nodes=[Node("n", True, "idle", 8, 8)]) is not None


def test_each_node_asked_for_needs_its_room() -> None:
    two = dataclasses.replace(REQUEST, nodes=2)
    assert estimate(two, now=NOW, nodes=[node(8)]) is None
    assert estimate(two, now=NOW, nodes=[node(4), node(4)]) is not None


@pytest.mark.parametrize(
    "against",
    [{"waiting_jobs": 1}, {"waited_s": 600.0}, {"forecast": NOW + 7200}],
    ids=["others wait", "it did not help until now", "the scheduler says otherwise"],
)
def test_room_is_no_promise_when_something_speaks_against_it(against: dict[str, Any]) -> None:
    found = estimate(REQUEST, now=NOW, nodes=[node(8)], waits=waits_of(*HOURS), **against)
    assert found is not None
    assert found.source != "free"


def test_a_forecast_alone_gives_a_wide_interval_around_it() -> None:
    found = estimate(REQUEST, now=NOW, forecast=NOW + 36000)
    assert found is not None
    assert (found.source, found.samples) == ("scheduler", 0)
    assert found.low_s < 3600 < found.median_s < 36000 < found.high_s < 72000


def test_a_forecast_that_has_just_passed_means_soon() -> None:
    found = estimate(REQUEST, now=NOW, forecast=NOW - 60)
    assert found is not None
    assert found.high_s < 300


def test_a_forecast_that_passed_long_ago_was_wrong() -> None:
    waits = waits_of(*HOURS)
    assert estimate(REQUEST, now=NOW, forecast=NOW - 3600) is None
    assert estimate(REQUEST, now=NOW, forecast=NOW - 3600, waits=waits) == estimate(REQUEST, now=NOW, waits=waits)


def test_a_forecast_shortens_what_history_tells() -> None:
    both = estimate(REQUEST, now=NOW, waits=waits_of(*HOURS), forecast=NOW + 600)
    assert both is not None
    assert both.source == "both"
    assert both.median_s < 600
    assert both.high_s < 3600


def test_history_shortens_what_the_scheduler_forecasts() -> None:
    both = estimate(REQUEST, now=NOW, waits=waits_of(*MINUTES), forecast=NOW + 36000)
    assert both is not None
    assert both.median_s < 300


@pytest.mark.parametrize(
    "bound", [{"held": True}, {"dependencies": (Dependency(After.OK, ("1",)),)}], ids=["held", "after another"]
)
def test_what_waits_for_more_than_room_is_not_compared_with_others(bound: dict[str, Any]) -> None:
    request = dataclasses.replace(REQUEST, **bound)
    assert estimate(request, now=NOW, nodes=[node(8)], waits=waits_of(*HOURS)) is None


def test_nothing_starts_before_the_time_it_asks_for() -> None:
    tomorrow = dataclasses.replace(REQUEST, start_after=NOW + 86400)
    found = estimate(tomorrow, now=NOW, nodes=[node(8)], waits=waits_of(*MINUTES))
    assert found is not None
    assert found.low_s == found.high_s == 86400


SECONDS = st.floats(-1e9, 1e10, allow_nan=False)
RECORDS = st.builds(
    JobRecord,
    *[st.just("")] * 6,
    queue=st.sampled_from(["", "a"]),
    cores=st.integers(-1, 10**7),
    walltime_s=st.integers(-1, 10**9),
    submitted=st.none() | SECONDS,
    started=st.none() | SECONDS,
    expected_start_low=st.none() | SECONDS,
    expected_start_high=st.none() | SECONDS,
)
REQUESTS = st.builds(
    JobRequest,
    st.just(""),
    st.just(""),
    cores=st.integers(0, 10**6),
    nodes=st.integers(0, 1000),
    walltime_s=st.integers(0, 10**9),
    queue=st.sampled_from(["", "a", "b"]),
    start_after=st.none() | SECONDS,
)


@given(
    request=REQUESTS,
    waits=st.lists(RECORDS, max_size=40),
    forecast=st.none() | SECONDS,
    waited_s=SECONDS,
    free_cores=st.integers(0, 8),
)
def test_the_interval_is_in_order_and_in_the_future(
    request: JobRequest, waits: list[JobRecord], forecast: float | None, waited_s: float, free_cores: int
) -> None:
    found = estimate(request, now=NOW, nodes=[node(free_cores)], waits=waits, forecast=forecast, waited_s=waited_s)
    if found is not None:
        assert 0 <= found.low_s <= found.median_s <= found.high_s
        assert 0 <= found.samples <= len(waits)
