"""What a job was asked for, complete enough to run it again: plain values, stored as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from springtide.errors import JobError
from springtide.jobs.applications.values import Value
from springtide.queues.model import After

VERSION = 1
"""Of the form in which a spec is stored."""


@dataclass(frozen=True)
class Follow:
    """A job that comes first."""

    when: str
    """A word of `springtide.queues.model.After`."""
    token: str


@dataclass(frozen=True)
class JobSpec:
    """One submission of an application: one run, or the runs of a sweep."""

    application: str
    """``ENVIRONMENT/NAME``."""
    runs: tuple[Mapping[str, Value], ...]
    """The values of each run's parameters, seeds drawn and defaults filled in."""
    swept: tuple[str, ...] = ()
    """The parameters in which the runs differ."""
    name: str = ""
    site: str = ""
    """The site it goes to."""
    reason: str = ""
    """Why it goes there, in words; empty: its user chose it."""
    cores: int = 1
    memory_bytes: int = 2**30
    walltime_s: int = 3600
    nodes: int = 1
    ranks: int = 0
    after: tuple[Follow, ...] = ()
    at_once: int = 0
    """The most runs at a time; 0: no limit."""
    image: str = ""
    """Digest of the image in which it runs; empty: none, the software of the site itself."""

    def as_json(self) -> str:
        """Return it as JSON."""
        return json.dumps({"version": VERSION, **asdict(self)}, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> JobSpec:
        """Return the spec that `text` holds.

        Raises
        ------
        JobError
            If it is none, or one of a newer Springtide.
        """
        try:
            values = json.loads(text)
            if values.pop("version") != VERSION:
                raise JobError("A newer Springtide wrote what this job was asked for.", "Use that one here too.")
            follows = tuple(Follow(**follow) for follow in values.pop("after"))
            runs, swept = tuple(values.pop("runs")), tuple(values.pop("swept"))
            return cls(**values, runs=runs, swept=swept, after=follows)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise JobError(f"What this job was asked for cannot be read: {error}.") from error

    def at(self, site: str, reason: str) -> JobSpec:
        """Return the same for a site."""
        return replace(self, site=site, reason=reason)

    def within(self, image: str) -> JobSpec:
        """Return the same in the image with the digest `image`."""
        return replace(self, image=image)

    @property
    def given(self) -> dict[str, Any]:
        """The parameters as somebody would give them to have the same runs: lists for those that are swept."""
        if not self.swept:
            return dict(self.runs[0])
        several: dict[str, Any] = dict(self.runs[0])
        for name in self.swept:
            several[name] = list(dict.fromkeys(run[name] for run in self.runs))
        return several


def follows(after: Mapping[After, Sequence[str]]) -> tuple[Follow, ...]:
    """Return the jobs to follow, in the order of their kinds."""
    return tuple(Follow(when.value, token) for when, tokens in after.items() for token in tokens)
