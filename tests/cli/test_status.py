"""``springtide status``: what became of jobs, also while nobody can be asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.queues.local.queue import PROGRAM
from springtide.queues.views import STATES
from tests.cli.sites import local_command_line, local_site
from tests.support.command_line import CommandLine
from tests.support.local_queue import LocalSite

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalSite]:
    with local_site(tmp_path, monkeypatch) as site:
        yield site


@pytest.fixture
def springtide(site: LocalSite) -> CommandLine:
    return local_command_line(site.folder)


async def test_jobs_are_told_by_id_and_by_token_while_they_live_and_after(
    springtide: CommandLine, site: LocalSite
) -> None:
    running = springtide.submit("sleep 60", "#PBS -N long")
    ended = springtide.submit("exit 3", "#PBS -N short")
    await site.running(running)
    await site.ended(ended)
    long, short = springtide("status", running, ended, "--json").json
    assert (long["name"], long["state"], long["ended"]) == ("long", "running", None)
    assert (short["state"], short["exit_status"], short["cause"]) == ("finished", 3, "exit")
    assert all(TIME.fullmatch(short[name]) for name in ("submitted", "started", "ended"))
    assert springtide("status", long["token"], "--json").json[0]["id"] == running


async def test_without_names_it_is_all_that_is_open_or_lately_was(springtide: CommandLine, site: LocalSite) -> None:
    first = springtide.submit("true", "#PBS -N first")
    held = springtide.submit("true", "#PBS -N second -h")
    await site.ended(first)
    found = {row["name"]: (row["id"], row["state"]) for row in springtide("status").rows}
    assert found == {"first": (first, "finished"), "second": (held, "held")}
    assert {"finished", "held"} <= set(STATES)


def test_a_pipe_gets_lines_of_values_between_tabs(springtide: CommandLine) -> None:
    springtide.submit("sleep 60", "#PBS -N long")
    heading, line = springtide("status").output.splitlines()
    assert heading.split("\t")[:4] == ["id", "site", "name", "state"]
    assert line.count("\t") == heading.count("\t")


async def test_one_job_of_an_array_can_be_asked_about(springtide: CommandLine, site: LocalSite) -> None:
    array = springtide.submit("exit $((PBS_ARRAY_INDEX - 1))", "#PBS -J 1-2 -N sweep")
    await site.ended(array)
    whole, second = springtide("status", "1", "1[2]", "--json").json
    assert (whole["id"], whole["state"], whole["exit_status"]) == ("1[]", "finished", 1)
    assert (second["id"], second["name"], second["exit_status"]) == ("1[2]", "sweep", 1)


def test_a_job_that_was_not_submitted_here_is_told_too(springtide: CommandLine, site: LocalSite) -> None:
    job_id = site.submit("sleep 60", name="foreign")
    (job,) = springtide("status", job_id, "--json").json
    assert (job["name"], job["token"]) == ("foreign", None)


@pytest.mark.parametrize("name", ["99", "99[3]", "nobody", "99.server", "", "x y"])
def test_a_name_that_nobody_knows_is_exit_status_1(springtide: CommandLine, name: str) -> None:
    answer = springtide("status", name)
    assert (answer.status, answer.output) == (1, "")
    assert f"There is no job “{name}”." in answer.errors


async def test_while_nobody_can_be_asked_a_jobs_state_is_unknown_with_what_was_last(
    springtide: CommandLine, site: LocalSite
) -> None:
    running, ended = springtide.submit("sleep 60"), springtide.submit("true")
    await site.running(running)
    await site.ended(ended)
    springtide("status")
    program = site.bin / PROGRAM
    working = program.read_text()
    try:
        program.write_text("#!/bin/sh\necho 'database is locked' >&2; exit 75\n")
        answer = springtide("status", running, ended, "--json")
    finally:
        program.write_text(working)
    assert answer.status == 0
    assert [job["state"] for job in answer.json] == ["unknown", "finished"]
    assert re.search(r"\d+ s ago the job was: running", answer.json[0]["explanation"])
