"""How long a hundred people wait who log in and start a session at once: behind our proxy and behind the stock one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benches.hubs import in_turns
from tests.benches.report import QUICK, Report, Table, ratio, repetitions, spread
from tests.support.crowd import Arrival, ProxyKind, running_crowd_hub
from tests.support.leaks import LeakCheck

_USERS = 20 if QUICK else 100
_SIDES: tuple[ProxyKind, ...] = ("springtide", "stock")
_MIB = 2**20
_NOTE = """\
{users} people do what a browser does, all at the same moment: login page, login, spawn page, its form, the stream of
the start's events, and a first request to the session. n = {n} rounds behind each proxy, in turns, each with a new
hub, new database (SQLite) and nobody known. In all rounds every one of them got a session. The hub is configured by the
lab file, with our pages, options and spawner; only the session itself is played: it is ready after 1 s, and one tiny
server answers for all. Hub, proxy, that server and the {users} clients share the machine's cores. The hub is a single
process that gives each of its visitors a little of its time in turn: that is why all are ready at nearly the same
moment, and the median is hardly below the maximum. Behind the stock proxy they also wait for each other there: it does
ten requests at a time, and the stream of a start's events takes one of these places until the session is ready."""


@dataclass(frozen=True)
class _Round:
    arrivals: Sequence[Arrival]
    wall_s: float
    hub_bytes: int


async def bench_crowd(nothing_left: LeakCheck, tmp_path: Path) -> None:
    report = Report("crowd")
    rounds: dict[str, list[_Round]] = {side: [] for side in _SIDES}
    for number in range(repetitions(3)):
        for side in in_turns(number, _SIDES):
            folder = tmp_path / f"{side}-{number}"
            folder.mkdir()
            rounds[side].append(await _receive(folder, "stock" if side == "stock" else "springtide"))
    report.add(_table(rounds["springtide"], rounds["stock"]))
    report.add(_NOTE.format(users=_USERS, n=len(rounds["stock"])))
    report.publish()


async def _receive(folder: Path, proxy: ProxyKind) -> _Round:
    with running_crowd_hub(folder, proxy) as hub:
        begun = time.monotonic()
        arrivals = await hub.receive(_USERS)
        wall_s = time.monotonic() - begun
        assert [one for one in arrivals if one.failure] == [], f"behind the proxy {proxy}"
        return _Round(arrivals, wall_s, hub.memory_bytes)


def _table(ours: Sequence[_Round], stock: Sequence[_Round]) -> Table:
    values: dict[str, Callable[[_Round], float]] = {
        "all are ready, s": lambda one: one.wall_s,
        "median login, s": lambda one: statistics.median(visit.logged_in_s for visit in one.arrivals),
        "slowest login, s": lambda one: max(visit.logged_in_s for visit in one.arrivals),
        "median ready, s": lambda one: statistics.median(visit.ready_s for visit in one.arrivals),
        "slowest ready, s": lambda one: max(visit.ready_s for visit in one.arrivals),
        "hub's memory afterwards, MiB": lambda one: one.hub_bytes / _MIB,
    }
    rows = []
    for title, value in values.items():
        one, other = ([value(each) for each in side] for side in (ours, stock))
        digits = 0 if "MiB" in title else 2
        rows.append((title, spread(one, digits), spread(other, digits), ratio(one, other)))
    return Table(
        (
            f"{_USERS} users, median (min–max) of the rounds",
            "Springtide's proxy",
            "configurable-http-proxy 0.4.0",
            "ratio",
        ),
        rows,
    )
