"""What the spawn page's cards say of the places, and what becomes of slow and failing probes."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from springtide.errors import EngineError, QueueUnreachable
from springtide.hub import places as places_module
from springtide.hub.places import (
    ContainerFacts,
    ContainerProbe,
    Places,
    ProfileState,
    QueueFacts,
    QueueProbe,
    place_state,
    profile_state,
)
from springtide.lab.models import Lab

GIB = 2**30
LAB = Lab.model_validate(
    {
        "springtide": 1,
        "sites": {
            "here": {"kind": "local"},
            "plain": {"kind": "local", "runtime": "host"},
            "cluster": {"kind": "slurm"},
        },
        "profiles": [
            {"name": "container", "site": "here", "memory": "2G"},
            {"name": "process", "site": "plain"},
            {"name": "node", "site": "cluster", "cpus": 4},
            {"name": "gpu", "site": "here", "groups": ["gpu-team"]},
        ],
    }
)
CONTAINER, PROCESS, NODE, _ = LAB.profiles
ENGINE = ContainerFacts(True, images={"base": "ready"}, cpus_total=8, memory_total_bytes=16 * GIB)
QUEUE = QueueFacts(True, cores_total=64, cores_free=12)


def container(**changes: object) -> ProfileState:
    facts = {**vars(ENGINE), **changes}
    return profile_state(LAB, CONTAINER, ContainerFacts(**facts))


def node(**changes: object) -> ProfileState:
    return profile_state(LAB, NODE, QueueFacts(**{**vars(QUEUE), **changes}))


def said(state: ProfileState, language: str = "en") -> tuple[bool, str, str]:
    return state.available, state.state, state.text.say(language)


def test_a_container_place_counts_the_sessions_that_fit() -> None:
    assert said(container(cpus_used=2)) == (True, "ready", "Starts at once. Room for 6 more sessions.")
    assert said(container(memory_used_bytes=13 * GIB))[2] == "Starts at once. Room for one more session."


def test_a_full_machine_still_starts_one_and_says_so() -> None:
    full = container(cpus_used=9, sessions=9)
    assert said(full) == (True, "busy", "No free place left: sessions running: 9.")
    assert full.hint


def test_a_machine_of_unknown_size_promises_no_number() -> None:
    assert said(container(cpus_total=0, memory_total_bytes=0))[2] == "Starts at once, in a container of this machine."


def test_an_image_in_the_making_closes_its_card_until_it_is_ready() -> None:
    building = container(images={"base": "building"})
    assert (building.available, building.badge.say("fr")) == (False, "En construction")
    missing = container(images={})
    assert (missing.available, missing.state, missing.badge.say("en")) == (False, "missing", "Image missing")
    assert missing.hint
    assert "base" in missing.hint.say("en")


def test_an_engine_that_does_not_answer_is_down_with_its_words() -> None:
    down = container(reachable=False, error="permission denied\non the socket.")
    assert said(down) == (False, "down", "It cannot be used now: permission denied on the socket.")
    assert said(container(reachable=False))[2] == "It does not answer."


def test_what_this_machine_lacks_is_missing_and_says_what_to_do() -> None:
    for state in (container(found=False), node(found=False)):
        assert (state.available, state.state) == (False, "missing")
        assert state.hint
        assert "administrator" in state.hint.say("en")


def test_a_process_place_is_always_ready() -> None:
    assert profile_state(LAB, PROCESS, None).state == "ready"


def test_a_queue_with_enough_free_cores_is_ready() -> None:
    assert said(node()) == (True, "ready", "Starts soon: 12 of 64 cores are free.")


def test_a_queue_without_room_for_the_profile_is_busy_but_takes_the_job() -> None:
    assert said(node(cores_free=3)) == (True, "busy", "Too few cores are free now: 3 of 64.")


def test_the_schedulers_words_are_explained_in_the_readers_language() -> None:
    waiting = node(cores_free=0, jobs_waiting=7, waiting_reason="Priority")
    assert said(waiting)[2] == (
        "Free cores: 0 of 64; waiting jobs: 7. Why the first one waits: Jobs with a higher priority come first."
    )
    assert "Des tâches plus prioritaires passent d’abord." in said(waiting, "fr")[2]


def test_a_site_has_a_state_of_its_own() -> None:
    assert place_state("cluster", LAB.sites["cluster"], QUEUE).state == "ready"
    assert place_state("here", LAB.sites["here"], ENGINE).state == "ready"
    assert place_state("plain", LAB.sites["plain"], None).state == "ready"


@asynccontextmanager
async def watching(
    container_probe: ContainerProbe = lambda: ENGINE, queue_probe: QueueProbe = lambda _site: QUEUE
) -> AsyncIterator[Places]:
    places = Places(LAB, container_probe, queue_probe)
    try:
        yield places
    finally:
        places.close()


async def states(places: Places, *groups: str) -> dict[str, str]:
    return {state.profile: state.state for state in await places.states(groups)}


async def test_everyone_sees_the_profiles_open_to_them() -> None:
    async with watching() as places:
        assert await states(places) == {"container": "ready", "process": "ready", "node": "ready"}
        assert "gpu" in await states(places, "gpu-team")


async def test_many_looks_ask_once() -> None:
    asked: list[float] = []

    def count(_site: str) -> QueueFacts:
        asked.append(time.monotonic())
        return QUEUE

    async with watching(queue_probe=count) as places:
        for _ in range(20):
            await places.states(())
        assert len(asked) == 1


async def test_a_probe_may_be_asynchronous() -> None:
    async def ask(_site: str) -> QueueFacts:
        return QueueFacts(True, cores_total=1, cores_free=0)

    async with watching(queue_probe=ask) as places:
        assert (await states(places))["node"] == "busy"


async def test_a_failing_probe_makes_its_own_place_down_only(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> ContainerFacts:
        raise ZeroDivisionError("division by zero")

    def unreachable(_site: str) -> QueueFacts:
        raise QueueUnreachable("slurmctld does not answer")

    async with watching(fail, unreachable) as places:
        found = {state.profile: state for state in await places.states(())}
    assert found["container"].text.say("en") == "It cannot be used now: division by zero."
    assert found["node"].text.say("en") == "It cannot be used now: slurmctld does not answer."
    assert found["process"].available
    assert "ZeroDivisionError" in caplog.text
    assert "slurmctld" not in caplog.text


async def test_words_of_our_own_errors_lose_nothing() -> None:
    def fail() -> ContainerFacts:
        raise EngineError("The Docker Engine cannot be asked", "Start it.")

    async with watching(fail) as places:
        found = {state.profile: state for state in await places.states(())}
    assert found["container"].text.say("en") == "It cannot be used now: The Docker Engine cannot be asked."


@contextmanager
def stuck() -> Iterator[Callable[[], ContainerFacts]]:
    release = threading.Event()

    def hang() -> ContainerFacts:
        release.wait(30)
        return ENGINE

    try:
        yield hang
    finally:
        release.set()


async def test_a_hanging_probe_delays_one_look_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_module, "PATIENCE_S", 0.3)
    with stuck() as hang:
        async with watching(hang) as places:
            start = time.monotonic()
            assert await states(places) == {"container": "down", "process": "ready", "node": "ready"}
            first = time.monotonic()
            assert (await states(places))["container"] == "down"
            second = time.monotonic()
    assert first - start < 1
    assert second - first < 0.2


async def test_an_old_answer_stands_in_for_a_slow_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_module, "PATIENCE_S", 0.2)
    monkeypatch.setattr(places_module, "FRESH_S", 0.0)
    with stuck() as hang:
        probes = iter([lambda: ENGINE, hang])
        async with watching(lambda: next(probes)()) as places:
            assert (await states(places))["container"] == "ready"
            assert (await states(places))["container"] == "ready"
            monkeypatch.setattr(places_module, "STALE_S", 0.0)
            assert (await states(places))["container"] == "down"
