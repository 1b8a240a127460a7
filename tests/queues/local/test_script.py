"""The local queue's directives, and what its command says to bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.errors import QueueError, ScriptError, SubmitRefused
from springtide.queues.commands import run_command
from springtide.queues.local.machine import SPOOL_VARIABLE, Settings, Spool, find_spool
from springtide.queues.local.private import private_queue
from springtide.queues.local.queue import LocalQueue
from springtide.queues.local.script import fitted, read_script
from springtide.queues.model import After, Dependency, JobArray, JobRequest

QUEUE = LocalQueue(Path("/nowhere"), run_command)
SETTINGS = Settings(cores=2, memory_bytes=2**30, walltime_s=7200, default_walltime_s=3600)


def run(*arguments: str, stdin: bytes = b"", spool: Path) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", "springtide.queues.local.program", *arguments]
    return subprocess.run(argv, input=stdin, capture_output=True, env={SPOOL_VARIABLE: str(spool)}, check=False)


def test_a_request_comes_through_the_script_unchanged() -> None:
    request = JobRequest(
        body="#SPRINGTIDE is only looked for above\necho $PBS_JOBID",
        name="LISACode é ' \" $(x)",
        cores=2,
        memory_bytes=123_456_789,
        walltime_s=3723,
        ranks=4,
        array=JobArray(0, 10, 5, 2),
        dependencies=(Dependency(After.OK, ("7", "8[]")), Dependency(After.START, ("9[3]",))),
        rerunnable=True,
        held=True,
        start_after=1795475915.25,
        output="/tmp/a folder/out",
        errors="/tmp/err",
    )
    body = "true\n" + request.body
    script = read_script(QUEUE.script(JobRequest(**{**vars(request), "body": body})).encode())
    for name in ("name", "cores", "memory_bytes", "walltime_s", "ranks", "array", "rerunnable", "held"):
        assert getattr(script, name) == getattr(request, name)
    assert (script.after, script.start_after) == (request.dependencies, request.start_after)
    assert (script.output, script.errors) == (request.output, request.errors)
    assert script.interpreter == ("/bin/bash", "-l")


@given(st.text(min_size=1, max_size=200))
def test_any_name_comes_through_or_is_refused(name: str) -> None:
    try:
        script = QUEUE.script(JobRequest("exit 0", name))
        assert read_script(script.encode()).name == name
    except ScriptError:
        assert not name.isprintable() or not name.strip()


@pytest.mark.parametrize("text", ["evil\n#SPRINGTIDE cores=400", "a\rb", "a\0b", "a\x1bb"])
def test_a_line_break_smuggles_no_directive_in(text: str) -> None:
    with pytest.raises(ScriptError, match="line breaks"):
        QUEUE.script(JobRequest("exit 0", text))
    with pytest.raises(ScriptError, match="line breaks"):
        QUEUE.script(JobRequest("exit 0", "name", output=f"/tmp/{text}"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cores=0", "a whole number, 1 or more"),
        ("cores=-1", "a whole number"),
        ("cores=two", "a whole number"),
        ("cores=1e3", "a whole number"),
        ("cores=٣", "a whole number"),
        ("memory=12parsecs", "a number with a unit"),
        ("memory=-1G", "a number with a unit"),
        ("walltime=0", "a duration"),
        ("walltime=-1", "a duration"),
        ("array=5-1", "1 to 10000 jobs"),
        ("array=1-99999", "1 to 10000 jobs"),
        ("array=1-5:0", "1 to 10000 jobs"),
        ("array=1,2", "FIRST-LAST"),
        ("after=ok", "job ids"),
        ("after=soon:7", "ok, failure, any or start"),
        ("after=ok:7;rm", "job ids"),
        ("held=maybe", "yes or no"),
        ("start_after=tomorrow", "seconds since 1970"),
        ("name=", "1 to 200 characters"),
        ("name=" + "x" * 201, "1 to 200 characters"),
        ("queue=batch", "the only queue is local"),
        ("output=", "it is empty"),
        ("colour=red", "is not understood"),
        ("cores", "is not understood"),
        ("cores =1", "is not understood"),
    ],
)
def test_a_directive_that_is_not_understood_names_its_line(line: str, words: str) -> None:
    with pytest.raises(ScriptError, match=f"line 3: .*{words}") as refused:
        read_script(f"#!/bin/sh\n# a comment\n#SPRINGTIDE {line}\nexit 0\n".encode())
    assert "Traceback" not in str(refused.value)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"#!/bin/sh\r\nexit 0\r\n", "Windows line ends"),
        (b"#!/bin/sh\n\0", "NUL"),
        (b"#!/bin/sh\n\xff", "UTF-8"),
        (b"#!/no/such/shell\nexit 0", "names no program"),
        (b"#!bash\nexit 0", "names no program"),
        (b"#!'\nexit 0", "names no program"),
        (b"#!/bin/sh\n" + b"x" * 2**20, "larger than 1M"),
    ],
)
def test_what_is_no_script_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(ScriptError, match=words):
        read_script(raw)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["cores=400"], "asks for 400 cores; this machine has 2"),
        (["memory=8G"], "asks for 8G of memory; this machine has 1G"),
        (["walltime=3h"], "asks for a walltime of 03:00:00; the queue allows 02:00:00"),
        (["nodes=2"], "asks for 2 nodes; this machine is one"),
        (["gpus=1"], "asks for 1 gpus; this machine gives out none"),
    ],
)
def test_more_than_the_machine_has_is_refused(lines: list[str], words: str) -> None:
    script = "\n".join(["#!/bin/sh", *(f"#SPRINGTIDE {line}" for line in lines), "exit 0"])
    with pytest.raises(SubmitRefused, match=words):
        fitted(read_script(script.encode()), SETTINGS)


def test_what_a_job_does_not_ask_for_it_gets_by_its_cores() -> None:
    job = fitted(read_script(b"#!/bin/sh\n#SPRINGTIDE cores=1\n"), SETTINGS)
    assert (job.memory_bytes, job.walltime_s) == (2**29, 3600)


def test_directives_end_at_the_first_command_and_the_last_one_counts() -> None:
    raw = b"#!/bin/sh\n#SPRINGTIDE cores=1\n\n#SPRINGTIDE cores=2\ntrue\n#SPRINGTIDE cores=400\n"
    assert read_script(raw).cores == 2


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "words"),
    [
        (["submit"], b"#!/bin/sh\n#SPRINGTIDE cores=x\n", 2, b"line 2: cores"),
        (["submit"], b"#!/bin/sh\n#SPRINGTIDE cores=999999\n", 1, b"asks for 999999 cores"),
        (["submit"], b"#!/bin/sh\n#SPRINGTIDE output=/no/such/folder/out\n", 1, b"/no/such/folder"),
        (["submit"], b"#!/bin/sh\n#SPRINGTIDE output=/tmp\n", 1, b"cannot be written"),
        (["submit"], b"#!/bin/sh\n#SPRINGTIDE after=ok:99\n", 1, b"Unknown job 99"),
        (["cancel", "99"], b"", 1, b"Unknown job 99"),
        (["cancel", "x;rm"], b"", 2, b"is not a job id"),
        (["cancel", "1.server"], b"", 2, b"is not a job id"),
        (["cancel"], b"", 2, b"required"),
        (["hold", "7[]"], b"", 1, b"Unknown job 7[]"),
        (["list", "7"], b"", 1, b"Unknown job 7"),
        (["dance"], b"", 2, b"invalid choice"),
        ([], b"", 2, b"required"),
        (["forecast", "--cores", "-3"], b"", 2, b"a whole number above 0"),
        (["forecast", "--memory", "red"], b"", 2, b"memory"),
    ],
)
def test_bad_input_is_told_and_changes_nothing(
    arguments: list[str], stdin: bytes, status: int, words: bytes, tmp_path: Path
) -> None:
    answer = run(*arguments, stdin=stdin, spool=tmp_path / "queue")
    assert (answer.returncode, answer.stdout) == (status, b"")
    assert words in answer.stderr
    assert b"Traceback" not in answer.stderr
    assert json.loads(run("list", "--json", spool=tmp_path / "queue").stdout) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "may only hold"),
        ('{"cors": 2}', "may only hold"),
        ('{"cores": 0}', "0 is not a whole number"),
        ('{"cores": true}', "True is not a whole number"),
        ('{"memory": "much"}', "a number with a unit"),
        ('{"idle_s": "x"}', "is not a number of seconds"),
    ],
)
def test_settings_that_are_not_understood_are_told(settings: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(settings)
    with pytest.raises(QueueError, match=words):
        Spool(tmp_path).settings()


def test_the_queue_lies_in_the_home_of_the_account_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(SPOOL_VARIABLE, raising=False)
    found = find_spool()
    monkeypatch.setenv("HOME", "/elsewhere")
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")
    assert find_spool() == found
    monkeypatch.setenv(SPOOL_VARIABLE, "relative")
    with pytest.raises(QueueError, match="absolute path"):
        find_spool()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = run("submit", stdin=b"#!/bin/sh\n", spool=tmp_path / "file" / "queue")
    assert (answer.returncode, b"cannot be made" in answer.stderr) == (1, True)


async def test_a_private_queue_is_apart_from_the_accounts_own(tmp_path: Path) -> None:
    queue = private_queue(tmp_path / "own", cores=1, memory="100M", idle_s=0.2)
    (node,) = await queue.nodes()
    assert (node.cores, node.memory_bytes) == (1, 100 * 2**20)
    assert await private_queue(tmp_path / "own", cores=1).snapshot() == {}


def test_a_private_queue_says_what_it_cannot_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QueueError, match="may only hold: cores, memory"):
        private_queue(tmp_path, coers=1)
    # A folder that is mounted noexec; only root could mount one.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(QueueError, match="mounted noexec"):
        private_queue(tmp_path, cores=1)
