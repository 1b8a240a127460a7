"""What Springtide says to people, in English and French, in one place.

Each ``AREA.yaml`` beside this file maps a key to its two texts, so that a translation is never far from its original::

    queue_full:
      en: "All {slots} slots are taken."
      fr: "Les {slots} places sont prises."

A text is asked for as ``area.key``; values are filled in by `str.format`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import yaml

LANGUAGES = ("en", "fr")
Translate = Callable[..., str]


@cache
def _catalog() -> dict[str, dict[str, str]]:
    """Return every text as ``{"area.key": {"en": …, "fr": …}}``."""
    texts: dict[str, dict[str, str]] = {}
    for file in sorted(Path(__file__).parent.glob("*.yaml")):
        for key, translations in yaml.safe_load(file.read_text(encoding="utf-8")).items():
            texts[f"{file.stem}.{key}"] = translations
    return texts


def translate(language: str, key: str, **values: object) -> str:
    """Return text `key` ("area.key") in `language`, with `values` filled in.

    Raises
    ------
    KeyError
        If there is no such text: a mistake of the code, caught by the catalogue's test.
    """
    return _catalog()[key][language].format(**values)


def translator(language: str) -> Translate:
    """Return `translate` bound to `language`."""

    def bound(key: str, **values: object) -> str:
        return translate(language, key, **values)

    return bound


def pick_language(accept_language: str) -> str:
    """Return "en" or "fr", whichever an ``Accept-Language`` header prefers; "en" where it names neither."""
    best, best_weight = "en", 0.0
    for part in accept_language.split(","):
        tag, _, parameters = part.strip().partition(";")
        language = tag.split("-")[0].strip().lower()
        try:
            weight = float(parameters.replace(" ", "").removeprefix("q=")) if parameters else 1.0
        except ValueError:
            continue
        if language in LANGUAGES and weight > best_weight:
            best, best_weight = language, weight
    return best
