"""Running commands: what they get, what is made of their end, and that none runs for ever."""

import asyncio
import os
import time

import pytest

from springtide.queues.commands import Answer, as_sentence, command_environment, run_command
from tests.support.processes import descendants


async def test_output_errors_and_status_are_kept_apart() -> None:
    answer = await run_command(["sh", "-c", "cat; echo e >&2; exit 3"], stdin=b"in")
    assert answer == Answer(3, "in", "e\n")


async def test_bytes_that_are_no_text_do_not_stop_the_reading() -> None:
    answer = await run_command(["printf", r"a\377b"])
    assert answer.output == "a�b"


async def test_a_command_that_is_missing_is_an_answer() -> None:
    answer = await run_command(["/no/such/squeue"])
    assert (answer.exit_status, answer.complaint) == (127, "/no/such/squeue: No such file or directory")


@pytest.mark.parametrize("command", ["exec sleep 60", "sleep 60; true", "sleep 60 & wait"])
async def test_a_command_that_takes_too_long_is_killed_with_its_children(command: str) -> None:
    begun = time.monotonic()
    answer = await run_command(["sh", "-c", command], timeout_s=0.3)
    assert (answer.exit_status, answer.complaint) == (124, "sh did not answer within 0 s")
    assert time.monotonic() - begun < 3
    assert not any("sleep 60" in one.command for one in descendants(os.getpid()))


async def test_a_child_that_escapes_is_not_waited_for() -> None:
    begun = time.monotonic()
    answer = await run_command(["sh", "-c", "setsid sleep 4 & wait"], timeout_s=0.3)
    assert answer.exit_status == 124
    assert time.monotonic() - begun < 3
    await asyncio.sleep(4)  # with its end, the last of the pipes is closed


async def test_a_command_whose_caller_gives_up_is_killed() -> None:
    task = asyncio.create_task(run_command(["sleep", "61"]))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any("sleep 61" in one.command for one in descendants(os.getpid()))


async def test_a_command_gets_only_what_finds_its_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    for name in ("LD_PRELOAD", "CONFIGPROXY_AUTH_TOKEN", "PYTHONPATH", "SLURM_FORMAT", "SQUEUE_FORMAT"):
        monkeypatch.setenv(name, "/x")
    shown = (await run_command(["env"])).output.splitlines()
    assert {line.partition("=")[0] for line in shown} <= {"SLURM_CONF", "HOME", "USER", "LOGNAME", "PATH", "LC_ALL"}
    assert {"SLURM_CONF=/etc/slurm.conf", "LC_ALL=C"} <= set(shown)
    assert command_environment()["PATH"] == "/usr/local/bin:/usr/bin:/bin"


async def test_a_queue_of_ones_own_is_named_to_ones_own_commands_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRINGTIDE_LOCAL_QUEUE", "/own")
    assert "SPRINGTIDE_LOCAL_QUEUE=/own" in (await run_command(["env"])).output
    other = {"user": os.getuid(), "group": os.getgid()}
    assert "/own" not in (await run_command(["env"], account=other)).output


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (Answer(1, "out\n", "err\n"), "err"),
        (Answer(1, "out\n", "\n"), "out"),
        (Answer(3, "", ""), "exit status 3"),
    ],
)
def test_the_complaint_is_the_best_there_is(answer: Answer, complaint: str) -> None:
    assert answer.complaint == complaint


def test_words_of_several_lines_become_one_sentence() -> None:
    assert as_sentence("Connection refused\nqstat: cannot connect\n") == "Connection refused; qstat: cannot connect."
    assert as_sentence("Try later.") == "Try later."
