"""Builds with BuildKit, where the ``docker`` command has its plug-in buildx; elsewhere the older builder does it.

Both take the same folder and give the same image. What is said of a build is the same too: the plain progress of buildx
is turned into the older builder's messages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from springtide.environments.recipe import Step
from springtide.errors import EnvironmentsError

BUILDER_VARIABLE = "SPRINGTIDE_BUILDER"
"""``buildkit`` or ``engine`` decides; otherwise BuildKit is taken where it is."""
_BUILDERS = ("buildkit", "engine")
_ASKING_S = 20
# BuildKit numbers these only; the older builder numbers all.
_NUMBERED = ("FROM", "RUN", "COPY", "ADD", "WORKDIR")
_LINE = re.compile(r"#\d+ (?:\[(?:[\w.-]+ )?(?P<number>\d+)/\d+\] |(?P<time>[\d.]+) (?P<said>.*)|ERROR: (?P<error>.*))")
_LAST_ERROR = re.compile(r"ERROR: (?:failed to solve: )?(?P<error>.*)")


def is_chosen() -> bool:
    """Say whether images are built with BuildKit here.

    Raises
    ------
    EnvironmentsError
        If the variable names no builder, or BuildKit and it is not here.
    """
    wanted = os.environ.get(BUILDER_VARIABLE, "")
    if wanted not in ("", *_BUILDERS):
        raise EnvironmentsError(f"{BUILDER_VARIABLE} is “{wanted}”.", f"It may be {' or '.join(_BUILDERS)}.")
    if wanted == "engine":
        return False
    found = _has_buildx()
    if wanted and not found:
        raise EnvironmentsError(
            f"{BUILDER_VARIABLE} asks for BuildKit, and “docker buildx” is not here.",
            "apt install docker-buildx (Debian 13; or docker-buildx-plugin of Docker's own packages).",
        )
    return found


def _has_buildx() -> bool:
    program = shutil.which("docker")
    if not program:
        return False
    try:
        answer = subprocess.run([program, "buildx", "version"], capture_output=True, timeout=_ASKING_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def build(
    context: IO[bytes], image: str, arguments: Mapping[str, str], steps: Sequence[Step]
) -> Iterator[dict[str, Any]]:
    """Build `image` and yield messages as the engine's older builder gives them.

    Parameters
    ----------
    context : file
        The folder's files as a tar archive.
    image : str
        What it will be called.
    arguments : mapping
        Build arguments. Their values stand in the environment of the builder, not in its command line.
    steps : sequence of Step
        The Dockerfile's instructions, to number them as the older builder does.
    """
    command = ["docker", "buildx", "build", "--builder=default", "--load", "--progress=plain", f"--tag={image}"]
    command += [f"--build-arg={name}" for name in arguments]
    with subprocess.Popen(
        [*command, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **arguments},
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        feeder = threading.Thread(target=_feed, args=(context, process.stdin), daemon=True)
        feeder.start()
        reader = _Reader(steps)
        try:
            for line in process.stderr:
                yield from reader.read(line.decode(errors="replace").rstrip())
        except GeneratorExit:
            process.terminate()  # nobody listens any more
            raise
        feeder.join()
    if process.returncode != 0:
        yield {"error": reader.error or f"docker buildx ended with {process.returncode}"}


def _feed(context: IO[bytes], standard_input: IO[bytes]) -> None:
    try:
        with standard_input:
            shutil.copyfileobj(context, standard_input)
    except BrokenPipeError:
        pass  # it ended before it had read all, and says why itself


class _Reader:
    """Turns lines of buildx into messages of the older builder."""

    def __init__(self, steps: Sequence[Step]) -> None:
        kinds = [step.instruction.split(maxsplit=1)[0].upper() for step in steps]
        self._numbers = [index for index, kind in enumerate(kinds, 1) if kind in _NUMBERED]
        self._all = len(steps)
        self._step = 0
        self.error = ""

    def read(self, line: str) -> Iterator[dict[str, Any]]:
        """Yield what `line` says."""
        if last := _LAST_ERROR.match(line):
            self.error = self.error or last["error"]
        if not (match := _LINE.match(line)):
            return
        if match["number"]:
            yield from self._at(int(match["number"]))
        elif match["said"]:
            yield {"stream": match["said"]}
        elif match["error"]:
            self.error = match["error"]

    def _at(self, number: int) -> Iterator[dict[str, Any]]:
        # Which is said again each time it goes on; and stages of one Dockerfile are numbered apart.
        if number <= len(self._numbers) and self._numbers[number - 1] > self._step:
            self._step = self._numbers[number - 1]
            yield {"stream": f"Step {self._step}/{self._all} : "}
