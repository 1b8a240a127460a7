"""What is found when an environment is checked."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


class State(enum.Enum):
    """How a part of a check ended."""

    OK = "ok"
    WARNING = "warning"
    """Something to look at, that does not make the check fail."""
    FAILED = "failed"
    NOT_CHECKED = "not checked"
    """It could not be looked at: nothing is known."""


@dataclass(frozen=True)
class Finding:
    """What one part of a check found."""

    subject: str
    state: State
    message: str
    details: tuple[str, ...] = ()
    """Lines: faults, names, the end of a log."""
    data: dict[str, Any] = field(default_factory=dict)
    """Figures, for programs."""

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "subject": self.subject,
            "state": self.state.value,
            "message": self.message,
            "details": list(self.details),
            **self.data,
        }


def passed(findings: Sequence[Finding]) -> bool:
    """Say whether nothing failed."""
    return all(finding.state is not State.FAILED for finding in findings)
