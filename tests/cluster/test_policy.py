"""What the policy decides, one rule and one guard at a time."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from springtide.cluster.decision import PolicySettings
from springtide.cluster.observation import CloudFlavour, Money, Pool, PoolKind
from springtide.cluster.policy import decide
from tests.cluster.observing import (
    HOUR,
    NOW,
    asked,
    batch,
    booting,
    carried_out,
    cloud,
    expected,
    idle,
    keys,
    queued,
    running,
    seen,
    work,
)

LONG = expected(4 * HOUR)
MPI = {"together": True}


# --- batch first ----------------------------------------------------------------------------------------------------


def test_without_work_nothing_is_asked_for() -> None:
    assert decide(seen(work(0), batch(), cloud())).idle


def test_the_queue_is_asked_first_for_what_does_the_work_within_the_target() -> None:
    decision = decide(seen(work(40, 300.0), batch(wait=expected(10.0)), cloud()))
    assert (asked(decision, "cluster"), asked(decision, "cloud")) == (10, 0)


def test_this_machine_is_asked_before_the_queue() -> None:
    local = Pool("here", PoolKind.LOCAL, maximum=1, cores=4)
    decision = decide(seen(work(8, 300.0), batch(wait=expected(10.0)), local))
    assert (asked(decision, "here"), asked(decision, "cluster")) == (1, 1)


def test_before_the_first_task_has_ended_the_hint_counts() -> None:
    hinted = dataclasses.replace(work(100), median_task_s=None, longest_task_s=None, hint_task_s=300.0)
    unknown = dataclasses.replace(hinted, hint_task_s=None)
    assert asked(decide(seen(hinted, batch())), "cluster") == 25
    assert asked(decide(seen(unknown, batch())), "cluster") == 1


def test_a_little_more_work_asks_for_nothing() -> None:
    there = batch(running("cluster-0"), running("cluster-1"))
    assert decide(seen(work(9, 300.0), there)).idle
    assert asked(decide(seen(work(10, 300.0), there)), "cluster") == 1


def test_the_minimum_is_there_without_work() -> None:
    assert asked(decide(seen(work(0), batch(minimum=2))), "cluster") == 2


def test_the_maximum_holds() -> None:
    decision = decide(seen(work(1000), batch(queued(), maximum=3)))
    assert asked(decision, "cluster") == 2
    assert "pool_full" in keys(decision)


@pytest.mark.parametrize(
    ("limits", "key"),
    [
        ({"refused": "queue is disabled"}, "pool_refuses"),
        ({"largest_cores": 2}, "node_too_small"),
        ({"walltime_s": 300.0}, "walltime_too_short"),
    ],
)
def test_a_queue_that_cannot_run_the_workers_is_not_asked(limits: dict[str, Any], key: str) -> None:
    decision = decide(seen(work(), batch(**limits), cloud()))
    assert asked(decision, "cluster") == 0
    assert asked(decision, "cloud") > 0
    assert {key, "no_room"} <= keys(decision)


# --- burst ----------------------------------------------------------------------------------------------------------


def test_a_queue_predicted_to_be_slow_is_bypassed() -> None:
    decision = decide(seen(work(), batch(wait=LONG), cloud()))
    assert asked(decision, "cluster") == 25
    assert asked(decision, "cloud") == 10
    assert "predicted_too_long" in keys(decision)


@pytest.mark.parametrize(("wait_s", "burst"), [(479.0, False), (481.0, True)])
def test_the_limit_is_boot_transfer_and_margin(wait_s: float, burst: bool) -> None:
    decision = decide(seen(work(), batch(wait=expected(wait_s)), cloud()))
    assert bool(asked(decision, "cloud")) is burst


def test_data_on_a_slow_link_keep_the_work_at_home() -> None:
    heavy = work(bytes_to_move=10**10)
    queue = batch(wait=expected(1000.0))
    assert asked(decide(seen(heavy, queue, cloud(bandwidth_bytes_per_s=1e9))), "cloud") > 0
    assert asked(decide(seen(heavy, queue, cloud(bandwidth_bytes_per_s=1e7))), "cloud") == 0


def test_without_prediction_the_wait_until_now_counts() -> None:
    fresh, old = (seen(work(4), batch(queued(waited_s=waited_s)), cloud()) for waited_s in (100.0, 500.0))
    assert decide(fresh).idle
    assert decide(fresh).look_again_s == pytest.approx(381.0)
    assert asked(decide(old), "cloud") == 1
    assert "waited_too_long" in keys(decide(old))


def test_a_prediction_proved_wrong_is_not_believed() -> None:
    late = seen(work(4), batch(queued(waited_s=500.0), wait=expected(100.0)), cloud())
    assert asked(decide(late), "cloud") == 1


def test_the_jobs_own_prediction_counts_more_than_the_queues() -> None:
    soon = seen(work(4), batch(queued(waited_s=500.0, wait=expected(5.0)), wait=LONG), cloud())
    assert decide(soon).idle


def test_work_that_fills_no_billing_step_is_left_to_the_queue() -> None:
    decision = decide(seen(work(100, 20.0), batch(wait=LONG), cloud(quantum_s=HOUR)))
    assert asked(decision, "cloud") == 0
    assert "too_little_work" in keys(decision)


def test_what_runs_meanwhile_does_is_no_work_for_a_machine() -> None:
    there = batch(running("cluster-0"), wait=LONG)
    assert asked(decide(seen(work(10, 60.0), there, cloud())), "cloud") == 0


def test_short_work_is_spared_its_wait_and_long_work_is_not() -> None:
    worth = PolicySettings(slowdown_worth=0.05)
    short, long = (seen(work(4, seconds, **MPI), batch(wait=LONG), cloud()) for seconds in (600.0, 8 * HOUR))
    assert asked(decide(short, worth), "cloud") == 1
    assert asked(decide(long, worth), "cloud") == 0
    assert "too_dear" in keys(decide(long, worth))


def test_the_cheapest_machines_are_taken() -> None:
    decision = decide(seen(work(4, **MPI), batch(wait=LONG), cloud()))
    assert [(ask.flavour, ask.count) for ask in decision.asks if ask.pool == "cloud"] == [("small", 1)]


def test_where_few_machines_may_be_made_they_are_large() -> None:
    decision = decide(seen(work(40, **MPI), batch(wait=LONG), cloud(maximum=3)))
    assert [(ask.flavour, ask.count) for ask in decision.asks if ask.pool == "cloud"] == [("large", 3)]


def test_a_machine_too_small_for_a_task_is_not_taken() -> None:
    broad = dataclasses.replace(work(4), cores_per_task=32)
    assert "no_flavour" in keys(decide(seen(broad, batch(wait=LONG, cores=32), cloud())))


def test_two_clouds_share_what_one_cannot_hold() -> None:
    second = dataclasses.replace(cloud(), name="other")
    decision = decide(seen(work(240), batch(wait=LONG), cloud(maximum=2), second))
    assert (asked(decision, "cloud"), asked(decision, "other")) == (2, 8)


# --- guards ---------------------------------------------------------------------------------------------------------


def test_no_more_is_reserved_than_the_budget_holds() -> None:
    decision = decide(seen(work(), batch(wait=LONG), cloud(), money=Money(1.0, 0.2, 0.3)))
    assert 0 < sum(ask.count * ask.reserve for ask in decision.asks) <= 0.5


def test_the_life_of_a_machine_is_shortened_to_the_budget() -> None:
    (ask,) = decide(seen(work(4, **{}), batch(refused="down"), cloud(), money=Money(0.16))).asks
    assert ask.lifetime_s == pytest.approx(HOUR, abs=60)


def test_a_spent_budget_says_so() -> None:
    decision = decide(seen(work(), batch(wait=LONG), cloud(), money=Money(1.0, 1.0)))
    assert asked(decision, "cloud") == 0
    assert "over_budget" in keys(decision)


def test_tasks_that_run_together_get_all_machines_or_none() -> None:
    mpi = work(40, HOUR, **MPI)
    small = cloud(flavours=(CloudFlavour("small", 4, 0.16),))
    assert asked(decide(seen(mpi, batch(wait=LONG), small)), "cloud") == 10
    assert asked(decide(seen(mpi, batch(wait=LONG), small, money=Money(1.0))), "cloud") == 0
    assert asked(decide(seen(mpi, batch(wait=LONG), dataclasses.replace(small, maximum=9))), "cloud") == 0


def test_machines_are_made_at_a_limited_rate() -> None:
    lately = cloud(asked_at=(NOW - 70, *[NOW - 30] * 8))
    decision = decide(seen(work(), batch(wait=LONG), lately))
    assert asked(decision, "cloud") == 2
    assert decision.look_again_s is not None
    assert decision.look_again_s <= 60
    assert asked(decide(carried_out(seen(work(), batch(wait=LONG), lately), decision)), "cloud") == 0


def test_a_machine_that_boots_is_left_alone_whatever_happens() -> None:
    assert decide(seen(work(0), batch(), cloud(booting(age_s=700.0)))).idle


def test_a_machine_that_never_came_is_given_up_and_replaced() -> None:
    decision = decide(seen(work(4), batch(queued(waited_s=HOUR)), cloud(booting(age_s=800.0))))
    assert decision.cancel == ("cloud-0",)
    assert asked(decision, "cloud") == 1


def test_a_machine_that_cannot_live_for_a_task_is_not_made() -> None:
    assert "lifetime_too_short" in keys(decide(seen(work(100, 25 * HOUR), batch(wait=LONG), cloud())))


# --- less -----------------------------------------------------------------------------------------------------------


def test_a_queued_worker_stays_until_the_capacity_is_seen() -> None:
    waiting = batch(queued(waited_s=HOUR))
    assert decide(seen(work(4), waiting, cloud(booting(age_s=100.0)))).cancel == ()
    assert decide(seen(work(4), waiting, cloud(running("cloud-0")))).cancel == ("cluster-0",)


def test_queued_workers_stay_for_a_moment_without_work() -> None:
    moment = seen(dataclasses.replace(work(0), empty_since=NOW - 10), batch(queued()))
    assert decide(moment).cancel == ()
    assert decide(moment).look_again_s == pytest.approx(20)
    assert decide(dataclasses.replace(moment, now=NOW + 21)).cancel == ("cluster-0",)


def test_an_idle_machine_is_kept_for_the_time_that_is_paid() -> None:
    early, late = (
        decide(seen(work(0), batch(), cloud(idle("cloud-0", 120.0, age_s), quantum_s=HOUR)))
        for age_s in (1800.0, 3550.0)
    )
    assert early.retire == ()
    assert early.look_again_s == pytest.approx(1740)
    assert late.retire == ("cloud-0",)


def test_a_busy_machine_is_not_retired() -> None:
    assert decide(seen(work(4), batch(running("cluster-0")), cloud(running("cloud-0")))).retire == ()


def test_machines_go_before_batch_workers() -> None:
    both = decide(seen(work(0), batch(idle("cluster-0")), cloud(idle("cloud-0"))))
    stuck = decide(seen(work(0), batch(idle("cluster-0")), cloud(idle("cloud-0", age_s=600.0), quantum_s=HOUR)))
    assert both.retire == ("cloud-0", "cluster-0")
    assert stuck.retire == ()


def test_the_last_holder_of_results_stays_until_another_can_take_them() -> None:
    alone = decide(seen(work(0), batch(), cloud(idle("cloud-0", holds_results=True))))
    both = decide(seen(work(0), batch(idle("cluster-0")), cloud(idle("cloud-0", holds_results=True))))
    assert alone.retire == ()
    assert asked(alone, "cluster") == 1
    assert both.retire == ("cloud-0",)


def test_a_worker_that_took_over_the_results_of_others_stays() -> None:
    holder, other = idle("cloud-0", HOUR + 60, holds_results=True), idle("cloud-1", HOUR)
    decision = decide(seen(work(0), batch(maximum=0), cloud(booting(2), holder, other)))
    assert decision.retire == ("cloud-0",)
    assert "holds_results" in keys(decision)


def test_a_worker_whose_time_holds_no_task_is_no_capacity() -> None:
    ending = batch(running("cluster-0", ends=NOW + 60, tasks=0, idle_since=NOW))
    decision = decide(seen(work(4), ending))
    assert asked(decision, "cluster") == 1
    assert "ends_soon" in keys(decision)
