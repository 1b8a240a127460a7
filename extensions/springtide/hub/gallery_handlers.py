"""The gallery page of the hub, and the two ways to open a tutorial: its button, and a link a tutor can send.

``/hub/gallery`` shows the cards. ``POST /hub/gallery/open`` is their button. ``GET /hub/gallery/open?name=NAME`` is
the link: it starts a session where none runs, and ends in the notebook.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.slugs import is_valid_safe_slug
from jupyterhub.utils import url_escape_path, url_path_join
from tornado import web
from tornado.httputil import url_concat

from springtide.hub.gallery import (
    COPIES_FOLDER,
    ENVIRONMENT_ARGUMENT,
    Entry,
    Gallery,
    Session,
    Tutorial,
    Unreadable,
    best_session,
)
from springtide.hub.gallery_copies import LOG, Copies, CopyFailed, CopyState, session_files
from springtide.hub.shared import Shared
from springtide.lab.models import Text
from springtide.texts import Translate, pick_language, translator
from springtide.units import describe_duration

EnvironmentsOf = Callable[[Any], set[str]]
ClosedTo = Callable[[Any], Collection[str]]
StartOptions = Callable[[Any, str], Mapping[str, str]]

_STATE_TIMEOUT_S = 3.0
_STATUS_BY_REASON = {"full": 507, "silent": 504}


def handlers(
    folder: Path,
    *,
    environments_of: EnvironmentsOf,
    environment_labels: Mapping[str, Text] | None = None,
    closed_to: ClosedTo | None = None,
    start_options: StartOptions | None = None,
    timeout_s: float = 20.0,
) -> list[tuple[str, type[BaseHandler], dict[str, Any]]]:
    """Return the gallery's pages, for ``c.JupyterHub.extra_handlers``.

    Parameters
    ----------
    folder : Path
        The folder of the shared notebooks.
    environments_of : callable
        Returns the environments a (running or starting) ``Spawner``'s session can run; the empty set: not known.
    environment_labels : mapping, optional
        What users call the environments; their names by default.
    closed_to : callable, optional
        Given the user, returns the environments she may not use; none by default.
    start_options : callable, optional
        Given the user and an environment, returns query parameters for the spawn page, such as
        ``{"opt-profile": "local-lisa"}``. JupyterHub then starts that session at once, without showing the page.
    timeout_s : float, optional
        Longest time a session may take to make a copy.
    """
    desk = _Desk(Gallery(folder), environments_of, environment_labels or {}, closed_to, start_options, timeout_s)
    return [(r"/gallery", GalleryHandler, {"desk": desk}), (r"/gallery/open", OpenHandler, {"desk": desk})]


@dataclass
class _Desk(Shared):
    """What both pages share."""

    gallery: Gallery
    environments_of: EnvironmentsOf
    environment_labels: Mapping[str, Text]
    closed_to: ClosedTo | None
    start_options: StartOptions | None
    timeout_s: float
    copies: Copies = field(default_factory=Copies)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Desk:
        """JupyterHub copies what its configuration holds; of this one, its locks and what it was given there is one."""
        return self


@dataclass(frozen=True)
class Card:
    """What the page shows of one tutorial."""

    tutorial: Tutorial
    title: str
    summary: str
    environment: str
    duration: str
    sessions: tuple[Session, ...]
    """Where it can be opened, the best first."""
    state: CopyState | None
    """What she has in the best one; None: not known."""
    start_url: str
    """Starts a session for it; empty where none can be started."""
    closed: bool = False
    """Whether its environment is only for groups she is not in."""

    @property
    def session(self) -> Session | None:
        """Where it is opened unless she says otherwise."""
        return self.sessions[0] if self.sessions else None

    @property
    def fits(self) -> bool:
        """Whether that session has the tutorial's environment."""
        return bool(self.session and self.session.fits(self.tutorial))

    @property
    def choices(self) -> tuple[Session, ...]:
        """The sessions she may pick from: one where a single one has the environment, else all."""
        fitting = tuple(session for session in self.sessions if session.fits(self.tutorial))
        return fitting if len(fitting) == 1 else self.sessions


