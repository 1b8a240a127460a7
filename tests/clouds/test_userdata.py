"""The first script of a worker's machine."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from springtide.clouds.userdata import WorkerOptions, worker_script
from springtide.errors import CloudRefused
from tests.support.dask_keys import fresh_security, worker_options

SCHEDULER = "tls://10.78.0.1:8786"


@pytest.fixture(scope="module")
def options() -> WorkerOptions:
    return worker_options(fresh_security(), SCHEDULER, "cloud-0", idle_s=300.0)


def test_the_script_is_correct_shell_and_shows_no_key(options: WorkerOptions) -> None:
    script = worker_script(options)
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    assert script.startswith("#!/bin/sh\n")
    assert options.key in script
    assert "BEGIN" not in repr(options)
    command = next(line for line in script.splitlines() if "dask_worker" in line)
    assert "--name cloud-0" in command
    assert "--tls-key worker.key" in command
    assert "--lifetime 240s --death-timeout 30s" in command


def test_what_is_not_idle_watched_has_no_watch(options: WorkerOptions) -> None:
    assert "idle_watch" not in worker_script(replace(options, idle_s=0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scheduler": "tcp://10.78.0.1:8786"}, "no address of a scheduler"),
        ({"scheduler": "tls://"}, "no address of a scheduler"),
        ({"key": "-----BEGIN KEY-----\nSPRINGTIDE_END\nreboot\n"}, "The worker's key is not PEM"),
        ({"authority": "nothing"}, "The authority's certificate is not PEM"),
        ({"variables": {"A B": "1"}}, "no name of a variable"),
        ({"variables": {"A": "x" * 50_000}}, "Clouds take 49000"),
    ],
)
def test_what_cannot_stand_in_a_script_is_refused(
    options: WorkerOptions, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(CloudRefused, match=words):
        worker_script(replace(options, **changes))  # type: ignore[arg-type]


def test_values_are_never_read_by_the_shell(options: WorkerOptions) -> None:
    nasty = "a'b $(reboot) `reboot` \\ \" ;"
    script = worker_script(replace(options, name=nasty, variables={"NASTY": nasty}, options=(nasty,)))
    line = next(line for line in script.splitlines() if line.startswith("export NASTY"))
    shown = subprocess.run(["sh", "-c", f'{line}; printf %s "$NASTY"'], capture_output=True, text=True, check=True)
    assert shown.stdout == nasty
