"""What all parts of a lab file share, and the texts in them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from springtide.lab.fields import FilledLine, OneLine


class Model(BaseModel):
    """Base of all lab file models: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: Any) -> Any:
        return {} if value is None else value


class Text(Model):
    """A text shown to people: a plain string, or ``{en: …, fr: …}``."""

    en: FilledLine
    """The text in English."""
    fr: OneLine = ""
    """The text in French; empty: the English one is shown."""

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"en": value} if isinstance(value, str) else value

    def in_language(self, language: str) -> str:
        """Return the text in `language` ("en" or "fr"), English where there is no translation."""
        return self.fr if language == "fr" and self.fr else self.en
