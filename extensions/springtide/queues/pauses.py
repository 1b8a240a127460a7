"""How long a scheduler is left in peace between two bulk commands.

Two rules pull at it: at most 4 connections a minute when nothing changes (so 15 s apart or more), and a job's end known
within 2 intervals. With the interval of 10 s both hold where an idle pause is 1.6 intervals and the jitter adds up to a
tenth: 16 to 17.6 s, which leaves 2.4 s for the answer. Any change brings the interval itself back.
In an outage the pause doubles up to half a minute.
Somebody in front of a page may ask faster: that is never idle, and backs off to the interval at most.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

IDLE_FACTOR = 1.6
JITTER = 0.1
LONGEST_S = 30.0
_QUIET_ANSWERS_UNTIL_IDLE = 3
_MOST_DOUBLINGS = 10
_SLOW_S = 1.0


@dataclass
class Pauses:
    """Counts what the scheduler answered, and says how long to wait until the next question."""

    _random: random.Random = field(default_factory=random.Random)
    _asked_at: float = float("-inf")
    _took_s: float = 0.0
    _failures: int = 0
    _quiet: int = 0
    _jitter: float = 1.0
    _changed_at: float = float("-inf")

    def asked(self) -> None:
        """Note that a question begins."""
        self._asked_at = time.monotonic()
        # Hubs and command lines started together drift apart.
        self._jitter = self._random.uniform(1.0, 1.0 + JITTER)

    def answered(self, *, changed: bool) -> None:
        """Note a good answer, and whether it differed from the last."""
        self._took_s = time.monotonic() - self._asked_at
        if changed:
            self._changed_at = time.monotonic()
        self._failures = 0
        self._quiet = 0 if changed else self._quiet + 1

    def failed(self) -> None:
        """Note an outage."""
        self._took_s = time.monotonic() - self._asked_at
        self._failures += 1
        self._quiet = 0

    def idle_since(self, moment: float) -> bool:
        """Whether somebody looks all the time, and nothing has changed lately nor since `moment`, a monotonic time."""
        looked_at = time.monotonic() - self._asked_at < 2 * LONGEST_S
        return self._is_quiet and looked_at and self._changed_at < moment

    @property
    def _is_quiet(self) -> bool:
        return self._quiet >= _QUIET_ANSWERS_UNTIL_IDLE

    def left_s(self, interval_s: float, within_s: float | None) -> float:
        """Return how long to wait yet; zero or less: ask now.

        Parameters
        ----------
        interval_s : float
            The usual time between two questions.
        within_s : float or None
            How old an answer may be for somebody who cannot wait that long.
        """
        pause_s = self.pause_s(interval_s, within_s)
        if within_s is None and self._took_s > _SLOW_S:
            # One that is slow to answer has as long to itself as it needed.
            pause_s = max(pause_s, min(2 * self._took_s, self._took_s + LONGEST_S))
        return self._asked_at + pause_s - time.monotonic()

    def pause_s(self, interval_s: float, within_s: float | None) -> float:
        """Return the least time between the last question and the next."""
        impatient = within_s is not None and within_s < interval_s
        base = within_s if impatient and within_s is not None else interval_s
        if self._failures:
            longest = interval_s if impatient else max(LONGEST_S, interval_s)
            return min(base * 2.0 ** min(self._failures - 1, _MOST_DOUBLINGS), longest) * self._jitter
        if impatient:
            return base
        return base * (IDLE_FACTOR if self._is_quiet else 1.0) * self._jitter