class _Page(BaseHandler):
    """What both pages do: find tutorials and sessions, and show the cards."""

    def initialize(self, desk: _Desk) -> None:
        self.desk = desk

    @property
    def lang(self) -> str:
        return pick_language(self.request.headers.get("Accept-Language", ""))

    @property
    def t(self) -> Translate:
        return translator(self.lang)

    async def entries(self) -> tuple[Entry, ...]:
        return await asyncio.to_thread(self.desk.gallery.entries)

    def sessions(self) -> list[Session]:
        """Return the user's running and starting sessions, the default one first."""
        spawners = sorted(self.current_user.spawners.items())
        return [
            Session(name, self._session_label(spawner), spawner.ready, frozenset(self.desk.environments_of(spawner)))
            for name, spawner in spawners
            if spawner.ready or spawner.pending == "spawn"
        ]

    def _session_label(self, spawner: Any) -> str:
        return spawner.orm_spawner.display_name or spawner.name or self.t("gallery.default_session")

    def environment_label(self, tutorial: Tutorial) -> str:
        """Return what the user calls the tutorial's environment."""
        label = self.desk.environment_labels.get(tutorial.environment)
        return label.in_language(self.lang) if label else tutorial.environment

    def is_closed(self, tutorial: Tutorial) -> bool:
        """Whether the tutorial's environment is only for groups the user is not in."""
        return self.desk.closed_to is not None and tutorial.environment in self.desk.closed_to(self.current_user)

    def open_url(self, tutorial: Tutorial, server: str) -> str:
        """Return the link that opens `tutorial` in `server`, to come back to once that runs."""
        query = {"name": tutorial.name, "server": server}
        if tutorial.environment:
            query[ENVIRONMENT_ARGUMENT] = tutorial.environment
        return url_concat(url_path_join(self.hub.base_url, "gallery/open"), query)

    def start_url(self, tutorial: Tutorial, server: str) -> str:
        """Return the spawn page's address for a session for `tutorial`, which then goes on to open it."""
        user = self.current_user
        path = url_path_join(self.hub.base_url, "spawn", user.escaped_name, url_escape_path(server))
        options = {}
        if self.desk.start_options and tutorial.environment:
            options = dict(self.desk.start_options(user, tutorial.environment))
        return url_concat(path, {**options, "next": self.open_url(tutorial, server)})

    async def server_to_start(self, tutorial: Tutorial) -> str | None:
        """Return the name of a server that could be started for `tutorial`, None where there is none."""
        user = self.current_user
        if not user.spawner.active:
            return ""
        if not self.allow_named_servers:
            return None
        base = tutorial.environment or "tutorial"
        wanted = filter(is_valid_safe_slug, (base, *(f"{base}-{number}" for number in range(2, 10))))
        server = next((name for name in wanted if name not in user.spawners or not user.spawners[name].active), None)
        limit = await self.get_current_user_named_server_limit()
        existing = set(user.orm_user.orm_spawners) - {""}
        if server not in existing and 0 < limit <= len(existing):
            return None
        return server

    async def card(self, tutorial: Tutorial, sessions: list[Session], states: Mapping[str, Any]) -> Card:
        best = best_session(tutorial, sessions)
        closed = self.is_closed(tutorial)
        to_start = None if closed else await self.server_to_start(tutorial)
        return Card(
            tutorial=tutorial,
            title=tutorial.title.in_language(self.lang),
            summary=tutorial.summary.in_language(self.lang) if tutorial.summary else "",
            environment=self.environment_label(tutorial),
            duration=describe_duration(tutorial.minutes * 60) if tutorial.minutes else "",
            sessions=tuple(sorted(sessions, key=lambda session: session is not best)),
            state=states.get(best.server, {}).get(tutorial.name) if best else None,
            start_url="" if to_start is None else self.start_url(tutorial, to_start),
            closed=closed,
        )

    async def show(self, failure: CopyFailed | None = None, failed: Tutorial | None = None) -> None:
        """Answer with the gallery; above it, why the tutorial `failed` could not be opened."""
        self.set_header("Cache-Control", "no-store")
        problem = ""
        try:
            entries = await self.entries()
        except OSError as error:
            LOG.error("The tutorials folder cannot be read: %s", error)
            entries, problem = (), f"{self.desk.gallery.folder}: {error.strerror}"
        tutorials = [entry for entry in entries if isinstance(entry, Tutorial)]
        sessions = self.sessions()
        states = {} if failure else await self._states(tutorials, sessions)
        admin = self.current_user.admin
        html = await self.render_template(
            "gallery.html",
            t=self.t,
            lang=self.lang,
            cards=[await self.card(tutorial, sessions, states) for tutorial in tutorials],
            unreadable=[entry for entry in entries if isinstance(entry, Unreadable)] if admin else [],
            folder_problem=problem if admin else "",
            admin=admin,
            failure=failure,
            failed_title=failed.title.in_language(self.lang) if failed else "",
            copies_url=self._copies_url,
        )
        self.finish(html)

    def _copies_url(self, server: str, file: str) -> str:
        return str(url_path_join(self.current_user.server_url(server), "lab/tree", COPIES_FOLDER, quote(file)))

    async def _states(self, tutorials: list[Tutorial], sessions: list[Session]) -> dict[str, dict[str, CopyState]]:
        """A session that does not answer in time costs the page its details, never the page."""
        ready = [session.server for session in sessions if session.ready]
        found = await asyncio.gather(*(self._state(tutorials, server) for server in ready))
        return dict(zip(ready, found, strict=True))

    async def _state(self, tutorials: list[Tutorial], server: str) -> dict[str, CopyState]:
        user = self.current_user
        names = [tutorial.name for tutorial in tutorials]
        try:
            async with (
                asyncio.timeout(_STATE_TIMEOUT_S),
                session_files(user, user.spawners[server], timeout_s=_STATE_TIMEOUT_S) as files,
            ):
                return await self.desk.copies.states(files, f"{user.name}/{server}", tutorials, names)
        except (CopyFailed, TimeoutError) as error:
            LOG.info("No look at the copies in %s/%s: %s", user.name, server, getattr(error, "detail", "no answer"))
            return {}


