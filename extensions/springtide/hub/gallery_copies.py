"""A user's own copies of the shared tutorials, read and written through her Jupyter server's contents API.

Nothing needs to be installed in the session, and it may be a process, a container or a batch job: the hub speaks to it
as her browser would, with a token that is good for this one server, for a minute, and is revoked after use.
What a session answers is never trusted: it is size-limited, redirects are not followed, nothing of it is shown.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from weakref import WeakValueDictionary

import aiohttp
from jupyterhub import orm
from yarl import URL

from springtide.errors import SpringtideError
from springtide.hub.gallery import (
    COPIES_FOLDER,
    LARGEST_NOTEBOOK_BYTES,
    Tutorial,
    choose_kernel,
    copies_of,
    copy_text,
    next_copy,
    origin_sha256,
)
from springtide.texts import translate

# A child of JupyterHub's own logger, so that its lines stand in the hub's log.
LOG = logging.getLogger("JupyterHub.gallery")

TOKEN_LIFETIME_S = 60
_REPLY_LIMIT_BYTES = 2 * LARGEST_NOTEBOOK_BYTES
_COMPARED_LIMIT_BYTES = 5 * 2**20
_DOUBLE_CLICK_S = 3.0
_REMEMBERED_ORIGINS = 10_000
_NAME_ATTEMPTS = 20
_ERRNO = re.compile(r"\[Errno (\d+)\]")
# ENOSPC, EDQUOT, EFBIG; EACCES, EPERM, EROFS: the numbers of Linux, where every session runs.
_REASONS_BY_ERRNO = {28: "full", 122: "full", 27: "full", 13: "read_only", 1: "read_only", 30: "read_only"}
_REASONS_BY_STATUS = {507: "full", 403: "read_only"}


class CopyFailed(SpringtideError):
    """A copy could not be made or looked up; ``gallery.failed_REASON`` says why, ``…_hint`` what to do."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(translate("en", f"gallery.failed_{reason}"), translate("en", f"gallery.failed_{reason}_hint"))
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class File:
    """A file in a session's folder, as its listing describes it."""

    size_bytes: int | None
    last_modified: str


class SessionFiles:
    """The files and kernels of one running session."""

    def __init__(self, http: aiohttp.ClientSession, server_url: str) -> None:
        self.server_url = server_url.rstrip("/")
        self._http = http

    async def listing(self, folder: str) -> dict[str, File] | None:
        """Return the files of `folder` by name, None if there is no such folder."""
        status, reply = await self._ask("GET", f"contents/{quote(folder)}?type=directory")
        if status == 404:
            return None
        if status == 400:
            raise CopyFailed("not_a_folder")
        content = _expect(status, reply).get("content")
        files = content if isinstance(content, list) else []
        return {str(file.get("name")): _file(file) for file in files if isinstance(file, dict)}

    async def notebook(self, path: str) -> Any:
        """Return the notebook at `path`, None if it is not there or no notebook."""
        status, reply = await self._ask("GET", f"contents/{quote(path)}?type=notebook")
        return _expect(status, reply).get("content") if status not in (400, 404) else None

    async def kernelspecs(self) -> Mapping[str, Any]:
        """Return the kernels the session offers, by name."""
        found = _expect(*await self._ask("GET", "kernelspecs")).get("kernelspecs")
        return found if isinstance(found, dict) else {}

    async def make_folder(self, folder: str) -> None:
        """Create `folder`, unless it is there."""
        status, reply = await self._ask("PUT", f"contents/{quote(folder)}", {"type": "directory"})
        if status == 400:
            raise CopyFailed("not_a_folder")
        _expect(status, reply)

    async def create(self, path: str, text: str) -> bool:
        """Create file `path` whole or not at all; return False, changing nothing, if it exists.

        Jupyter writes a new file in place and leaves half of it where the disk is full; of an existing file it then
        brings back what was there. So an empty file is made first, under another name, then filled, then renamed.
        """
        unfinished = f"{path}.part"
        try:
            await self._write(unfinished, "")
            await self._write(unfinished, text)
            status, reply = await self._ask("PATCH", f"contents/{quote(unfinished)}", {"path": path})
            if status != 409:
                _expect(status, reply)
                return True
        except CopyFailed as error:
            # A session that stopped answering is not asked again: what is left is overwritten the next time.
            if error.reason != "silent":
                await self._remove(unfinished)
            raise
        await self._remove(unfinished)
        return False

    async def _write(self, path: str, text: str) -> None:
        model = {"type": "file", "format": "text", "content": text}
        written = _expect(*await self._ask("PUT", f"contents/{quote(path)}", model)).get("size")
        if written not in (None, len(text.encode())):
            raise CopyFailed("failed", f"{written} bytes written")

    async def _remove(self, path: str) -> None:
        try:
            status, _ = await self._ask("DELETE", f"contents/{quote(path)}")
        except CopyFailed as error:
            LOG.warning("Could not remove %s: %s", path, error.detail)
        else:
            if status not in (204, 404):
                LOG.warning("Could not remove %s: status %d", path, status)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        url = URL(f"{self.server_url}/api/{path}", encoded=True)
        try:
            async with self._http.request(method, url, json=body, allow_redirects=False) as response:
                received = bytearray()
                async for chunk in response.content.iter_chunked(2**16):
                    received += chunk
                    if len(received) > _REPLY_LIMIT_BYTES:
                        raise CopyFailed("failed", "reply too large")
        except (aiohttp.ClientError, OSError) as error:
            raise CopyFailed("silent", f"{method} {path}: {type(error).__name__}: {error}") from error
        try:
            reply = json.loads(received) if received else {}
        except (ValueError, RecursionError):
            reply = {}
        return response.status, reply


