"""Which scheduler a machine has is asked of the commands themselves."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from springtide.errors import QueueError
from springtide.lab.models import BatchSite, LocalSite
from springtide.queues.detect import dialect_of, find_scheduler, open_queue

PBS_PRO = {"qsub": "", "qstat": "case $1 in --version) echo 'pbs_version = 23.06.06';; esac"}
TORQUE = {"qsub": "", "qstat": "case $1 in --version) echo 'Version: 6.1.3' >&2;; esac"}
SLURM = {"sbatch": "", "squeue": "", "sinfo": ""}
# The wrappers of slurm-wlm-torque know no --version, and say which sbatch they would run.
QSTAT = "case $1 in --version) echo 'Unknown option: version' >&2; exit 2;; esac"
WRAPPERS = {"qsub": '[ $1 = --sbatchline ] && echo "/usr/bin/sbatch -o /dev/null"', "qstat": QSTAT}
STRANGERS = {"qsub": "exit 1", "qstat": QSTAT}
DOWN = "echo 'cannot connect to server head' >&2; exit 1"


def commands(folder: Path, *programs: dict[str, str]) -> Path:
    """Make a folder of programs, each a shell script."""
    folder.mkdir(exist_ok=True)
    for name, script in (pair for some in programs for pair in some.items()):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


def site(folder: Path | None = None, kind: str = "batch") -> BatchSite:
    values: dict[str, Any] = {"kind": kind, "commands": folder}
    return BatchSite.model_validate(values)


@pytest.mark.parametrize(
    ("programs", "dialect"),
    [
        ([PBS_PRO], "pbspro"),
        ([TORQUE], "torque"),
        ([SLURM], "slurm"),
        ([SLURM, WRAPPERS], "slurm"),
        ([SLURM, PBS_PRO], "pbspro"),
        ([WRAPPERS], "slurm-pbs"),
        ([STRANGERS], None),
        ([STRANGERS, SLURM], "slurm"),
        ([], None),
    ],
)
async def test_the_commands_say_whose_they_are(
    tmp_path: Path, programs: list[dict[str, str]], dialect: str | None
) -> None:
    assert await dialect_of(commands(tmp_path, *programs)) == dialect


async def test_a_file_that_cannot_be_run_is_no_command(tmp_path: Path) -> None:
    folder = commands(tmp_path, SLURM)
    (folder / "sbatch").chmod(0o644)
    assert await dialect_of(folder) is None


async def test_what_was_found_is_opened_as_its_dialect(tmp_path: Path) -> None:
    found = await find_scheduler(site(commands(tmp_path, SLURM)))
    assert (found.dialect, found.folder, found.answers) == ("slurm", tmp_path, True)
    queue = open_queue(found)
    assert (queue.dialect, queue.folder) == ("slurm", tmp_path)


@pytest.mark.parametrize("kind", ["slurm", "batch"])
async def test_a_slurm_site_may_have_only_its_pbs_commands(tmp_path: Path, kind: str) -> None:
    found = await find_scheduler(site(commands(tmp_path, WRAPPERS), kind))
    assert (found.dialect, found.answers) == ("slurm-pbs", True)
    assert open_queue(found).dialect == "slurm-pbs"


async def test_pbs_commands_of_slurm_are_no_torque(tmp_path: Path) -> None:
    with pytest.raises(QueueError):
        await find_scheduler(site(commands(tmp_path, WRAPPERS), "torque"))


async def test_the_local_queue_is_always_there() -> None:
    found = await find_scheduler(LocalSite(kind="local"))
    assert (found.dialect, found.answers, found.folder) == ("local", True, Path(sys.executable).parent)
    assert open_queue(found).dialect == "local"


async def test_a_scheduler_that_is_down_is_found_with_its_words(tmp_path: Path) -> None:
    qstat = {"qstat": f"{PBS_PRO['qstat']}\n[ $1 = --version ] || {{ {DOWN}; }}"}
    found = await find_scheduler(site(commands(tmp_path, PBS_PRO, qstat), "pbspro"))
    assert (found.dialect, found.answers) == ("pbspro", False)
    assert "cannot connect" in found.words


async def test_one_that_answers_comes_before_one_that_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    down = commands(tmp_path / "down", SLURM, {"sinfo": DOWN})
    up = commands(tmp_path / "up", SLURM)
    monkeypatch.setenv("PATH", f"{down}:{up}:{os.environ['PATH']}")
    found = await find_scheduler(site(kind="slurm"))
    assert (found.folder, found.answers) == (up, True)


async def test_another_kind_than_the_sites_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(QueueError, match=f"No batch commands of pbspro were found in {tmp_path}"):
        await find_scheduler(site(commands(tmp_path, SLURM), "pbspro"))


async def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(QueueError, match="No batch commands of pbspro or torque or slurm were found") as caught:
        await find_scheduler(site(tmp_path))
    assert "qsub and qstat; sbatch and squeue" in caught.value.message
    assert "commands" in caught.value.hint
