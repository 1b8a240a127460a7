"""How long a session takes in a container: ours against plain DockerSpawner with the same image and limits."""

from __future__ import annotations

import calendar
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from springtide.environments.build import build
from springtide.environments.catalog import shipped
from springtide.environments.engine import bridge_address
from tests.benches.hubs import HubApi, api_of, in_turns, plain_hub
from tests.benches.report import Report, Table, ratio, repetitions, spread
from tests.conftest import StartHub
from tests.e2e.labs import container_lab
from tests.support.docker_engine import DockerEngine
from tests.support.leaks import LeakCheck

_MEMORY = "1G"
_CPUS = 1
_USER = "alice"
_NOTE = """\
Both start `{image}` with {cpus} core and {memory} of memory and a home volume, and the time is what the hub's API
says: from the request until JupyterLab answers, and until the hub has forgotten the session. One session at a time,
n = {n} on each side, in turns. “Until the container runs” ends where Docker says the container started; what follows
is JupyterLab itself starting within its limits, the same program on both sides. What ours does more in this time: it
creates and removes a network for the user (plain DockerSpawner puts all users on the default bridge, where they reach
each other's ports), mounts the tutorials, drops all capabilities, makes the root file system read-only, runs an init
process, and keeps the session's state at once, so that a killed hub finds it. Our requests go through our own proxy,
those of the plain hub through configurable-http-proxy 0.4.0."""


@dataclass
class _Side:
    api: HubApi
    options: dict[str, Any]
    label: str
    starts_s: list[float] = field(default_factory=list)
    until_runs_s: list[float] = field(default_factory=list)
    stops_s: list[float] = field(default_factory=list)

    def measure(self, engine: DockerEngine) -> None:
        """Start and stop one session."""
        begun = time.time()
        self.starts_s.append(self.api.start(_USER, self.options))
        (container,) = engine.client.containers.list(filters={"label": self.label})
        self.until_runs_s.append(_seconds_of(container.attrs["State"]["StartedAt"]) - begun)
        self.stops_s.append(self.api.stop(_USER))


def bench_containers(nothing_left: LeakCheck, docker_engine: DockerEngine, start_hub: StartHub, tmp_path: Path) -> None:
    report = Report("containers")
    image = shipped()["base"]
    build(image, print)
    count = repetitions(7)
    run = f"springtide-bench-{secrets.token_hex(4)}"
    with ExitStack() as stack:
        our_hub = start_hub(container_lab())
        instance = (our_hub.state / "run" / "instance").read_text().strip()
        stack.callback(_remove_volumes, docker_engine, (run, instance))
        stack.callback(our_hub.stop)
        configuration = _plain_configuration(image.image, run)
        plain_api = stack.enter_context(plain_hub(tmp_path / "plain", configuration, bridge_address())).api
        options = {"profile": "container", "cpus": _CPUS, "memory": _MEMORY}
        ours = _Side(api_of(our_hub), options, f"springtide.instance={instance}")
        plain = _Side(plain_api, {}, f"bench={run}")
        sides = {"ours": ours, "plain": plain}
        for side in sides.values():
            side.api.add_user(_USER)
            # Neither the first volume nor a cold disk cache is what is measured.
            side.api.start(_USER, side.options)
            side.api.stop(_USER)
        for number in range(count):
            for name in in_turns(number, tuple(sides)):
                sides[name].measure(docker_engine)
    report.add(_table(ours, plain))
    report.add(_NOTE.format(image=image.image, cpus=_CPUS, memory=_MEMORY, n=count))
    report.publish()


def _plain_configuration(image: str, run: str) -> dict[str, dict[str, Any]]:
    return {
        "JupyterHub": {"spawner_class": "dockerspawner.DockerSpawner"},
        "Spawner": {"default_url": "/lab", "http_timeout": 120, "start_timeout": 120},
        "DockerSpawner": {
            "image": image,
            "pull_policy": "never",
            "remove": True,
            "use_internal_ip": True,
            "network_name": "bridge",
            "cpu_limit": _CPUS,
            "mem_limit": _MEMORY,
            "prefix": run,
            "volumes": {f"{run}-{{username}}": "/home/jovyan"},
            "extra_create_kwargs": {"labels": {"bench": run}},
        },
    }


def _remove_volumes(engine: DockerEngine, marks: Sequence[str]) -> None:
    """Remove the homes of this run's users."""
    for volume in engine.client.volumes.list():
        if any(mark in volume.name for mark in marks):
            volume.remove()


def _table(ours: _Side, plain: _Side) -> Table:
    rows = {
        "start until ready": (ours.starts_s, plain.starts_s),
        "… of it until the container runs": (ours.until_runs_s, plain.until_runs_s),
        "stop": (ours.stops_s, plain.stops_s),
    }
    return Table(
        ("seconds, median (min–max)", "Springtide", "plain DockerSpawner", "ratio"),
        [(title, spread(one), spread(other), ratio(one, other)) for title, (one, other) in rows.items()],
    )


def _seconds_of(timestamp: str) -> float:
    """Return Docker's time (RFC 3339 in UTC, with nanoseconds) as seconds since the epoch."""
    whole, fraction = re.fullmatch(r"([^.Z]+)(\.\d+)?Z", timestamp).groups()  # type: ignore[union-attr]
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(fraction or 0)