def _expect(status: int, reply: Any) -> dict[str, Any]:
    """Return the reply of a request that succeeded.

    Raises
    ------
    CopyFailed
        If it did not, for the reason it gives.
    """
    if 200 <= status < 300 and isinstance(reply, dict):
        return reply
    message = str(reply.get("message", "")) if isinstance(reply, dict) else ""
    raise CopyFailed(_reason(status, message), f"{status} {message[:500]}")


def _reason(status: int, message: str) -> str:
    if errno := _ERRNO.search(message):
        return _REASONS_BY_ERRNO.get(int(errno[1]), "failed")
    return _REASONS_BY_STATUS.get(status, "failed")


def _file(model: Mapping[str, Any]) -> File:
    size = model.get("size")
    return File(size if isinstance(size, int) else None, str(model.get("last_modified")))


@asynccontextmanager
async def session_files(user: Any, spawner: Any, *, timeout_s: float) -> AsyncIterator[SessionFiles]:
    """Give access to the files of `user`'s running server `spawner`, with a token for it alone that dies afterwards.

    Parameters
    ----------
    user, spawner
        JupyterHub's ``User`` and ``Spawner``.
    timeout_s : float
        Longest time to wait for any one answer.
    """
    token = user.new_api_token(
        expires_in=TOKEN_LIFETIME_S,
        scopes=[f"access:servers!server={user.name}/{spawner.name}"],
        note="Springtide gallery: writing a tutorial",
    )
    try:
        async with aiohttp.ClientSession(
            headers={"Authorization": f"token {token}"},
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as http:
            yield SessionFiles(http, spawner.server.url)
    finally:
        if found := orm.APIToken.find(user.db, token):
            user.db.delete(found)
            user.db.commit()


@dataclass(frozen=True)
class CopyState:
    """What a user has of a tutorial in one session."""

    copies: tuple[str, ...] = ()
    """File names, the first made first."""
    outdated: bool = False
    """The master changed since the newest of them was made."""


@dataclass
class Copies:
    """Makes and finds users' copies; one per hub."""

    _locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = field(default_factory=WeakValueDictionary)
    _made: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    _origins: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    async def open(
        self, files: SessionFiles, owner: str, tutorial: Tutorial, masters: Iterable[str], *, fresh: bool
    ) -> str:
        """Return the path of `owner`'s copy of `tutorial` in her session, made if she has none.

        Parameters
        ----------
        masters : iterable of str
            The names of all tutorials: no copy takes the name of another one's.
        fresh : bool
            Make one more copy even if she has one. The second of two quick clicks gets what the first one made.

        Raises
        ------
        CopyFailed
            If the session does not answer, or cannot write. No half copy is left.
        """
        # One lock for all her sessions, not one for each: they may share a home.
        async with self._locks.setdefault((owner, tutorial.name), asyncio.Lock()):
            click = (files.server_url, tutorial.name)
            made_at, made = self._made.get(click, (-_DOUBLE_CLICK_S, ""))
            if fresh and time.monotonic() - made_at < _DOUBLE_CLICK_S:
                return made
            path, new = await _open(files, tutorial, masters, fresh=fresh)
            self._made = {k: v for k, v in self._made.items() if time.monotonic() - v[0] < _DOUBLE_CLICK_S}
            if fresh and new:
                self._made[click] = (time.monotonic(), path)
            return path

    async def states(
        self, files: SessionFiles, session: str, tutorials: Iterable[Tutorial], masters: Iterable[str]
    ) -> dict[str, CopyState]:
        """Return by tutorial name what the session called `session` ("user/server") has of each."""
        present = await files.listing(COPIES_FOLDER) or {}
        states = {}
        for tutorial in tutorials:
            names = copies_of(tutorial.name, present, masters)
            origins = [await self._origin(files, session, name, present[name]) for name in names]
            known = [origin for origin in origins if origin]
            states[tutorial.name] = CopyState(names, outdated=bool(known) and tutorial.sha256 not in known)
        return states

    async def _origin(self, files: SessionFiles, session: str, name: str, file: File) -> str:
        """Whole notebooks must be read for it: so only once per change, and not the very large ones."""
        if file.size_bytes is not None and file.size_bytes > _COMPARED_LIMIT_BYTES:
            return ""
        modified, origin = self._origins.get((session, name), ("", ""))
        if modified == file.last_modified:
            return origin
        origin = origin_sha256(await files.notebook(f"{COPIES_FOLDER}/{name}"))
        if len(self._origins) >= _REMEMBERED_ORIGINS:
            self._origins.clear()
        self._origins[(session, name)] = (file.last_modified, origin)
        return origin


async def _open(files: SessionFiles, tutorial: Tutorial, masters: Iterable[str], *, fresh: bool) -> tuple[str, bool]:
    """Return the path of the copy, and whether it was made now."""
    listing = await files.listing(COPIES_FOLDER)
    present = set(listing or ())
    path = f"{COPIES_FOLDER}/{tutorial.name}.ipynb"
    if not fresh and f"{tutorial.name}.ipynb" in present:
        return path, False
    kernel = choose_kernel(await files.kernelspecs(), tutorial.environment) if tutorial.environment else None
    text = copy_text(tutorial, kernel)
    if listing is None:
        await files.make_folder(COPIES_FOLDER)
    # A bound, for a session that always claims that the name is taken.
    for _ in range(_NAME_ATTEMPTS):
        name = next_copy(tutorial.name, present, masters) if fresh else f"{tutorial.name}.ipynb"
        path = f"{COPIES_FOLDER}/{name}"
        if await files.create(path, text):
            return path, True
        if not fresh:
            # It came into being meanwhile, by other hands: hers.
            return path, False
        present.add(name)
    raise CopyFailed("failed", f"{_NAME_ATTEMPTS} names are taken")
