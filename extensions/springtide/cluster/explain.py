"""A decision in words, for the widget, the log and a dry run: one sentence for each worker and pool concerned."""

from __future__ import annotations

from springtide.cluster.decision import Decision, Note
from springtide.texts import Translate, translator
from springtide.units import describe_duration

CURRENCY = "€"


def explain(decision: Decision, language: str = "en", currency: str = CURRENCY) -> list[str]:
    """Return why each worker was or was not asked for, a sentence a line; at least one line."""
    text = translator(language)
    return [sentence(note, text, currency) for note in decision.notes] or [text("policy.nothing")]


def sentence(note: Note, text: Translate, currency: str = CURRENCY) -> str:
    """Return one reason in words, beginning with the worker or the pool it is about."""
    values = {name: _shown(name, value, currency) for name, value in note.values.items()}
    return f"{note.worker or note.pool}: {text(f'policy.{note.key}', **values)}"


def _shown(name: str, value: object, currency: str) -> str:
    if isinstance(value, int | float) and name.endswith("_s"):
        return describe_duration(value)
    if isinstance(value, int | float) and name in ("cost", "worth", "left"):
        return f"{value:.2f} {currency}"
    return str(value)
