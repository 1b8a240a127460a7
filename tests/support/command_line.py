"""The ``springtide`` command, called in this process as a person would call it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from springtide.cli.main import main


@dataclass(frozen=True)
class Answer:
    """How a command ended, and what it printed."""

    status: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """The output, which is JSON."""
        return json.loads(self.output)

    @property
    def rows(self) -> list[dict[str, str]]:
        """The output, which is lines of values between tabs, up to the first empty one."""
        heading, *lines = [line.split("\t") for line in self.output.partition("\n\n")[0].splitlines()]
        return [dict(zip(heading, line, strict=True)) for line in lines]


@dataclass
class CommandLine:
    """A folder with a lab file, a ledger and scripts, in which commands are called."""

    folder: Path
    lab: Mapping[str, Any]

    def __post_init__(self) -> None:
        (self.folder / "lab.yaml").write_text(yaml.safe_dump(dict(self.lab)))

    @property
    def options(self) -> list[str]:
        return ["--lab", str(self.folder / "lab.yaml"), "--state", str(self.folder / "state")]

    def __call__(self, command: str, *arguments: str) -> Answer:
        # In a thread of its own: a test may have a running loop, and the command starts one.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._run, [command, *arguments, *self.options]).result()

    def _run(self, arguments: list[str]) -> Answer:
        output, errors = io.StringIO(), io.StringIO()
        status: object = 0
        with (
            mock.patch.object(sys, "argv", ["springtide", *arguments]),
            redirect_stdout(output),
            redirect_stderr(errors),
        ):
            try:
                main()
            except SystemExit as end:
                status = end.code or 0
        assert isinstance(status, int)
        return Answer(status, output.getvalue(), errors.getvalue())

    def script(self, body: str, *directives: str, name: str = "job.sh") -> str:
        """Write a script, and return its path."""
        file = self.folder / name
        file.write_text("\n".join(["#!/bin/sh", *directives, body, ""]))
        return str(file)

    def submit(self, body: str, *directives: str, options: tuple[str, ...] = ()) -> str:
        """Return the id of a job that runs `body`, submitted from here."""
        answer = self("submit", self.script(body, *directives), "--folder", str(self.folder), *options)
        assert answer.status == 0, answer.errors
        return answer.output.strip()
