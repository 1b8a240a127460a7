"""Follows the open jobs of all users: schedulers asked once for all, progress read, changes written down and told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from springtide.broker.desk import UserDesk
from springtide.broker.desks import Desks
from springtide.broker.news import News
from springtide.errors import JobError, LedgerError, QueueError, SpringtideError
from springtide.jobs.holding import held_among, submit_held
from springtide.jobs.looking import Look
from springtide.ledger.records import LOST, JobRecord, RunRecord
from springtide.progress import progress_in
from springtide.queues.model import JobState

_log = logging.getLogger(__name__)
# While somebody waits for jobs that are young, they may change soon; else the poller's own interval counts.
_PAUSE_S = 1.0
_WATCH_EVERY_S = 3.0
_YOUNG_S = 120.0
_TAIL_BYTES = 8192
_MOST_LOGS = 200
_CLEAR_EVERY_S = 3600.0
_HELD_EVERY_S = 2.0


@dataclass
class Follower:
    """One per broker."""

    desks: Desks
    news: News
    pause_s: float = _PAUSE_S
    watch_every_s: float = _WATCH_EVERY_S
    _seen: dict[str, tuple[object, ...]] = field(default_factory=dict)
    _open: dict[str, RunRecord] = field(default_factory=dict)
    _held_at: float = float("-inf")

    async def run(self) -> None:
        """Follow for ever; what fails once is tried again."""
        cleared = 0.0
        while True:
            try:
                await self.round()
                if time.monotonic() - cleared > _CLEAR_EVERY_S:
                    await asyncio.to_thread(self.desks.clear_uploads)
                    cleared = time.monotonic()
            except SpringtideError as error:
                _log.warning("Jobs could not be followed: %s", error)
            except Exception:  # whatever it is, the others' jobs are to be followed on
                _log.exception("Jobs could not be followed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.pause_s):
                    await self.news.moved.wait()
            self.news.moved.clear()

    async def round(self) -> None:
        """Look once at all that is open, and at what waits for jobs of other sites."""
        await self._submit_held()
        rows = await asyncio.to_thread(self.desks.ledger.jobs, kind="job", open_only=True)
        users: dict[str, list[JobRecord]] = defaultdict(list)
        for row in rows:
            users[row.user].append(row)
        before = self._open
        self._open = {}
        for user in {*users, *(run.user for run in before.values())}:
            known = [run for run in before.values() if run.user == user]
            await self._look_after(user, users.get(user, []), known)

    async def _submit_held(self) -> None:
        """Submit the runs that have waited for other sites' jobs which are over now, for all users."""
        if time.monotonic() - self._held_at < _HELD_EVERY_S:
            return
        self._held_at = time.monotonic()
        users: dict[str, list[RunRecord]] = defaultdict(list)
        for run in await asyncio.to_thread(self.desks.ledger.runs_left):
            users[run.user].append(run)
        for user, runs in users.items():
            with contextlib.suppress(SpringtideError):
                desk = self.desks.of(user)
                held = await held_among(desk, [run for run in runs if desk.has_place(run)], {})
                await submit_held(desk, held)
                self._open |= {run.token: run for run in held.runs}

    async def _look_after(self, user: str, rows: Sequence[JobRecord], before: Sequence[RunRecord]) -> None:
        try:
            desk = self.desks.of(user)
        except QueueError:
            return  # submitted by hand, by an account that the broker does not serve
        await self._refresh(desk, rows)
        tokens = {row.token for row in rows} | {run.job for run in before}
        found = await asyncio.to_thread(lambda: [desk.ledger.run(token) for token in tokens])
        runs = {run.token: run for run in found if run is not None}
        looks = await desk.look(list(runs.values()))
        looks = await self._with_progress(desk, looks)
        for look in looks:
            self._note(look)
            row = next((row for row in rows if row.token == look.run.job), None)
            if look.view.over and row is not None and await self._was_never(desk, look):
                continue
            if not look.view.over:
                self._open[look.run.token] = look.run

    async def _refresh(self, desk: UserDesk, rows: Sequence[JobRecord]) -> None:
        now = time.time()
        for name in {row.site for row in rows}:
            young = any(now - (row.submitted or row.recorded) < _YOUNG_S for row in rows if row.site == name)
            within_s = self.watch_every_s if young and self.news.listeners(desk.user) else None
            try:
                site = await desk.site(name)
                await site.dispatcher.settle()
                await site.dispatcher.refresh(within_s=within_s)
                desk.sites.outages.pop(name, None)
            except QueueError as error:
                desk.sites.outages[name] = error.message

    async def _was_never(self, desk: UserDesk, look: Look) -> bool:
        """Submit again what was looked for in vain: it is certain that it never reached its queue."""
        row = await asyncio.to_thread(desk.ledger.job, look.run.job)
        if row is None or row.state != LOST or row.job_id or not await desk.recover_run(look.run):
            return False
        _log.info("The run %s of %s is submitted after all", look.run.token, desk.user)
        return True

    def _note(self, look: Look) -> None:
        view, run = look.view, look.run
        sign = (view.state, view.id, view.exit_status, view.cause, view.explanation, run.progress, run.progress_words)
        if self._seen.get(run.token) != sign:
            self._seen[run.token] = sign
            self.news.tell(look)
        if view.over:
            self._seen.pop(run.token, None)

    # --- progress ---------------------------------------------------------------------------------------------------

    async def _with_progress(self, desk: UserDesk, looks: Sequence[Look]) -> list[Look]:
        """Return the same with what the programs printed last; it is written down, as files may be removed."""
        begun = [look for look in looks if look.view.state == JobState.RUNNING.value or look.view.over]
        logs = [
            (look, (desk.place(look.run), desk.log_name(look.run, index)))
            for look in begun
            for index in range(1, min(look.count, _MOST_LOGS) + 1)
            if desk.has_place(look.run)
        ]
        if not logs:
            return list(looks)
        try:
            ends = await desk.porter.ends([file for _, file in logs], _TAIL_BYTES)
        except JobError as error:
            _log.info("The logs of %s cannot be read: %s", desk.user, error.message)
            return list(looks)
        found: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for (look, _), end in zip(logs, ends, strict=True):
            said = progress_in(end.encode()) if end else None
            found[look.run.token] += [said] if said else []
        changes = {look.run.token: _changes(look, found[look.run.token]) for look in looks}
        await asyncio.to_thread(self._write, changes)
        return [replace(look, run=replace(look.run, **changes[look.run.token])) for look in looks]  # type: ignore[arg-type]  # the fields' own types

    def _write(self, changes: Mapping[str, Mapping[str, object]]) -> None:
        for token, fields in changes.items():
            if fields:
                with contextlib.suppress(LedgerError):
                    self.desks.ledger.update_run(token, **fields)


def _changes(look: Look, found: Sequence[tuple[float, str]]) -> dict[str, object]:
    """Return how far a run is, unless that is known already; of a sweep, all runs together."""
    if not found:
        return {}
    done = sum(fraction for fraction, _ in found) / min(look.count, _MOST_LOGS)
    words = next((said for fraction, said in found[::-1] if said and fraction < 1), "") or found[-1][1]
    if look.run.progress == done and look.run.progress_words == words:
        return {}
    return {"progress": done, "progress_words": words, "progress_time": time.time()}
