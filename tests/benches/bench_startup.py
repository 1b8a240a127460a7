"""How long the platform takes to answer, from the command."""

from __future__ import annotations

import time
from pathlib import Path

from tests.benches.hubs import PlainHub, in_turns
from tests.benches.report import Report, Table, ratio, repetitions, spread
from tests.e2e.labs import process_lab
from tests.support.hub import SPRINGTIDE, RunningHub
from tests.support.leaks import LeakCheck

_NOTE = """\
A new state directory each time, the lab file with one site of processes, no image to build (`--no-build`). The first
answer is that of the hub's API through the proxy. Ours reads and checks the lab file, looks for the places it names,
and starts proxy, hub and idle culler; `jupyterhub` starts itself and configurable-http-proxy 0.4.0."""
_COMMAND = (SPRINGTIDE, "up", "--no-build")


def bench_startup(nothing_left: LeakCheck, tmp_path: Path) -> None:
    report = Report("startup")
    starts: dict[str, list[float]] = {"ours": [], "plain": []}
    stops: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(repetitions(3)):
        for side in in_turns(number, ("ours", "plain")):
            folder = tmp_path / f"{side}-{number}"
            folder.mkdir()
            hub = _make(side, folder)
            starts[side].append(_seconds(hub.start))
            stops[side].append(_seconds(hub.stop))
    report.add(
        Table(
            ("seconds, median (min–max)", f"`springtide up`, n = {len(starts['ours'])}", "`jupyterhub`", "ratio"),
            [
                (title, spread(samples["ours"]), spread(samples["plain"]), ratio(samples["ours"], samples["plain"]))
                for title, samples in (
                    ("from the command to the first answer", starts),
                    ("Ctrl-C until all is gone", stops),
                )
            ],
        )
    )
    report.add(_NOTE)
    report.publish()


def _make(side: str, folder: Path) -> RunningHub | PlainHub:
    if side == "ours":
        return RunningHub(process_lab(), folder, command=_COMMAND)
    return PlainHub(folder, {"JupyterHub": {"spawner_class": "simple"}})


def _seconds(action: object) -> float:
    assert callable(action)
    begun = time.monotonic()
    action()
    return time.monotonic() - begun
