"""Running a scheduler's commands without blocking, without leaking, and never for ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

ANSWER_WITHIN_S = 20.0
# First asked to end, as the launcher ends what it has started itself, then killed.
_ENDINGS = ((signal.SIGTERM, 0.3), (signal.SIGKILL, 1.0))
_OWN_QUEUE = "SPRINGTIDE_LOCAL_QUEUE"
# The only variables a scheduler's command gets: where its configuration is, and a fixed language for its words.
_KEPT_VARIABLES = ("PBS_CONF_FILE", "PBS_SERVER", "PBS_DEFAULT", "SLURM_CONF", "HOME", "USER", "LOGNAME", _OWN_QUEUE)


@dataclass(frozen=True)
class Answer:
    """What a command printed and how it ended."""

    exit_status: int
    output: str
    errors: str

    @property
    def complaint(self) -> str:
        """What to show a person when the command failed."""
        return self.errors.strip() or self.output.strip() or f"exit status {self.exit_status}"


Runner = Callable[[Sequence[str]], Awaitable[Answer]]


def command_environment() -> dict[str, str]:
    """Return the small environment that a scheduler's commands run in."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, "PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


async def run_command(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    account: Mapping[str, object] | None = None,
    timeout_s: float = ANSWER_WITHIN_S,
) -> Answer:
    """Return the answer of `argv`, killed and reported as exit status 124 when it takes longer than `timeout_s`.

    Parameters
    ----------
    account : mapping, optional
        ``user``, ``group`` and ``extra_groups`` for `subprocess.Popen`, to act as somebody else (root only).
    """
    variables = dict(environment if environment is not None else command_environment())
    if account:
        # The local queue of the account that asks is no other's.
        variables.pop(_OWN_QUEUE, None)
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=variables,
            cwd="/",
            start_new_session=True,
            **(account or {}),  # type: ignore[arg-type]  # the keywords of Popen have no common type
        )
    except OSError as error:
        return Answer(127, "", f"{argv[0]}: {error.strerror}")
    try:
        async with asyncio.timeout(timeout_s):
            output, errors = await process.communicate(stdin)
    except TimeoutError:
        await _end(process)
        return Answer(124, "", f"{argv[0]} did not answer within {timeout_s:.0f} s")
    except asyncio.CancelledError:
        await _end(process)
        raise
    return Answer(process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace"))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a command and its children, and wait a moment; those that sudo started as somebody else end later."""
    for number, seconds in _ENDINGS:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            # Not for ever: whoever still holds the command's output would be waited for, too.
            async with asyncio.timeout(seconds):
                await process.wait()


def as_sentence(words: str) -> str:
    """Return a scheduler's words as one line that ends like a sentence, for more to follow."""
    line = "; ".join(filter(None, (part.strip() for part in words.splitlines())))
    return line if not line or line.endswith((".", "!", "?", "…")) else f"{line}."
