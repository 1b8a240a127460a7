"""``springtide cancel``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.cli.sites import caller
from springtide.ledger.place import ledger_path
from springtide.ledger.records import JobRecord
from springtide.ledger.store import Ledger
from tests.cli.sites import local_command_line, local_site
from tests.support.command_line import CommandLine
from tests.support.local_queue import LocalSite


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalSite]:
    with local_site(tmp_path, monkeypatch) as site:
        yield site


@pytest.fixture
def springtide(site: LocalSite) -> CommandLine:
    return local_command_line(site.folder)


async def test_jobs_are_ended_and_those_that_were_over_are_said(springtide: CommandLine, site: LocalSite) -> None:
    ended = springtide.submit("exit 3")
    await site.ended(ended)
    held, running = springtide.submit("true", "#PBS -h"), springtide.submit("sleep 60")
    await site.running(running)
    answer = springtide("cancel", held, running, ended)
    assert answer.status == 0
    assert answer.output.splitlines()[:2] == [f"{held}: cancelled.", f"{running}: cancelled."]
    assert answer.output.splitlines()[2].startswith(f"{ended}: was already over.")
    job = await site.ended(running)
    assert job.cancelled_by
    (shown,) = springtide("status", running, "--json").json
    assert (shown["state"], shown["cause"]) == ("finished", "cancelled")


async def test_names_that_nobody_knows_keep_no_other_job_alive(springtide: CommandLine, site: LocalSite) -> None:
    running = springtide.submit("sleep 60")
    answer = springtide("cancel", "99", running, "nobody")
    assert answer.status == 1
    assert answer.output == f"{running}: cancelled.\n"
    assert "There is no job “99”." in answer.errors
    assert "There is no job “nobody”." in answer.errors
    await site.ended(running)


async def test_one_job_of_an_array_can_be_ended(springtide: CommandLine, site: LocalSite) -> None:
    springtide.submit("sleep 60", "#PBS -J 1-2")
    assert springtide("cancel", "1[1]").output == "1[1]: cancelled.\n"
    await site.ended("1[1]")
    assert (await site.queue.details(["1[2]"]))["1[2]"].state.alive


async def test_a_job_that_was_not_submitted_here_can_be_ended(springtide: CommandLine, site: LocalSite) -> None:
    job_id = site.submit("sleep 60")
    assert springtide("cancel", job_id, "--json").json[0]["id"] == job_id
    await site.ended(job_id)


def test_without_a_job_it_says_how_it_is_used(springtide: CommandLine) -> None:
    answer = springtide("cancel")
    assert answer.status == 2
    assert "Missing argument" in answer.errors


def test_a_wish_is_kept_while_the_scheduler_does_not_answer(tmp_path: Path) -> None:
    for program in ("sbatch", "squeue", "sinfo", "scancel"):
        (tmp_path / program).write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
        (tmp_path / program).chmod(0o755)
    lab = {"springtide": 1, "sites": {"c": {"kind": "slurm", "commands": str(tmp_path)}}}
    springtide = CommandLine(tmp_path, {**lab, "profiles": [{"name": "x", "site": "c"}]})
    user = caller().name
    with Ledger.open(ledger_path(tmp_path / "state")) as ledger:
        ledger.add_jobs([JobRecord("abc", "c", user, user, "x", "x-abc", job_id="5", state="running")])
    answer = springtide("cancel", "abc")
    assert (answer.status, answer.output) == (1, "")
    assert "Unable to contact slurm controller" in answer.errors
    with Ledger.open(ledger_path(tmp_path / "state")) as ledger:
        row = ledger.job("abc")
    assert row
    assert (row.cancelled_by, row.state) == (user, "running")
