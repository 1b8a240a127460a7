"""The spawn page's form: one card per profile, resources within limits, the live state of each place."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2

from springtide.errors import OptionsError
from springtide.hub.options import (
    SessionRequest,
    default_request,
    is_batch,
    say_cpus,
    say_duration,
    say_memory,
    validate_options,
    walltime_limits,
)
from springtide.hub.places import ProfileState
from springtide.lab.models import CpuRange, Lab, MemoryRange, Profile, WalltimeRange
from springtide.lab.profiles import description, label, queues_of, visible_profiles
from springtide.texts import translate, translator

TEMPLATES = Path(__file__).parent / "templates"

_MEMORY_STEPS = sorted(number * 2**power for power in range(20, 45) for number in (2, 3))
_HOUR = 3600
_WALLTIME_STEPS = [
    *(minutes * 60 for minutes in (5, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 4, 8, 12, 24, 48, 72, 120, 168, 336, 720)),
]
_MOST_CPU_CHOICES = 32


@dataclass(frozen=True)
class Choice:
    """One entry of a list to choose from."""

    value: str
    label: str


@dataclass(frozen=True)
class Control:
    """One resource a user may change; a fixed one has a single choice."""

    name: str
    label: str
    chosen: str
    choices: tuple[Choice, ...]

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return len(self.choices) < 2

    @property
    def shown(self) -> str:
        """What is chosen, as people say it."""
        return next((choice.label for choice in self.choices if choice.value == self.chosen), self.chosen)


@dataclass(frozen=True)
class Card:
    """One profile as the page shows it."""

    name: str
    label: str
    description: str
    site: str
    environment: str
    selected: bool
    controls: tuple[Control, ...]
    state: Mapping[str, object]
    """Of `ProfileState.as_json`."""

    @property
    def changeable(self) -> bool:
        """Whether any resource has more than one choice."""
        return any(not control.fixed for control in self.controls)


def render_spawn_form(
    lab: Lab,
    *,
    language: str,
    groups: Collection[str],
    places: Sequence[ProfileState],
    defaults: Mapping[str, object],
    server_name: str = "",
) -> str:
    """Return the HTML for JupyterHub's ``Spawner.options_form``.

    Parameters
    ----------
    places : sequence of ProfileState
        What `Places.states` says for `groups`; a profile without a state is shown as ready.
    defaults : mapping
        The last ``user_options``, to be proposed again as far as the lab still allows them.
    server_name : str, optional
        The named server to start; empty for the user's default one.
    """
    cards = profile_cards(lab, language=language, groups=groups, places=places, defaults=defaults)
    template = _templates().get_template("spawn_form.html")
    return template.render(
        cards=cards,
        server_name=server_name,
        several_environments=len({card.environment for card in cards}) > 1,
        t=translator(language),
    )


def profile_cards(
    lab: Lab,
    *,
    language: str,
    groups: Collection[str],
    places: Sequence[ProfileState],
    defaults: Mapping[str, object],
) -> tuple[Card, ...]:
    """Return the cards of the profiles open to `groups`; the one of the last choice is selected if it can start."""
    profiles = visible_profiles(lab, groups)
    states = {state.profile: state for state in places}
    last = _still_allowed(lab, defaults, groups)
    selected = _selected(profiles, states, last)
    return tuple(
        _card(lab, profile, states.get(profile.name), last, language, selected=profile.name == selected)
        for profile in profiles
    )


def site_label(lab: Lab, name: str, language: str) -> str:
    """Return what people call site `name`: its label, or what kind of place it is."""
    site = lab.sites[name]
    if site.label:
        return site.label.in_language(language)
    if site.kind == "local":
        return translate(language, "spawn.site_local")
    return translate(language, "spawn.site_batch", name=name)


def environment_label(lab: Lab, name: str, language: str) -> str:
    """Return what people call environment `name`: its label, or its name."""
    environment = lab.environments.get(name)
    return environment.label.in_language(language) if environment and environment.label else name


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _still_allowed(lab: Lab, defaults: Mapping[str, object], groups: Collection[str]) -> SessionRequest | None:
    """Return the last choice without what the lab does not allow (any more); None where its profile is not allowed."""
    kept = dict(defaults)
    while kept:
        try:
            return validate_options(lab, kept, groups)
        except OptionsError as error:
            if error.field == "profile" or error.field not in kept:
                return None
            del kept[error.field]
    return None


def _selected(profiles: Sequence[Profile], states: Mapping[str, ProfileState], last: SessionRequest | None) -> str:
    """Return the profile to select: the last choice, else the first that is ready, else the first that can start."""
    can_start = [profile.name for profile in profiles if profile.name not in states or states[profile.name].available]
    if last and last.profile in can_start:
        return last.profile
    ready = [name for name in can_start if name not in states or states[name].state == "ready"]
    return next(iter([*ready, *can_start]), "")


def _card(
    lab: Lab,
    profile: Profile,
    state: ProfileState | None,
    last: SessionRequest | None,
    language: str,
    *,
    selected: bool,
) -> Card:
    chosen = last if last and last.profile == profile.name else default_request(lab, profile)
    return Card(
        name=profile.name,
        label=label(profile, language),
        description=description(profile, language),
        site=site_label(lab, profile.site, language),
        environment=environment_label(lab, profile.environment, language),
        selected=selected,
        controls=tuple(_controls(lab, profile, chosen, language)),
        state=state.as_json(language)
        if state
        else {"available": True, "state": "", "badge": "", "text": "", "hint": ""},
    )


def _controls(lab: Lab, profile: Profile, chosen: SessionRequest, language: str) -> Iterable[Control]:
    """Yield the resources of a card; what the profile does not have, is not there."""
    text = translator(language)
    walltime, queues = walltime_limits(lab, profile), queues_of(lab, profile)
    cpus = _cpu_choices(profile.cpus, chosen.cpus, language, whole=is_batch(lab, profile))
    yield Control("cpus", text("spawn.cpus"), f"{chosen.cpus:g}", cpus)
    memory = _memory_choices(profile.memory, chosen.memory_bytes, language)
    yield Control("memory", text("spawn.memory"), str(chosen.memory_bytes), memory)
    if walltime and chosen.walltime_s is not None:
        durations = _walltime_choices(walltime, chosen.walltime_s, language)
        yield Control("walltime", text("spawn.walltime"), str(chosen.walltime_s), durations)
    if queues:
        yield Control("queue", text("spawn.queue"), chosen.queue, tuple(Choice(queue, queue) for queue in queues))


def _cpu_choices(limits: CpuRange, chosen: float, language: str, *, whole: bool) -> tuple[Choice, ...]:
    """Return the whole numbers of cores within `limits`, a doubling series where they are many, and the limits."""
    steps: Iterable[float] = range(1, int(limits.max) + 1)
    if limits.max - limits.min > _MOST_CPU_CHOICES:
        steps = (2**power for power in range(13))
    within = _within(steps, limits.min, limits.max, limits.default, chosen)
    return tuple(Choice(f"{cpus:g}", say_cpus(cpus, language)) for cpus in within if not whole or not cpus % 1)


def _memory_choices(limits: MemoryRange, chosen: int, language: str) -> tuple[Choice, ...]:
    within = _within(_MEMORY_STEPS, limits.min, limits.max, limits.default, chosen)
    return tuple(Choice(str(size), say_memory(int(size), language)) for size in within)


def _walltime_choices(limits: WalltimeRange, chosen: int, language: str) -> tuple[Choice, ...]:
    within = _within(_WALLTIME_STEPS, limits.min, limits.max, limits.default, chosen)
    return tuple(Choice(str(seconds), say_duration(seconds, language)) for seconds in within)


def _within(steps: Iterable[float], low: float, high: float, *others: float) -> list[float]:
    """Return the sorted `steps` between `low` and `high`, these two and `others` included."""
    inside = (step for step in steps if low < step < high)
    return sorted(set(itertools.chain(inside, (low, high), others)))
