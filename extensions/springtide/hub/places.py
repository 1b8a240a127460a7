"""Where there is room now: the live state shown on the spawn page's cards.

Two probes, given by the hub, look at the world; everything they say is kept for a few seconds and shared by all
who look. A probe that is slow or fails makes its place "down" and never breaks the page.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

from jupyterhub.apihandlers import APIHandler
from tornado import web

from springtide.errors import SpringtideError
from springtide.hub.shared import Shared
from springtide.lab.models import BatchSite, Lab, LocalSite, Profile, Site
from springtide.lab.profiles import visible_profiles
from springtide.queues.reasons import explain_reason
from springtide.texts import pick_language, translate

log = logging.getLogger(__name__)

State = Literal["ready", "busy", "down", "missing"]
ImageState = Literal["ready", "building", "missing"]

FRESH_S = 5.0
"""For how long an answer of a probe is passed on without asking again."""
PATIENCE_S = 2.0
"""How long a page waits for a probe."""
STALE_S = 60.0
"""For how long an old answer stands in for a probe that does not answer."""

_WORDS_LENGTH = 200


@dataclass(frozen=True)
class ContainerFacts:
    """What is known of the container engine of this machine."""

    reachable: bool
    error: str = ""
    """Why it cannot be reached, in words."""
    found: bool = True
    """False: there is none on this machine."""
    images: Mapping[str, ImageState] = field(default_factory=dict)
    """Per environment."""
    cpus_total: float = 0
    memory_total_bytes: int = 0
    """0 where not known, like `cpus_total`: then no number of free places is given."""
    cpus_used: float = 0
    """Promised to running sessions, as is `memory_used_bytes`."""
    memory_used_bytes: int = 0
    sessions: int = 0


@dataclass(frozen=True)
class QueueFacts:
    """What is known of a batch queue."""

    reachable: bool
    error: str = ""
    """Why the scheduler cannot be asked, in words."""
    found: bool = True
    """False: its commands are not on this machine."""
    cores_total: int = 0
    cores_free: int = 0
    jobs_waiting: int = 0
    waiting_reason: str = ""
    """The scheduler's own words for the job that has waited longest."""


class ContainerProbe(Protocol):
    """Looks at the container engine. Called by `Places` in a thread, at most once at a time."""

    def __call__(self) -> ContainerFacts | Awaitable[ContainerFacts]:
        """Return what is there now; what it awaits runs in the hub's event loop."""


class QueueProbe(Protocol):
    """Looks at the batch queue of a site. Called by `Places` in a thread, at most once at a time for each site."""

    def __call__(self, site: str, /) -> QueueFacts | Awaitable[QueueFacts]:
        """Return what is there now; what it awaits runs in the hub's event loop."""


@dataclass(frozen=True)
class Reason:
    """A scheduler's words for why a job waits, explained once the reader's language is known."""

    words: str

    def say(self, language: str) -> str:
        """Return the explanation in `language`; the words themselves where nobody knows a better one."""
        return _one_line(explain_reason(self.words, language))


@dataclass(frozen=True)
class Message:
    """A text of the catalogue with its values, said in a language once the reader is known."""

    key: str
    values: Mapping[str, object] = field(default_factory=dict)

    def say(self, language: str) -> str:
        """Return the text in `language`; so are the reasons among the values."""
        values = {
            name: value.say(language) if isinstance(value, Reason) else value for name, value in self.values.items()
        }
        return translate(language, f"places.{self.key}", **values)


@dataclass(frozen=True)
class PlaceState:
    """How a site is doing."""

    site: str
    state: State
    text: Message
    hint: Message | None = None
    """What the user can do about it."""


@dataclass(frozen=True)
class ProfileState:
    """Whether a session of a profile can start now."""

    profile: str
    available: bool
    state: State
    badge: Message
    text: Message
    hint: Message | None = None

    def as_json(self, language: str) -> dict[str, object]:
        """Return what a spawn page shows of it, in `language`."""
        return {
            "profile": self.profile,
            "available": self.available,
            "state": self.state,
            "badge": self.badge.say(language),
            "text": self.text.say(language),
            "hint": self.hint.say(language) if self.hint else "",
        }


