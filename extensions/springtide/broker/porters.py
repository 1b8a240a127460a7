"""The porter as one account: files of jobs written and read as their owner."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from springtide.errors import JobError
from springtide.jobs import porter
from springtide.queues.accounts import Account
from springtide.queues.commands import command_environment, run_command

_PROGRAM = Path(porter.__file__)
_ANSWER_WITHIN_S = 90.0
_PLACES = "/opt/springtide/bin:/usr/local/bin:/usr/bin"


@dataclass(frozen=True)
class Porter:
    """Files below the folders of jobs, as `account` sees them."""

    account: Account

    async def make(self, folder: Path, content: Path) -> None:
        """Make `folder` with all that lies in `content`, complete or not at all.

        Raises
        ------
        JobError
            If the account cannot write there.
        """
        request = await asyncio.to_thread(_packed, content)
        await self._ask({"verb": "make", "folder": str(folder), **request})

    async def read(self, folder: Path, file: str, offset: int = 0, most: int = porter.MOST_READ_BYTES) -> Part | None:
        """Return a part of a file below `folder`, None where there is no such file.

        Raises
        ------
        JobError
            If it cannot be read.
        """
        answer = await self._ask(
            {"verb": "read", "folder": str(folder), "file": file, "offset": offset, "most": min(most, _MOST)}
        )
        if answer["size"] is None:
            return None
        return Part(int(answer["size"]), base64.b64decode(answer["data"]))

    async def listed(self, folder: Path, most: int) -> list[dict[str, Any]]:
        """Return the plain files below `folder`: their names, sizes and times."""
        return list((await self._ask({"verb": "list", "folder": str(folder), "most": most}))["files"])

    async def ends(self, files: Sequence[tuple[Path, str]], most: int) -> list[str | None]:
        """Return how files end, None for those that are not there."""
        wanted = [[str(folder), file] for folder, file in files]
        return list((await self._ask({"verb": "ends", "files": wanted, "most": most}))["ends"])

    async def plot(self, folder: Path, name: str, pythons: Sequence[str]) -> bytes:
        """Return a figure of a job as PNG, drawn by the application's own program as the account.

        Raises
        ------
        JobError
            If it cannot be drawn.
        """
        answer = await self._ask({"verb": "plot", "folder": str(folder), "name": name, "pythons": list(pythons)})
        return base64.b64decode(answer["data"])

    async def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self.account.way == "same":
            try:
                answer = await asyncio.to_thread(porter.answer_request, dict(request))
            except porter.BadRequest as error:
                raise JobError(f"There is no such file: {error}.") from None
        else:
            answer = await self._ask_process(request)
        if not answer["ok"]:
            words = str(answer["error"])
            raise JobError(f"The job's files cannot be used: {words}.", "Ask the administrator, if they are there.")
        return answer

    async def _ask_process(self, request: Mapping[str, Any]) -> dict[str, Any]:
        argv, popen = self._command_line()
        said = await run_command(
            argv,
            stdin=json.dumps(request).encode(),
            environment={**command_environment(), "LANG": "C.UTF-8"},
            account=popen,
            timeout_s=_ANSWER_WITHIN_S,
        )
        try:
            return dict(json.loads(said.output))
        except ValueError:
            raise JobError(
                f"The porter did not answer as {self.account.name}: {said.complaint}",
                "The administrator finds the needed sudoers lines in hub_config/deployment/sudoers.",
            ) from None

    def _command_line(self) -> tuple[list[str], dict[str, object]]:
        if self.account.way == "setuid":
            who = {
                "user": self.account.uid,
                "group": self.account.gid,
                "extra_groups": os.getgrouplist(self.account.name, self.account.gid),
            }
            # Our own Python may lie where the user cannot read it.
            return ["/usr/bin/python3", "-I", "-c", _PROGRAM.read_text(encoding="utf-8")], who
        program = shutil.which("springtide-porter", path=_PLACES) or "/usr/local/bin/springtide-porter"
        return ["sudo", "-n", "-u", self.account.name, "--", program], {}


_MOST = porter.MOST_READ_BYTES


@dataclass(frozen=True)
class Part:
    """A part of a file."""

    size: int
    """Of the whole file."""
    data: bytes


def _packed(content: Path) -> dict[str, Any]:
    """Return a folder as the porter takes it."""
    entries = sorted(content.rglob("*"))
    files = [
        {
            "file": str(path.relative_to(content)),
            "mode": path.stat().st_mode & 0o700,
            "data": base64.b64encode(path.read_bytes()).decode("ascii"),
        }
        for path in entries
        if path.is_file()
    ]
    return {"files": files, "folders": [str(path.relative_to(content)) for path in entries if path.is_dir()]}
