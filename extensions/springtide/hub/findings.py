"""What a check of the platform saw."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["ok", "absent", "broken"]


@dataclass(frozen=True)
class Finding:
    """What one check saw. ``absent`` is what an optional site may be; ``broken`` needs somebody to act."""

    subject: str
    state: State
    message: str
    hint: str = ""
    site: str = ""
    kind: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it for ``springtide doctor --json``."""
        return asdict(self)
