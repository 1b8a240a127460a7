"""A job as Python code has it: like a future, with a log, outputs and figures."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from springtide.errors import JobError, JobFailed
from springtide.jobs import loop
from springtide.jobs.folder import describe_folder, log_file, program_file, provenance, run_folder
from springtide.jobs.looking import Look
from springtide.jobs.spec import JobSpec
from springtide.ledger.records import RunRecord
from springtide.queues.following import wait_until_over

if TYPE_CHECKING:
    from springtide.jobs.desk import Desk
    from springtide.jobs.remote import RemoteDesk

_PAUSE_S = 2.0


@dataclass(frozen=True)
class Run:
    """One run of a job: what figures are made of."""

    parameters: dict[str, Any]
    folder: Path
    """Where its outputs lie."""
    exit_status: int | None
    """None before it has ended."""


class Job:
    """A job of an application, from `springtide.run` or `springtide.jobs`.

    The truth about it lives elsewhere: a `Job` may be thrown away, and had again.
    """

    def __init__(self, desk: Desk | RemoteDesk, run: RunRecord) -> None:
        self._desk = desk
        self._run = run
        self._spec = JobSpec.from_json(run.spec)

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def token(self) -> str:
        """What it is called on the command line and in the ledger."""
        return self._run.token

    @property
    def application(self) -> str:
        """``ENVIRONMENT/NAME`` of what it runs."""
        return self._run.application

    @property
    def site(self) -> str:
        """Where it runs."""
        return self._run.site

    @property
    def reason(self) -> str:
        """Why it runs there, in words; empty where that was asked for."""
        return self._spec.reason

    @property
    def parameters(self) -> dict[str, Any]:
        """What it was asked for; lists are swept."""
        return self._spec.given

    @property
    def folder(self) -> Path:
        """Its folder."""
        return Path(self._run.folder)

    def __len__(self) -> int:
        """How many runs it has: more than one in a sweep."""
        return len(self._spec.runs)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Job {self.token}: {self.application} at {self.site}>"

    # --- how it is --------------------------------------------------------------------------------------------------

    def look(self) -> Look:
        """Return all that is known of it now, after asking its scheduler where that has not just been done."""
        return loop.call(self._look())

    @property
    def state(self) -> str:
        """Its state, in a word: queued, running, finished, …, or unknown while nobody can be asked."""
        return self.look().view.state

    @property
    def progress(self) -> float | None:
        """How far it is, from 0 to 1, as its program said last."""
        return self.look().run.progress

    def done(self) -> bool:
        """Whether it is over, however it ended."""
        return self.look().view.over

    async def _look(self) -> Look:
        (look,) = await self._desk.look([await self._desk.run(self.token)])
        self._run = look.run
        return look

    # --- waiting ----------------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Job:
        """Wait until it is over, however it ends; return it.

        Raises
        ------
        TimeoutError
            If that takes longer than `timeout` seconds.
        """
        loop.call(self._over(timeout))
        return self

    def result(self, timeout: float | None = None) -> dict[str, list[Path]]:
        """Wait until it is over, and return its outputs.

        Raises
        ------
        JobFailed
            If it did not succeed, with the cause and the end of its log.
        TimeoutError
            If that takes longer than `timeout` seconds.
        """
        self._check(loop.call(self._over(timeout)))
        return self.outputs

    def __await__(self) -> Generator[Any, None, dict[str, list[Path]]]:
        """Wait as `result` does, without keeping others from working."""
        return self._result().__await__()

    async def _result(self) -> dict[str, list[Path]]:
        future = asyncio.wrap_future(loop.start(self._over(None)))
        self._check(await future)
        return await asyncio.to_thread(lambda: self.outputs)

    async def _over(self, timeout: float | None) -> Look:
        desk = cast("Desk", self._desk)
        async with asyncio.timeout(timeout):
            while not (look := await self._look()).view.over:
                row = await asyncio.to_thread(desk.ledger.job, self._run.job)
                if row is None and self._spec.after:
                    # It is held until what it follows at another site is over.
                    await asyncio.sleep(_PAUSE_S)
                    continue
                if row is None:
                    raise JobError(f"The job {self.token} was never submitted.", "Run it again: job.again().")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if row.job_id else _PAUSE_S):
                        await wait_until_over(await desk.site(row.site), row)
            return look

    def _check(self, look: Look) -> None:
        view = look.view
        if view.exit_status == 0 and view.cause in ("", "exit"):
            return
        lines = self.log.rstrip().splitlines()[-5:]
        said = "\nThe end of its log:\n" + "\n".join(f"  {line[:200]}" for line in lines) if lines else ""
        words = view.explanation or f"It ended with {view.exit_status}."
        raise JobFailed(
            f"The job {self.token} ({self.application}) did not succeed. {words}{said}",
            f"\nAll of it: {log_file(self.folder, 1, len(self))}",
            cause=view.cause,
            exit_status=view.exit_status,
        )

    # --- what it leaves ---------------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        """What it has written until now; of a sweep, all runs one below the other."""
        texts = [_text(log_file(self.folder, index, len(self))) for index in self._indices]
        if len(texts) == 1:
            return texts[0]
        return "".join(f"--- run {index} ---\n{text}" for index, text in zip(self._indices, texts, strict=True) if text)

    @property
    def outputs(self) -> dict[str, list[Path]]:
        """The files it left, by the names that the application gives them."""
        patterns: dict[str, str] = describe_folder(self.folder)["outputs"]
        folders = [run_folder(self.folder, index, len(self)) for index in self._indices]
        return {
            name: [path for folder in folders for path in sorted(folder.glob(pattern)) if path.is_file()]
            for name, pattern in patterns.items()
        }

    @property
    def runs(self) -> list[Run]:
        """Its runs, with their parameters: a sweep's table of results."""
        described = describe_folder(self.folder)["runs"]
        return [
            Run(
                one["parameters"],
                run_folder(self.folder, index, len(self)),
                provenance(self.folder, index, len(self)).get("exit_status"),
            )
            for index, one in zip(self._indices, described, strict=True)
        ]

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """What is written down of each run: where, when and with what it ran, and how it ended."""
        return [provenance(self.folder, index, len(self)) for index in self._indices]

    @property
    def _indices(self) -> Sequence[int]:
        return range(1, len(self) + 1)

    def plot(self, name: str = "") -> Any:
        """Return a figure (matplotlib's) made of the outputs of the runs that succeeded.

        Parameters
        ----------
        name : str, optional
            Which of the application's figures; the first by default.

        Raises
        ------
        JobError
            If the application has no such figure, or no run has succeeded yet.
        """
        entries: dict[str, str] = describe_folder(self.folder)["plots"]
        if not entries or (name and name not in entries):
            known = ", ".join(entries) or "none"
            raise JobError(f"{self.application} has no figure “{name}”.", f"It has: {known}.")
        runs = [run for run in self.runs if run.exit_status == 0]
        if not runs:
            raise JobError(f"No run of the job {self.token} has succeeded yet.", "Wait for it: job.wait().")
        file, _, function = entries[name or next(iter(entries))].partition(":")
        return _function(program_file(self.folder, file), function)(runs)

    # --- what can be done with it -----------------------------------------------------------------------------------

    def cancel(self) -> bool:
        """End it; return whether it was not over."""
        return loop.call(self._cancel())

    async def _cancel(self) -> bool:
        return await self._desk.cancel(await self._desk.run(self.token))

    def again(self, **changes: Any) -> Job:
        """Submit it again, with the same seeds and inputs, and return the new job.

        Parameters
        ----------
        **changes
            Parameters to change, and whatever `springtide.run` takes besides.
        """
        from springtide.jobs.api import submit_again

        return submit_again(self._desk, self._run, changes)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _function(file: Path, name: str) -> Any:
    """Return a function of the application's own file, as it was when the job was submitted."""
    specification = importlib.util.spec_from_file_location(f"_springtide_plot_{file.stem}", file)
    assert specification is not None  # the name ends in .py
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
        return getattr(module, name)
    except (OSError, AttributeError) as error:
        raise JobError(f"The figure's function {name} in {file} cannot be had: {error}.") from error
    except ImportError as error:
        raise JobError(f"The figure needs what is not installed here: {error}.") from error
