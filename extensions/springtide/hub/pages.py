"""JupyterHub's pages in the browser's language, with the lab's name, and errors said where the user looks.

JupyterHub gives its templates the same variables whoever asks; `install` adds those that depend on the request:
``t`` (the texts) and ``lang``. The same request's language is at hand anywhere below it through `visit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from http.client import responses
from typing import Any

from jupyterhub.handlers.base import BaseHandler

from springtide.hub.spawn_form import TEMPLATES, site_label
from springtide.lab.models import Lab
from springtide.lab.profiles import label
from springtide.texts import Translate, pick_language, translator

# JupyterHub's own sentences that users meet most, by how they begin.
_KNOWN_SENTENCES = (
    ("Invalid username or password", "pages.wrong_password"),
    ("Login form invalid or expired", "pages.login_expired"),
    ("Too many users trying to log in", "pages.too_many_starts"),
    ("Active user limit exceeded", "pages.too_many_sessions"),
    ("Failed to reach your server", "pages.start_timeout"),
    ("Failed to start your server", "pages.start_failed"),
    ("XSRF cookie does not match", "pages.form_expired"),
    ("Action is not authorized", "pages.not_allowed"),
    ("Server requested", "pages.progress_requested"),
    ("Spawn cancelled", "pages.progress_cancelled"),
    ("Spawning server", "pages.progress_starting"),
)
_STATUS_WITH_TITLE = (400, 403, 404, 429, 500, 503)


@dataclass(frozen=True)
class Visit:
    """What a request tells of who makes it."""

    language: str = "en"
    server_name: str = ""
    """The named server that a page of one server is about; empty: the default one, or no such page."""
    posted: Mapping[str, list[str]] = field(default_factory=dict)
    """The spawn form as it was sent, to show it again as it was when it is refused."""


_NO_VISIT = Visit()
_visit: ContextVar[Visit] = ContextVar("springtide_visit")


def visit() -> Visit:
    """Return the request being served; a start keeps the one that asked for it, until it has ended."""
    return _visit.get(_NO_VISIT)


def template_paths() -> list[str]:
    """Return the folder for ``JupyterHub.template_paths``."""
    return [str(TEMPLATES)]


def template_vars(lab: Lab) -> dict[str, object]:
    """Return what ``JupyterHub.template_vars`` must hold for these pages."""
    return {"lab_name": lab.lab.name, "sessions": Sessions(lab)}


@dataclass(frozen=True)
class SessionView:
    """A session as the list of sessions shows it."""

    name: str
    title: str
    profile: str
    site: str
    state: str
    """ready, starting, stopping or stopped."""
    since: str
    """ISO time since when it runs; empty if it does not."""


@dataclass(frozen=True)
class Sessions:
    """Says what the sessions of a lab's users are."""

    lab: Lab

    def view(self, spawner: Any, language: str) -> SessionView:
        """Return how to show `spawner`, JupyterHub's object of a running or stopped server."""
        options = spawner.orm_spawner.user_options or {}
        name = options.get("profile") if isinstance(options, Mapping) else None
        profile = next((profile for profile in self.lab.profiles if profile.name == name), None)
        title = spawner.orm_spawner.display_name or spawner.name
        return SessionView(
            name=spawner.name,
            title=title or translator(language)("pages.main_session"),
            profile=label(profile, language) if profile else "",
            site=site_label(self.lab, profile.site, language) if profile else "",
            state=_state(spawner),
            since=_iso(spawner.orm_spawner.started) if spawner.active else "",
        )


def say_known(message: object, language: str) -> str:
    """Return a sentence of JupyterHub's in `language` where it is a known one; else as it is."""
    text = str(message or "")
    for beginning, key in _KNOWN_SENTENCES:
        if text.startswith(beginning):
            return translator(language)(key)
    return text


def status_title(status_code: int, language: str) -> str:
    """Return what an HTTP status means, in words."""
    if status_code in _STATUS_WITH_TITLE:
        return translator(language)(f"pages.status_{status_code}")
    return responses.get(status_code, str(status_code))


def install() -> None:
    """Make every JupyterHub page know the request's language. May be called many times.

    JupyterHub's ``template_vars`` may be functions, but of the user only; what a template knows of the request is
    decided in ``BaseHandler`` alone, which has no hook. So its two methods that every page passes are wrapped.
    """
    if getattr(BaseHandler, "_springtide_installed", False):
        return
    prepare, namespace = BaseHandler.prepare, BaseHandler.template_namespace

    async def prepare_in_language(handler: Any) -> None:
        _visit.set(_read_visit(handler))
        await prepare(handler)

    def namespace_with_language(handler: Any) -> dict[str, object]:
        language = _language(handler)
        return {**namespace.fget(handler), **_language_namespace(language)}

    BaseHandler.prepare = prepare_in_language
    BaseHandler.template_namespace = property(namespace_with_language)
    BaseHandler._springtide_installed = True


def _language_namespace(language: str) -> dict[str, object]:
    text: Translate = translator(language)
    return {
        "t": text,
        "lang": language,
        "say_known": lambda message: say_known(message, language),
        "status_title": lambda status_code: status_title(status_code, language),
    }


def _language(handler: Any) -> str:
    return pick_language(handler.request.headers.get("Accept-Language", ""))


def _read_visit(handler: Any) -> Visit:
    is_spawn = "/spawn" in handler.request.path
    arguments = handler.request.body_arguments if is_spawn else {}
    posted = {key: [value.decode("utf-8", "replace") for value in values] for key, values in arguments.items()}
    named = is_spawn and len(handler.path_args) > 1
    return Visit(_language(handler), handler.path_args[1] or "" if named else "", posted)


def _state(spawner: Any) -> str:
    if spawner.ready:
        return "ready"
    if not spawner.active:
        return "stopped"
    return "stopping" if spawner.pending == "stop" else "starting"


def _iso(moment: datetime | None) -> str:
    """Return `moment`, in UTC without saying so as JupyterHub keeps it, as ISO time."""
    return f"{moment.isoformat(timespec='seconds')}Z" if moment else ""
