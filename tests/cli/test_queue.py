"""``springtide queue``: what runs, what waits and why, what is free."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.sites import local_command_line, local_site, slurm_command_line
from tests.support.command_line import CommandLine
from tests.support.hub import SPRINGTIDE
from tests.support.local_queue import LocalSite
from tests.support.slurm import Slurm
from tests.support.waiting import wait_until


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalSite]:
    with local_site(tmp_path, monkeypatch) as site:
        yield site


@pytest.fixture
def springtide(site: LocalSite) -> CommandLine:
    return local_command_line(site.folder)


@pytest.fixture
def on_slurm(tmp_path: Path, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    yield slurm_command_line(tmp_path, slurm, monkeypatch)
    slurm.cancel_all()


async def test_what_runs_comes_first_then_what_waits_and_why(springtide: CommandLine, site: LocalSite) -> None:
    first = springtide.submit("sleep 60", "#PBS -N first -l ncpus=2")
    await site.running(first)
    springtide.submit("sleep 60", "#PBS -N second -l ncpus=1")
    site.submit("sleep 60", name="foreign")
    answer = springtide("queue")
    assert [row["name"] for row in answer.rows] == ["first", "second", "foreign"]
    assert [row["state"] for row in answer.rows] == ["running", "queued", "queued"]
    assert answer.rows[0]["reason"] == ""
    assert answer.rows[1]["reason"]
    nodes = answer.output.partition("\n\n")[2].splitlines()
    assert nodes[0].split("\t") == ["node", "state", "free_cores", "free_memory"]
    assert nodes[1].split("\t")[2] == "0/2"


def test_json_has_jobs_nodes_and_queues(springtide: CommandLine) -> None:
    springtide.submit("sleep 60", "#PBS -N long")
    told = springtide("queue", "--json", "--all").json
    assert (told["site"], told["dialect"]) == ("machine", "local")
    assert [job["name"] for job in told["jobs"]] == ["long"]
    assert (told["nodes"][0]["cores"], told["queues"][0]["name"]) == (2, "local")


def test_the_jobs_of_others_are_shown_on_demand(on_slurm: CommandLine, slurm: Slurm) -> None:
    on_slurm.submit("sleep 60", "#SBATCH -J mine -c 4 -N 2")
    answer = on_slurm("queue", "cluster", "--all")
    assert [row["name"] for row in answer.rows] == ["mine"]
    assert {row["user"] for row in answer.rows} == {subprocess.getoutput("id -un")}


def test_a_scheduler_that_does_not_answer_is_said(tmp_path: Path) -> None:
    for program in ("sbatch", "squeue", "sinfo"):
        (tmp_path / program).write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
        (tmp_path / program).chmod(0o755)
    lab = {"springtide": 1, "sites": {"c": {"kind": "slurm", "commands": str(tmp_path)}}}
    springtide = CommandLine(tmp_path, {**lab, "profiles": [{"name": "x", "site": "c"}]})
    answer = springtide("queue")
    assert (answer.status, answer.output) == (1, "")
    assert "The scheduler of c (slurm, commands in" in answer.errors
    assert "Unable to contact slurm controller" in answer.errors
    assert "--site local" in answer.errors


def test_commands_that_are_missing_are_said(tmp_path: Path) -> None:
    lab = {"springtide": 1, "sites": {"c": {"kind": "slurm", "commands": str(tmp_path)}}}
    springtide = CommandLine(tmp_path, {**lab, "profiles": [{"name": "x", "site": "c"}]})
    answer = springtide("queue", "c")
    assert answer.status == 1
    assert "No batch commands of slurm" in answer.errors
    assert "“commands” in the lab file" in answer.errors


def test_without_a_batch_site_it_is_this_machine(springtide: CommandLine, tmp_path: Path) -> None:
    sites = {"cluster": {"kind": "slurm", "commands": str(tmp_path), "optional": True}, **springtide.lab["sites"]}
    lab = CommandLine(tmp_path, {**springtide.lab, "sites": sites})
    assert lab("queue", "--json").json["site"] == "machine"


def test_on_a_terminal_it_stays_and_ends_with_ctrl_c(on_slurm: CommandLine) -> None:
    on_slurm.submit("sleep 60", "#SBATCH -J mine")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "LANG": "fr_FR.UTF-8", "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    environment.pop("LC_ALL", None)
    command = [str(SPRINGTIDE), "queue", *on_slurm.options]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = b""

    def is_there() -> bool:
        nonlocal shown
        with contextlib.suppress(OSError):
            shown += os.read(ours, 65536)
        return b"Ctrl-C pour finir" in shown

    try:
        wait_until(is_there, 20, "the table is shown", interval=0.1)
        process.send_signal(signal.SIGINT)
        # Read on: one that writes to a full terminal cannot end.
        wait_until(lambda: is_there() and process.poll() is not None, 20, "it has ended", interval=0.1)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).startswith("cluster (slurm) : ")
    assert "mine" in shown.decode()
