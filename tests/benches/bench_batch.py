"""How long a session takes in a batch queue and what it asks of the scheduler: ours against plain batchspawner."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benches.commands import CountedCommands, counted_commands
from tests.benches.hubs import HubApi, api_of, in_turns, plain_hub
from tests.benches.report import QUICK, Report, Table, ratio, repetitions, spread
from tests.conftest import StartHub
from tests.e2e.labs import slurm_lab
from tests.support.accounts import TwoUsers
from tests.support.leaks import LeakCheck
from tests.support.slurm import CPUS_PER_NODE, NODES, Slurm
from tests.support.waiting import wait_until

_OPTIONS = {"profile": "batch", "cpus": 1, "memory": "512M", "walltime": "30m", "queue": "batch"}
_MANY = 4 if QUICK else 20
_RUNNING_S = 5 if QUICK else 60
_WAITING_S = 5 if QUICK else 30
_BIN = Path(sys.executable).parent
_TIMES_NOTE = """\
A Slurm cluster of two nodes on this machine; the same partition, account, cores, memory and Python on both sides; one
session at a time, n = {n} on each side, in turns. The times are those of the hub's API: from the request until
JupyterLab answers, and until the hub has forgotten the session. Plain is batchspawner 1.3.0's SlurmSpawner as it
comes (it asks twice a second while it waits, and runs its command through srun), with `setpriv` instead of its `sudo`,
as both hubs run as root here. The commands are those the hub runs: sbatch, squeue, scancel, scontrol, sinfo; srun
inside the job is not counted."""
_LOAD_NOTE = """\
Counted by wrappers around the scheduler's commands, over {waiting} s with all cores of the cluster taken, and over
{running} s for the running session. The single sessions of both sides wait and run at the same time, the {many}
waiting ones one side after the other. Ours is one command for all sessions together: every 3 s during the first two
minutes of a wait, as here, and as long as its page is open, else at most every 10 s. Plain is one for each session:
every half second (and what the command itself takes) while it waits, every 30 s once it runs. So with one or two
running sessions and none waiting, ours asks more often."""


@dataclass
class _Side:
    api: HubApi
    options: dict[str, Any]
    commands: CountedCommands
    starts_s: list[float] = field(default_factory=list)
    stops_s: list[float] = field(default_factory=list)
    start_calls: list[int] = field(default_factory=list)
    stop_calls: list[int] = field(default_factory=list)

    def measure(self, user: str) -> None:
        """Start and stop one session."""
        began, seconds = time.time(), self.api.start(user, self.options)
        self.starts_s.append(seconds)
        self.start_calls.append(self.commands.since(began).total())
        began, seconds = time.time(), self.api.stop(user)
        self.stops_s.append(seconds)
        self.stop_calls.append(self.commands.since(began).total())

    def calls_a_minute(self, began: float, seconds: float) -> float:
        return self.commands.since(began, began + seconds).total() * 60 / seconds


def bench_batch(
    nothing_left: LeakCheck, two_users: TwoUsers, slurm: Slurm, start_hub: StartHub, tmp_path: Path
) -> None:
    report = Report("batch")
    count = repetitions(5)
    with ExitStack() as stack:
        sides = _start_both(stack, slurm, start_hub, tmp_path)
        for side in sides.values():
            for user in (two_users.alice, two_users.bob):
                side.api.add_user(user.name)
            side.api.start(two_users.alice.name, side.options)
            side.api.stop(two_users.alice.name)
        for number in range(count):
            for name in in_turns(number, tuple(sides)):
                sides[name].measure(two_users.alice.name)
        loads = [_running(sides, two_users)]
        with _full_cluster(slurm, two_users):
            loads += [_waiting(sides, slurm, two_users, 1), _waiting_in_turns(sides, slurm, two_users)]
    report.add(_times_table(sides["ours"], sides["plain"]))
    report.add(_TIMES_NOTE.format(n=count))
    report.add(_loads_table(loads))
    report.add(_LOAD_NOTE.format(waiting=_WAITING_S, running=_RUNNING_S, many=_MANY))
    report.publish()


def _start_both(stack: ExitStack, slurm: Slurm, start_hub: StartHub, folder: Path) -> dict[str, _Side]:
    ours, plain = (stack.enter_context(counted_commands(slurm.commands)) for _ in range(2))
    hub = start_hub(slurm_lab(commands=str(ours.folder)), environment=slurm.environment)
    stack.callback(hub.stop)
    stack.callback(slurm.cancel_all)
    configuration = _plain_configuration(plain.folder)
    other = stack.enter_context(plain_hub(folder / "plain", configuration, environment=slurm.environment))
    return {"ours": _Side(api_of(hub), _OPTIONS, ours), "plain": _Side(other.api, {}, plain)}


def _plain_configuration(commands: Path) -> dict[str, dict[str, Any]]:
    return {
        "JupyterHub": {"spawner_class": "batchspawner.SlurmSpawner"},
        "Spawner": {
            "default_url": "/lab",
            "cmd": [str(_BIN / "jupyterhub-singleuser")],
            "env_keep": ["PATH", "SLURM_CONF"],
            "http_timeout": 120,
        },
        "SlurmSpawner": {
            "exec_prefix": "setpriv --reuid={username} --regid={username} --init-groups",
            "batch_submit_cmd": f"{commands}/sbatch --parsable",
            "batch_query_cmd": f"{commands}/squeue -h -j {{job_id}} -o '%T %B'",
            "batch_cancel_cmd": f"{commands}/scancel {{job_id}}",
            "batchspawner_singleuser_cmd": str(_BIN / "batchspawner-singleuser"),
            "req_partition": "batch",
            "req_memory": "512M",
            "req_nprocs": "1",
            "req_runtime": "30",
        },
    }


Load = tuple[str, int, float, float]
"""What was watched, how many sessions, and the commands a minute of ours and of plain."""


def _running(sides: dict[str, _Side], users: TwoUsers) -> Load:
    """Count while each side has one running session that nobody uses."""
    for side in sides.values():
        side.api.start(users.alice.name, side.options)
    load = _watch(sides, "running", 1, _RUNNING_S)
    for side in sides.values():
        side.api.stop(users.alice.name)
    return load


def _waiting(sides: dict[str, _Side], slurm: Slurm, users: TwoUsers, count: int) -> Load:
    """Count while `count` sessions of each of `sides` wait in the queue."""
    names = [(users.alice if number % 2 == 0 else users.bob).name for number in range(count)]
    with ThreadPoolExecutor(count * len(sides)) as pool:
        requests = [
            pool.submit(side.api.request_start, user, side.options, f"session-{number}")
            for side in sides.values()
            for number, user in enumerate(names)
        ]
        wait_until(lambda: len(_pending(slurm)) == len(requests), 60, "all sessions wait", interval=0.5)
        load = _watch(sides, "waiting", count, _WAITING_S)
        slurm.run(["scancel", *_pending(slurm)])
        # What the hubs make of sessions whose jobs were cancelled is not what is measured.
        for request in requests:
            request.exception()
    for side in sides.values():
        wait_until(lambda api=side.api: not api.has_sessions(), 60, "no session is left", interval=0.5)  # type: ignore[misc]
    return load


def _waiting_in_turns(sides: dict[str, _Side], slurm: Slurm, users: TwoUsers) -> Load:
    ours = _waiting({"ours": sides["ours"]}, slurm, users, _MANY)
    plain = _waiting({"plain": sides["plain"]}, slurm, users, _MANY)
    return ("waiting", _MANY, ours[2], plain[3])


def _watch(sides: dict[str, _Side], what: str, count: int, seconds: float) -> Load:
    began = time.time()
    time.sleep(seconds)
    calls = {name: side.calls_a_minute(began, seconds) for name, side in sides.items()}
    return (what, count, calls.get("ours", 0.0), calls.get("plain", 0.0))


@contextmanager
def _full_cluster(slurm: Slurm, users: TwoUsers) -> Iterator[None]:
    """Take all cores of the cluster."""
    command = ["sbatch", "--parsable", f"-c{CPUS_PER_NODE}", "--mem=1M", "--wrap", "sleep 600"]
    jobs = [slurm.run(command, users.bob).stdout.strip() for _ in NODES]
    for job in jobs:
        slurm.wait_for(job, "RUNNING")
    yield
    slurm.run(["scancel", *jobs])


def _pending(slurm: Slurm) -> list[str]:
    return [job.id for job in slurm.jobs() if job.state == "PENDING"]


def _times_table(ours: _Side, plain: _Side) -> Table:
    def row(title: str, one: Sequence[float], other: Sequence[float], digits: int = 2) -> tuple[str, ...]:
        return title, spread(one, digits), spread(other, digits), ratio(one, other)

    return Table(
        ("median (min–max)", "Springtide", "plain SlurmSpawner", "ratio"),
        [
            row("start until ready, s", ours.starts_s, plain.starts_s),
            row("stop, s", ours.stops_s, plain.stops_s),
            row("scheduler commands to start", ours.start_calls, plain.start_calls, 0),
            row("scheduler commands to stop", ours.stop_calls, plain.stop_calls, 0),
        ],
    )


def _loads_table(loads: Sequence[Load]) -> Table:
    rows = [
        (
            f"{count} {what}",
            *(f"{calls:.0f}" for calls in (ours, plain)),
            *(f"{calls / count:.1f}" for calls in (ours, plain)),
            f"{ours / plain:.2f}" if plain else "–",
        )
        for what, count, ours, plain in loads
    ]
    return Table(
        (
            "sessions",
            "Springtide, commands a minute",
            "plain, commands a minute",
            "Springtide, per session and minute",
            "plain, per session and minute",
            "ratio",
        ),
        rows,
    )
