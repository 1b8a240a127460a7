"""A job of the broker's, as Python code has it: what it leaves is fetched into a cache when somebody looks at it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from springtide.errors import JobError, JobFailed
from springtide.jobs import loop
from springtide.jobs.folder import log_file
from springtide.jobs.job import Job, Run
from springtide.jobs.looking import Look
from springtide.jobs.transport import NoSuchJob

if TYPE_CHECKING:
    from springtide.jobs.remote import RemoteDesk

_WAIT_S = 20.0


class RemoteJob(Job):
    """A job that the broker submitted."""

    @property
    def _remote(self) -> RemoteDesk:
        return cast("RemoteDesk", self._desk)

    @property
    def folder(self) -> Path:
        """Where what it leaves is kept here, once it was fetched."""
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return base / "springtide" / "jobs" / self.token

    async def _look(self) -> Look:
        look = await asyncio.to_thread(self._remote.see, self.token)
        self._run = look.run
        return look

    async def _over(self, timeout: float | None) -> Look:
        async with asyncio.timeout(timeout):
            while True:
                asked_at = time.monotonic()
                look = await asyncio.to_thread(self._remote.see, self.token, "job", min(timeout or _WAIT_S, _WAIT_S))
                self._run = look.run
                if look.view.over:
                    return look
                # An answer that came at once would be asked for again at once.
                await asyncio.sleep(max(0.0, 0.2 - (time.monotonic() - asked_at)))

    def _check(self, look: Look) -> None:
        try:
            super()._check(look)
        except JobFailed as failed:
            # The log that the message names is the one that was fetched.
            failed.hint = f"\nAll of it: print(springtide.job({self.token!r}).log)"
            raise failed from None

    @property
    def log(self) -> str:
        """What it has written until now; of a sweep, all runs one below the other."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for index in self._indices:
            with self._remote.transport.open("GET", f"jobs/{self.token}/log", query={"run": index}) as answer:
                log_file(self.folder, index, len(self)).write_bytes(answer.read())
        return super().log

    @property
    def outputs(self) -> dict[str, list[Path]]:
        """The files it left, by the names that the application gives them; they are fetched first."""
        self._fetch(outputs=True)
        return super().outputs

    @property
    def runs(self) -> list[Run]:
        """Its runs, with their parameters: a sweep's table of results. Their files are fetched first."""
        self._fetch(outputs=True)
        return super().runs

    @property
    def provenance(self) -> list[dict[str, Any]]:
        """What is written down of each run: where, when and with what it ran, and how it ended."""
        self._fetch()
        return super().provenance

    def plot(self, name: str = "") -> Any:
        """Return a figure (matplotlib's) made of the outputs of the runs that succeeded: see `Job.plot`."""
        described = self._fetch(outputs=True)
        for file in {entry.partition(":")[0] for entry in described["plots"].values()}:
            self._download(f"jobs/{self.token}/program/{file}", self.folder / "program" / file)
        return super().plot(name)

    # --- the cache --------------------------------------------------------------------------------------------------

    def _fetch(self, *, outputs: bool = False) -> dict[str, Any]:
        """Bring the cache up to date; return what the broker says of the job's folder."""
        described: dict[str, Any] = self._remote.transport.get(f"jobs/{self.token}/description")
        runs = described["runs"]
        content = {
            "runs": [{"parameters": one["parameters"]} for one in runs],
            **{name: described[name] for name in ("outputs", "plots", "swept")},
        }
        self._write("job.json", content)
        for one in runs:
            name = f"provenance-{one['index']}.json" if len(runs) > 1 else "provenance.json"
            self._write(name, one["provenance"])
        if outputs:
            self._fetch_outputs()
        return described

    def _fetch_outputs(self) -> None:
        place = self.folder / "outputs"
        for one in self._remote.transport.get(f"jobs/{self.token}/outputs"):
            relative = Path(one["file"])
            if relative.is_absolute() or ".." in relative.parts:
                continue
            file = place / relative
            with contextlib.suppress(FileNotFoundError):
                known = file.stat()
                if (known.st_size, known.st_mtime) == (one["bytes"], one["modified"]):
                    continue
            # One that a program has just removed is not there.
            with contextlib.suppress(NoSuchJob):
                self._download(f"jobs/{self.token}/outputs/{one['file']}", file, one["modified"])

    def _write(self, name: str, content: Any) -> None:
        self._replace(self.folder / name, json.dumps(content).encode())

    def _replace(self, file: Path, data: bytes) -> None:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, beside = tempfile.mkstemp(dir=file.parent, prefix=".")
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)
        os.replace(beside, file)

    def _download(self, path: str, file: Path, modified: float | None = None) -> None:
        """Fetch a file, complete or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, beside = tempfile.mkstemp(dir=file.parent, prefix=".")
        try:
            with os.fdopen(descriptor, "wb") as opened:
                self._remote.transport.download(path, opened)
            if modified is not None:
                os.utime(beside, (modified, modified))
            os.replace(beside, file)
        except BaseException as error:
            os.unlink(beside)
            if isinstance(error, OSError):
                raise JobError(f"{file} cannot be written: {error.strerror}.", "Is the disk full?") from error
            raise

    def cancel(self) -> bool:
        """End it; return whether it was not over."""
        return loop.call(self._remote.cancel(self._run))
