"""What a user may ask for a session, checked the same way whether it comes from the form or from the API.

Keys: ``profile``, ``cpus`` (cores), ``memory`` ("2G", or bytes), ``walltime`` ("2h", or seconds) and ``queue``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from springtide.errors import OptionsError
from springtide.lab.models import BatchSite, Lab, Profile, WalltimeRange
from springtide.lab.profiles import queues_of, visible_profiles
from springtide.texts import translator
from springtide.units import describe_duration, format_memory, parse_memory, parse_walltime

OPTION_KEYS = ("profile", "cpus", "memory", "walltime", "queue")

Parse = Callable[[str | int], int]

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_SHOWN_CHARACTERS = 60
_UNIT_NAMES = {"en": ("B", "d"), "fr": ("o", "j")}


@dataclass(frozen=True)
class SessionRequest:
    """A session that the lab allows: a profile, and resources within its limits."""

    profile: str
    cpus: float
    memory_bytes: int
    walltime_s: int | None
    """None where the site sets no end: everywhere but on batch queues."""
    queue: str
    """Empty: the scheduler's default, or not a batch site."""


def is_batch(lab: Lab, profile: Profile) -> bool:
    """Whether sessions of `profile` are jobs of a batch queue."""
    return isinstance(lab.sites[profile.site], BatchSite)


def walltime_limits(lab: Lab, profile: Profile) -> WalltimeRange | None:
    """Return how long a session of `profile` may run; None where nothing ends it."""
    return (profile.walltime or WalltimeRange()) if is_batch(lab, profile) else None


def default_request(lab: Lab, profile: Profile) -> SessionRequest:
    """Return what a user gets who picks `profile` and changes nothing."""
    walltime = walltime_limits(lab, profile)
    return SessionRequest(
        profile=profile.name,
        cpus=profile.cpus.default,
        memory_bytes=profile.memory.default,
        walltime_s=walltime.default if walltime else None,
        queue=next(iter(queues_of(lab, profile)), ""),
    )


def validate_options(
    lab: Lab, options: Mapping[str, object], groups: Collection[str], *, language: str = "en"
) -> SessionRequest:
    """Return the session that `options` ask for, the profile's defaults standing for what they leave out.

    Parameters
    ----------
    options : mapping
        Form data (lists of strings, as JupyterHub gives them) or the API's JSON. Empty: the first visible profile,
        which is what JupyterHub sends for a start without a form.
    groups : collection of str
        The user's JupyterHub groups: a profile of other groups is as unknown as one that does not exist.
    language : str, optional
        Language of the error's texts.

    Raises
    ------
    OptionsError
        If a key is unknown or a value is of the wrong type or outside the limits; it names the key and what is allowed.
    """
    check = _Check(language)
    asked = check.each_once(options)
    profile = check.profile(asked, visible_profiles(lab, groups))
    default = default_request(lab, profile)
    return SessionRequest(
        profile=profile.name,
        cpus=check.cpus(asked, profile, whole=is_batch(lab, profile)),
        memory_bytes=check.memory(asked, profile),
        walltime_s=check.walltime(asked, profile, walltime_limits(lab, profile)),
        queue=check.queue(asked, profile, queues_of(lab, profile), default.queue),
    )


def as_user_options(request: SessionRequest) -> dict[str, object]:
    """Return `request` in the form kept in the hub's database: JSON values that `validate_options` accepts again."""
    kept: dict[str, object] = {
        "profile": request.profile,
        "cpus": request.cpus,
        "memory": request.memory_bytes,
    }
    if request.walltime_s is not None:
        kept["walltime"] = request.walltime_s
    if request.queue:
        kept["queue"] = request.queue
    return kept


def from_user_options(kept: Mapping[str, object]) -> SessionRequest:
    """Return the request that `as_user_options` wrote, without asking whether the lab still allows it.

    Raises
    ------
    OptionsError
        If `kept` is nothing that `as_user_options` writes.
    """
    profile, cpus, memory = kept.get("profile"), kept.get("cpus"), kept.get("memory")
    walltime, queue = kept.get("walltime"), kept.get("queue", "")
    if not (
        isinstance(profile, str)
        and isinstance(cpus, int | float)
        and isinstance(memory, int)
        and isinstance(walltime, int | None)
        and isinstance(queue, str)
    ):
        _Check("en").refuse("profile", "option_not_kept", found=_shown(dict(kept)))
    return SessionRequest(profile, float(cpus), memory, walltime, queue)


def say_cpus(cpus: float, language: str) -> str:
    """Return a number of cores as people say it ("2 cores")."""
    number = f"{cpus:g}".replace(".", "," if language == "fr" else ".")
    return translator(language)("spawn.one_core" if cpus <= 1 else "spawn.cores", number=number)


def say_memory(memory_bytes: int, language: str) -> str:
    """Return a memory size as people say it ("4 GB")."""
    short = format_memory(memory_bytes)
    number, unit = (short[:-1], short[-1]) if short[-1] != "B" else (short[:-1], "")
    byte = _UNIT_NAMES[language][0]
    return f"{number.replace('.', ',') if language == 'fr' else number} {unit}{byte}"