def place_state(name: str, site: Site, facts: ContainerFacts | QueueFacts | None) -> PlaceState:
    """Return how site `name` is doing, from what its probe said; None: a site of plain processes needs no probe."""
    if facts is None:
        return PlaceState(name, "ready", Message("ready_host"))
    kind = "engine" if isinstance(facts, ContainerFacts) else "queue"
    if not facts.found:
        return PlaceState(name, "missing", Message(f"missing_{kind}"), Message(f"missing_{kind}_hint"))
    if not facts.reachable:
        said = Message("down_said", {"error": _one_line(facts.error)}) if facts.error else Message("down")
        return PlaceState(name, "down", said, Message("down_hint"))
    if isinstance(facts, ContainerFacts):
        return PlaceState(name, "ready", Message("ready_engine"))
    return _queue_state(name, facts, cores=1)


def profile_state(lab: Lab, profile: Profile, facts: ContainerFacts | QueueFacts | None) -> ProfileState:
    """Return whether a session of `profile` can start now, from what its site's probe said."""
    place = place_state(profile.site, lab.sites[profile.site], facts)
    if place.state in ("down", "missing"):
        return _of_place(profile, place, available=False)
    if isinstance(facts, ContainerFacts):
        return _container_state(profile, facts)
    if isinstance(facts, QueueFacts):
        place = _queue_state(profile.site, facts, cores=round(profile.cpus.default))
    return _of_place(profile, place, available=True)


def _of_place(profile: Profile, place: PlaceState, *, available: bool) -> ProfileState:
    return ProfileState(profile.name, available, place.state, Message(f"badge_{place.state}"), place.text, place.hint)


def _queue_state(name: str, facts: QueueFacts, cores: int) -> PlaceState:
    values = {"free": facts.cores_free, "total": facts.cores_total, "waiting": facts.jobs_waiting}
    if facts.cores_free >= cores:
        return PlaceState(name, "ready", Message("ready_queue", values))
    if facts.jobs_waiting:
        key = "busy_queue" if facts.waiting_reason else "busy_queue_unsaid"
        said = {**values, "reason": Reason(facts.waiting_reason)}
        return PlaceState(name, "busy", Message(key, said), Message("busy_queue_hint"))
    return PlaceState(name, "busy", Message("full_queue", values), Message("busy_queue_hint"))


def _container_state(profile: Profile, facts: ContainerFacts) -> ProfileState:
    image = facts.images.get(profile.environment, "missing")
    values = {"environment": profile.environment}
    if image == "building":
        text, hint = Message("image_building", values), Message("image_building_hint")
        return ProfileState(profile.name, False, "busy", Message("badge_building"), text, hint)
    if image == "missing":
        text, hint = Message("image_missing", values), Message("image_missing_hint", values)
        return ProfileState(profile.name, False, "missing", Message("badge_image_missing"), text, hint)
    slots = _free_slots(profile, facts)
    if slots is None:
        return ProfileState(profile.name, True, "ready", Message("badge_ready"), Message("ready_engine"))
    if slots < 1:
        # The engine shares cores and memory between containers, so a full machine still starts one more.
        text, hint = Message("full_engine", {"sessions": facts.sessions}), Message("full_engine_hint")
        return ProfileState(profile.name, True, "busy", Message("badge_busy"), text, hint)
    text = Message("ready_slot" if slots == 1 else "ready_slots", {"slots": slots})
    return ProfileState(profile.name, True, "ready", Message("badge_ready"), text)


