"""What is known of a run: its job's state and cause, how far it is, and how long it may still take."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from springtide.errors import LedgerError
from springtide.jobs.folder import log_file
from springtide.jobs.spec import JobSpec
from springtide.ledger.records import JobRecord, RunRecord
from springtide.ledger.store import Ledger
from springtide.progress import last_progress
from springtide.queues.model import JobState
from springtide.queues.reasons import explain_end
from springtide.queues.views import UNKNOWN, JobView, info_of_record, iso_time, view_of_record
from springtide.texts import translate

_GRAIN = 0.001
# Before that, a rate says nothing.
_LEAST_PROGRESS = 0.01


@dataclass(frozen=True)
class Look:
    """One run as it was seen."""

    run: RunRecord
    view: JobView
    count: int = 1
    """How many runs its sweep has."""

    @property
    def time_left_s(self) -> float | None:
        """How long it may still take, if it goes on as until now."""
        done, started, at = self.run.progress, self.view.started, self.run.progress_time
        if self.view.state != JobState.RUNNING.value or not done or done < _LEAST_PROGRESS or not started or not at:
            return None
        return max(0.0, (at - started) * (1 - done) / done - (time.time() - at))

    def as_json(self) -> dict[str, Any]:
        """Return it as all interfaces do."""
        spec = JobSpec.from_json(self.run.spec)
        return {
            **self.view.as_json(),
            "token": self.run.token,
            "application": self.run.application,
            "parameters": spec.given,
            "runs": self.count,
            "site_reason": spec.reason or None,
            "progress": self.run.progress,
            "progress_words": self.run.progress_words or None,
            "time_left_s": self.time_left_s,
            "parent": self.run.parent or None,
            "folder": self.run.folder,
            "recorded": iso_time(self.run.recorded),
        }


def look_at_run(run: RunRecord, row: JobRecord | None, outage: str, language: str) -> Look:
    """Return what the ledger knows of a run; `outage` is what the scheduler said where it could not be asked."""
    spec = JobSpec.from_json(run.spec)
    count = len(spec.runs)
    if row is None:
        held = bool(spec.after)
        words = translate(
            language,
            "jobs.held" if held else "jobs.never_submitted",
            jobs=", ".join(follow.token for follow in spec.after),
        )
        state = JobState.WAITING.value if held else UNKNOWN
        view = JobView(
            id="", site=run.site, name=run.application, state=state, explanation=words, token=run.token, user=run.user
        )
        return Look(run, view, count)
    view = replace(view_of_record(row), token=run.token)
    info = info_of_record(row)
    if view.over and info is not None:
        view = view.explained(explain_end(info, language), "")
    elif outage and not view.over:
        view = view.unknown(outage)
    return Look(run, view, count)


def with_progress(look: Look, ledger: Ledger) -> Look:
    """Return the same with what its programs printed last; it is written down, as files may be removed."""
    row_begun = look.view.started is not None or look.view.state == JobState.RUNNING.value or look.view.over
    if not row_begun or (look.view.over and look.run.progress == 1.0):
        return look
    found = [last_progress(log_file(Path(look.run.folder), index, look.count)) for index in range(1, look.count + 1)]
    if not any(found):
        return look
    done = sum(one[0] for one in found if one) / look.count
    words = next((one[1] for one in reversed(found) if one and one[1] and one[0] < 1), "")
    words = words or next((one[1] for one in reversed(found) if one), "")
    if look.run.progress is not None and abs(look.run.progress - done) < _GRAIN and look.run.progress_words == words:
        return look
    changes = {"progress": done, "progress_words": words, "progress_time": time.time()}
    with contextlib.suppress(LedgerError):
        ledger.update_run(look.run.token, **changes)
    return replace(look, run=replace(look.run, **changes))  # type: ignore[arg-type]  # the fields' own types
