"""Command lines of labs with one site, for the tests of the commands about jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import local_queue
from tests.support.command_line import CommandLine
from tests.support.slurm import Slurm


@contextmanager
def local_site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[local_queue.LocalSite]:
    """Have ``springtide`` use a queue of this machine that lives in `folder`."""
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    _look_often(monkeypatch)
    # Where a script says nothing, its output comes to where it was submitted.
    monkeypatch.chdir(folder)
    with local_queue.local_site(folder) as site:
        monkeypatch.setattr("springtide.queues.opening.commands_folder", lambda: site.bin)
        yield site


def local_command_line(folder: Path) -> CommandLine:
    return CommandLine(folder, _lab("machine", kind="local", runtime="host"))


def slurm_command_line(folder: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """Return the command line of a lab with a Slurm cluster."""
    _look_often(monkeypatch)
    monkeypatch.chdir(folder)
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    return CommandLine(folder, _lab("cluster", kind="slurm", commands=str(slurm.commands)))


def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask more often than a scheduler that others use too should be asked."""
    monkeypatch.setattr("springtide.queues.opening._INTERVALS_S", {"local": 0.1, "slurm": 0.3})
    monkeypatch.setattr("springtide.queues.following._FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr("springtide.cli.logs._LOOK_S", 0.06)


def _lab(site: str, **description: Any) -> dict[str, Any]:
    return {"springtide": 1, "sites": {site: description}, "profiles": [{"name": "x", "site": site}]}