def say_duration(seconds: float, language: str) -> str:
    """Return a duration as people say it ("2 h 30 min")."""
    words = describe_duration(seconds).split(" ")
    return " ".join(_UNIT_NAMES[language][1] if word == "d" else word for word in words)


class _Check:
    """Checks one option at a time; refusals are said in `language`."""

    def __init__(self, language: str) -> None:
        self._language = language
        self._text = translator(language)

    def refuse(self, field: str, key: str, **values: object) -> NoReturn:
        """Raise the error whose texts are ``spawn.KEY`` and ``spawn.KEY_hint``."""
        message = self._text(f"spawn.{key}", field=field, **values)
        raise OptionsError(field, message, self._text(f"spawn.{key}_hint", field=field, **values))

    def each_once(self, options: Mapping[str, object]) -> dict[str, object]:
        """Return `options` with known keys only and the form's lists of one replaced by their element."""
        for key in options:
            if key not in OPTION_KEYS:
                self.refuse(_shown(key), "option_unknown", allowed=", ".join(OPTION_KEYS))
        return {key: self._only_one(key, value) for key, value in options.items()}

    def profile(self, asked: Mapping[str, object], visible: Sequence[Profile]) -> Profile:
        """Return the visible profile asked for; the first where none is named."""
        if not visible:
            self.refuse("profile", "option_no_profile")
        if "profile" not in asked:
            return visible[0]
        for profile in visible:
            if profile.name == asked["profile"]:
                return profile
        names = ", ".join(profile.name for profile in visible)
        self.refuse("profile", "option_profile", found=_shown(asked["profile"]), allowed=names)

    def cpus(self, asked: Mapping[str, object], profile: Profile, *, whole: bool) -> float:
        """Return the number of cores; batch schedulers know whole cores only."""
        limits = profile.cpus
        number = _number(asked.get("cpus", limits.default))
        allowed = {"low": say_cpus(limits.min, self._language), "high": say_cpus(limits.max, self._language)}
        if number is None or not limits.min <= number <= limits.max:
            self.refuse("cpus", "option_outside", found=_shown(asked["cpus"]), **allowed)
        if whole and number % 1:
            self.refuse("cpus", "option_whole", found=_shown(asked.get("cpus", limits.default)), **allowed)
        return float(number)

    def memory(self, asked: Mapping[str, object], profile: Profile) -> int:
        """Return the memory in bytes."""
        if "memory" not in asked:
            return profile.memory.default
        limits, value = profile.memory, asked["memory"]
        size = _parsed(parse_memory, value)
        if size is None or not limits.min <= size <= limits.max:
            low, high = (say_memory(limit, self._language) for limit in (limits.min, limits.max))
            self.refuse("memory", "option_outside", found=_shown(value), low=low, high=high)
        return size

    def walltime(self, asked: Mapping[str, object], profile: Profile, limits: WalltimeRange | None) -> int | None:
        """Return the seconds until the batch system ends the session; None where there is no batch system."""
        if limits is None:
            if "walltime" in asked:
                self.refuse("walltime", "option_batch_only", profile=profile.name)
            return None
        if "walltime" not in asked:
            return limits.default
        seconds = _parsed(parse_walltime, asked["walltime"])
        if seconds is None or not limits.min <= seconds <= limits.max:
            low, high = (say_duration(limit, self._language) for limit in (limits.min, limits.max))
            self.refuse("walltime", "option_outside", found=_shown(asked["walltime"]), low=low, high=high)
        return seconds

    def queue(self, asked: Mapping[str, object], profile: Profile, choices: Sequence[str], default: str) -> str:
        """Return one of the queues offered."""
        if "queue" not in asked:
            return default
        if not choices:
            self.refuse("queue", "option_no_queue", profile=profile.name)
        for queue in choices:
            if queue == asked["queue"]:
                return queue
        self.refuse("queue", "option_queue", found=_shown(asked["queue"]), allowed=", ".join(choices))

    def _only_one(self, key: str, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        if len(value) != 1:
            self.refuse(key, "option_repeated", number=len(value))
        return value[0]


def _number(value: object) -> int | float | None:
    """Return `value` as a number; None for anything else, booleans and words like "nan" included."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value.strip()) else None
    return value if isinstance(value, int | float) else None


def _parsed(parse: Parse, value: object) -> int | None:
    """Return what `parse` makes of a text or an integer; None where it makes nothing of it."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    try:
        return parse(value)
    except (ValueError, OverflowError):
        return None


def _shown(value: object) -> str:
    """Return `value` as it may stand in an error message: printable, and not longer than a line."""
    try:
        shown = value if isinstance(value, str) and value.isprintable() else repr(value)
    except ValueError:
        # Python refuses to write out integers of thousands of digits in decimal.
        shown = "…"
    return shown if len(shown) <= _SHOWN_CHARACTERS else shown[:_SHOWN_CHARACTERS] + "…"
