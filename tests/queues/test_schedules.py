"""Random schedules of all faults, on a real scheduler: zero orphans, zero forgotten jobs, none declared dead alive.

A few fixed seeds run each time. More: ``SPRINGTIDE_SCHEDULES=200 pytest tests/queues/test_schedules.py``; each failure
tells its seed and its story. On OpenPBS, ``SPRINGTIDE_OPENPBS_STOP`` and ``SPRINGTIDE_OPENPBS_START`` may name commands
that stop and start its server.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from springtide.queues.accounts import account_of
from tests.queues.schedules import PbsScheduler, Scheduler, SlurmScheduler, World
from tests.support.accounts import TwoUsers
from tests.support.openpbs import OpenPBS
from tests.support.slurm import Slurm

_STEPS = 12
_SEEDS = range(1, 1 + int(os.environ.get("SPRINGTIDE_SCHEDULES", "3")))


@pytest.mark.parametrize("seed", _SEEDS)
async def test_no_schedule_of_faults_loses_a_job_on_slurm(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    try:
        await _run(SlurmScheduler(slurm), tmp_path, monkeypatch, seed)
    finally:
        slurm.cancel_all()


@pytest.mark.parametrize("seed", _SEEDS)
async def test_no_schedule_of_faults_loses_a_job_on_openpbs(
    openpbs: OpenPBS, two_users: TwoUsers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    for folder in (*list(tmp_path.parents)[:2], tmp_path):
        folder.chmod(0o755)
    for name, value in openpbs.environment.items():
        monkeypatch.setenv(name, value)
    stop, start = _command("SPRINGTIDE_OPENPBS_STOP"), _command("SPRINGTIDE_OPENPBS_START")
    account = account_of(two_users.alice.name, "user")
    await _run(PbsScheduler(openpbs, account, stop, start), tmp_path, monkeypatch, seed)


async def _run(scheduler: Scheduler, folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    world = World(scheduler, folder, seed)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + world.clock_shift_s)
    for _ in range(_STEPS):
        await world.step()
    await world.finish()


def _command(variable: str) -> Callable[[], None] | None:
    command = os.environ.get(variable)
    return (lambda: _silently(shlex.split(command))) if command else None


def _silently(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