def _free_slots(profile: Profile, facts: ContainerFacts) -> int | None:
    """Return how many sessions of `profile` as it comes find room; None where the machine's size is not known."""
    rooms = []
    if facts.cpus_total:
        rooms.append((facts.cpus_total - facts.cpus_used) // profile.cpus.default)
    if facts.memory_total_bytes:
        rooms.append((facts.memory_total_bytes - facts.memory_used_bytes) // profile.memory.default)
    return max(0, int(min(rooms))) if rooms else None


def _one_line(words: str) -> str:
    """Return `words` fit for a card: one line, not too long."""
    line = " ".join(words.split()).rstrip(".")
    return line if len(line) <= _WORDS_LENGTH else line[:_WORDS_LENGTH] + "…"


Facts = TypeVar("Facts", bound=ContainerFacts | QueueFacts)


class _Watch(Generic[Facts]):
    """The last answer of one probe, asked again when it is older than `FRESH_S`, by one thread at a time."""

    def __init__(
        self,
        probe: Callable[[], Facts | Awaitable[Facts]],
        failed: Callable[[str], Facts],
        executor: ThreadPoolExecutor,
    ) -> None:
        self._probe = probe
        self._failed = failed
        self._executor = executor
        self._answer: Facts | None = None
        self._answered = self._asked = -STALE_S
        self._asking: asyncio.Task[None] | None = None

    async def facts(self) -> Facts:
        """Return the last answer, waiting at most `PATIENCE_S` for a new one."""
        if time.monotonic() - self._answered > FRESH_S:
            await self._wait_for_answer()
        if self._answer is None or time.monotonic() - self._answered > STALE_S:
            return self._failed("")
        return self._answer

    async def _wait_for_answer(self) -> None:
        if self._asking is None:
            self._asked = time.monotonic()
            self._asking = asyncio.ensure_future(self._ask())
        # Who comes while a probe hangs does not wait for it anew.
        remaining = PATIENCE_S - (time.monotonic() - self._asked)
        if remaining > 0:
            await asyncio.wait([self._asking], timeout=remaining)

    async def _ask(self) -> None:
        try:
            said = await asyncio.get_running_loop().run_in_executor(self._executor, self._probe)
            self._answer = await said if inspect.isawaitable(said) else said
        except SpringtideError as error:
            self._answer = self._failed(error.message)
        except Exception as error:
            # Whatever a probe meets, the spawn page stays: its place is shown as down, with these words.
            log.exception("A probe of the spawn page failed")
            self._answer = self._failed(str(error) or type(error).__name__)
        finally:
            self._answered = time.monotonic()
            self._asking = None


class Places(Shared):
    """The live state of a lab's profiles.

    Parameters
    ----------
    lab : Lab
        The lab served.
    container_probe : ContainerProbe
        Looks at the container engine; never called if no site uses it.
    queue_probe : QueueProbe
        Looks at the queue of a batch site.
    """

    def __init__(self, lab: Lab, container_probe: ContainerProbe, queue_probe: QueueProbe) -> None:
        self.lab = lab
        queues = [name for name, site in lab.sites.items() if isinstance(site, BatchSite)]
        self._executor = ThreadPoolExecutor(max_workers=len(queues) + 1, thread_name_prefix="places")
        self._engine = _Watch[ContainerFacts](container_probe, _engine_failed, self._executor)
        self._queues = {name: self._watch_queue(queue_probe, name) for name in queues}

    def _watch_queue(self, probe: QueueProbe, name: str) -> _Watch[QueueFacts]:
        return _Watch[QueueFacts](lambda: probe(name), _queue_failed, self._executor)

    async def states(self, groups: Collection[str]) -> tuple[ProfileState, ...]:
        """Return the state of each profile that a member of `groups` may use."""
        profiles = visible_profiles(self.lab, groups)
        facts = await asyncio.gather(*(self._facts(profile.site) for profile in profiles))
        return tuple(profile_state(self.lab, *pair) for pair in zip(profiles, facts, strict=True))

    async def place_states(self) -> tuple[PlaceState, ...]:
        """Return the state of each site."""
        facts = await asyncio.gather(*(self._facts(name) for name in self.lab.sites))
        sites = self.lab.sites.items()
        return tuple(place_state(name, site, fact) for (name, site), fact in zip(sites, facts, strict=True))

    def close(self) -> None:
        """Start no further probe."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _facts(self, site_name: str) -> ContainerFacts | QueueFacts | None:
        site = self.lab.sites[site_name]
        if isinstance(site, LocalSite):
            return await self._engine.facts() if site.runtime == "docker" else None
        return await self._queues[site_name].facts()


def _engine_failed(words: str) -> ContainerFacts:
    return ContainerFacts(reachable=False, error=words)


def _queue_failed(words: str) -> QueueFacts:
    return QueueFacts(reachable=False, error=words)


class PlacesHandler(APIHandler):
    """``GET /hub/api/springtide/places``: the state of the profiles open to whoever asks, in their language."""

    def initialize(self, places: Places) -> None:
        """Keep the hub's `places`. Called by tornado for each request."""
        super().initialize()
        self._places = places

    async def get(self) -> None:
        """Answer ``{"profiles": [{profile, available, state, badge, text, hint}, …]}``; 403 without a login."""
        if self.current_user is None:
            raise web.HTTPError(403)
        language = pick_language(self.request.headers.get("Accept-Language", ""))
        states = await self._places.states(groups_of(self.current_user))
        self.set_header("Cache-Control", "no-store")
        self.finish({"profiles": [state.as_json(language) for state in states]})


def groups_of(user: object) -> frozenset[str]:
    """Return the names of a JupyterHub user's groups; a service has none."""
    groups: Sequence[object] = getattr(user, "groups", ())
    return frozenset(str(getattr(group, "name", group)) for group in groups)


def handlers(places: Places) -> list[tuple[str, type[PlacesHandler], dict[str, Places]]]:
    """Return the handlers to register under the hub's prefix, before its own catch-all of ``/api/``."""
    return [(r"/api/springtide/places", PlacesHandler, {"places": places})]