class GalleryHandler(_Page):
    """``/hub/gallery``: the tutorials as cards."""

    @web.authenticated
    async def get(self) -> None:
        """Show the cards."""
        await self.show()


class OpenHandler(_Page):
    """``/hub/gallery/open``: goes to the user's own copy of a tutorial."""

    @web.authenticated
    async def post(self) -> None:
        """Open what the card's form names: tutorial, server, and whether a fresh copy is wanted."""
        await self._find_and_open(fresh=self.get_body_argument("fresh", "") == "1")

    @web.authenticated
    async def get(self) -> None:
        """Open what the address names, where it runs best if it names no server."""
        # A visit changes nothing but making a first copy; still, no other site's page may do so behind her back.
        if self.request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate":
            raise web.HTTPError(403)
        await self._find_and_open(fresh=False)

    async def _find_and_open(self, *, fresh: bool) -> None:
        try:
            tutorials = [entry for entry in await self.entries() if isinstance(entry, Tutorial)]
        except OSError as error:
            LOG.error("The tutorials folder cannot be read: %s", error)
            tutorials = []
        wanted = self.get_argument("name", "", strip=False)
        tutorial = next((tutorial for tutorial in tutorials if tutorial.name == wanted), None)
        if tutorial is None:
            raise web.HTTPError(404, self.t("gallery.unknown"))
        if self.is_closed(tutorial):
            raise web.HTTPError(403, self.t("gallery.closed", environment=self.environment_label(tutorial)))
        server = self.get_argument("server", None)
        if server is None:
            best = best_session(tutorial, self.sessions())
            server = best.server if best else ""
        elif server and server not in self.current_user.orm_user.orm_spawners:
            raise web.HTTPError(404, self.t("gallery.unknown_session"))
        masters = [tutorial.name for tutorial in tutorials]
        await self._open(self.current_user.name, server, tutorial, masters, fresh)

    @needs_scope("access:servers")
    async def _open(
        self, user_name: str, server_name: str, tutorial: Tutorial, masters: list[str], fresh: bool
    ) -> None:
        user = self.current_user
        spawner = user.spawners[server_name]
        if spawner.pending == "spawn":
            pending = url_path_join(self.hub.base_url, "spawn-pending", user.escaped_name, url_escape_path(server_name))
            self._go(url_concat(pending, {"next": self.open_url(tutorial, server_name)}))
        elif not spawner.ready:
            self._go(self.start_url(tutorial, server_name))
        else:
            await self._copy(spawner, tutorial, masters, fresh)

    async def _copy(self, spawner: Any, tutorial: Tutorial, masters: list[str], fresh: bool) -> None:
        user, timeout_s = self.current_user, self.desk.timeout_s
        try:
            async with asyncio.timeout(timeout_s), session_files(user, spawner, timeout_s=timeout_s) as files:
                path = await self.desk.copies.open(files, user.name, tutorial, masters, fresh=fresh)
        except TimeoutError:
            await self._fail(spawner, tutorial, CopyFailed("silent", "no answer in time"))
        except CopyFailed as failure:
            await self._fail(spawner, tutorial, failure)
        else:
            LOG.info("%s opens %s", spawner._log_name, path)
            self._go(url_path_join(user.server_url(spawner.name), "lab/tree", quote(path)))

    async def _fail(self, spawner: Any, tutorial: Tutorial, failure: CopyFailed) -> None:
        LOG.warning("%s cannot open %s: %s (%s)", spawner._log_name, tutorial.name, failure.message, failure.detail)
        if failure.reason == "silent":
            # It may be dead without the hub knowing: then the page must offer to start another.
            await spawner.poll_and_notify()
        self.set_status(_STATUS_BY_REASON.get(failure.reason, 502))
        await self.show(failure, tutorial)

    def _go(self, url: str) -> None:
        """See other: also after a POST, the browser gets the next page."""
        self.set_header("Cache-Control", "no-store")
        self.redirect(url, status=303)
