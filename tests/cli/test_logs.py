"""``springtide logs``: what jobs wrote, and what they are writing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

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


async def test_what_a_job_wrote_and_that_it_complained_apart(springtide: CommandLine, site: LocalSite) -> None:
    job_id = springtide.submit("echo très bien; echo no >&2", "#PBS -N x")
    await site.ended(job_id)
    answer = springtide("logs", job_id)
    assert (answer.status, answer.output) == (0, "très bien\n")
    assert f"springtide logs --errors {job_id}" in answer.errors
    assert springtide("logs", job_id, "--errors").output == "no\n"
    told = springtide("logs", job_id, "--json").json
    assert (told["job"]["id"], told["text"]) == (job_id, "très bien\n")


async def test_a_job_without_directives_writes_to_one_file(springtide: CommandLine, site: LocalSite) -> None:
    job_id = springtide.submit("echo out; echo err >&2")
    await site.ended(job_id)
    assert springtide("logs", job_id).output == "out\nerr\n"
    assert springtide("logs", job_id, "--errors").output == "out\nerr\n"


def test_following_shows_lines_as_they_come_and_ends_with_the_job(springtide: CommandLine) -> None:
    job_id = springtide.submit("echo one; while [ ! -e go ]; do sleep 0.05; done; echo two; printf three")
    go = threading.Timer(0.6, (springtide.folder / "go").touch)
    go.start()
    begin = time.monotonic()
    answer = springtide("logs", "-f", job_id, "--json")
    go.join()
    assert time.monotonic() - begin < 10
    *pieces, last = [json.loads(line) for line in answer.output.splitlines()]
    assert "".join(piece["text"] for piece in pieces) == "one\ntwo\nthree"
    assert pieces[0]["text"] == "one\n", "it came before the end"
    assert last["job"]["state"] == "finished"


def test_following_a_job_that_is_over_shows_all_at_once(springtide: CommandLine) -> None:
    answer = springtide("submit", springtide.script("seq 1000"), "--folder", str(springtide.folder), "--wait")
    assert answer.status == 0
    assert springtide("logs", "-f", answer.output.strip()).output.splitlines() == [str(n) for n in range(1, 1001)]


async def test_each_job_of_an_array_has_a_log(springtide: CommandLine, site: LocalSite) -> None:
    array = springtide.submit("echo $PBS_ARRAY_INDEX", "#PBS -J 3-4")
    await site.ended(array)
    assert springtide("logs", "1[4]").output == "4\n"
    assert springtide("logs", "-f", "1[3]").output == "3\n"
    answer = springtide("logs", "1")
    assert answer.status == 1
    assert "files are there of: 3, 4." in answer.errors


def test_why_there_is_nothing_to_show(springtide: CommandLine, site: LocalSite) -> None:
    held = springtide.submit("true", "#PBS -h")
    foreign = site.submit("sleep 60")
    for name, words in (
        (held, f"The job {held} has not started yet (state: held)"),
        (foreign, f"The job {foreign} was not submitted with springtide"),
        ("99", "There is no job “99”."),
    ):
        answer = springtide("logs", name)
        assert (answer.status, answer.output) == (1, "")
        assert words in answer.errors


async def test_a_file_that_was_removed_is_said(springtide: CommandLine, site: LocalSite) -> None:
    job_id = springtide.submit("true")
    await site.ended(job_id)
    (output,) = springtide.folder.glob("job.sh-*.out")
    output.unlink()
    answer = springtide("logs", job_id)
    assert answer.status == 1
    assert f"There is no file {output}" in answer.errors
