"""What the monitor says of a job, and of all of them: with UNKNOWN and GONE kept apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from springtide.queues.model import JobInfo


@dataclass(frozen=True)
class Sight:
    """What the monitor knows of one job.

    ``job`` is None in two cases kept apart by ``gone``: asked successfully, twice, and not there (gone); or the
    scheduler could not be asked (unknown), for ``age_s`` seconds already.
    """

    job: JobInfo | None
    gone: bool = False
    outage: str = ""
    age_s: float = 0.0

    @property
    def unknown(self) -> bool:
        """Whether nothing can be said of the job now."""
        return self.job is None and not self.gone

    @property
    def ended(self) -> bool:
        """Whether the scheduler answered that the job is over."""
        return self.gone or (self.job is not None and not self.job.state.alive)


@dataclass(frozen=True)
class Snapshot:
    """The last good answer about all jobs; ``outage`` says why there is none since, in the scheduler's words."""

    jobs: Mapping[str, JobInfo]
    age_s: float
    outage: str = ""


def is_waiting(sight: Sight) -> bool:
    """Whether the job is in the queue and has no node yet."""
    return sight.job is not None and sight.job.state.waits
