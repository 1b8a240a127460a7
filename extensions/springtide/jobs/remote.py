"""The desk of a session that has a broker: the same calls as `springtide.jobs.desk.Desk`, done by the broker.

A session in a container has no ``qsub``, no account on the nodes and no keys: only its own token. Files that parameters
name are sent, and what jobs leave is fetched when somebody looks at it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from springtide.errors import ParameterError
from springtide.jobs import routing
from springtide.jobs.applications.files import Home
from springtide.jobs.applications.load import Offer, find_offer
from springtide.jobs.applications.models import Application
from springtide.jobs.applications.parameters import FileParameter
from springtide.jobs.asked import Asked
from springtide.jobs.chains import ChainStep, in_order
from springtide.jobs.looking import Look
from springtide.jobs.quotas import Standing
from springtide.jobs.remote_job import RemoteJob
from springtide.jobs.schedules import Repeat, no_schedule
from springtide.jobs.transport import NoSuchJob, Transport, own_transport
from springtide.jobs.watching import changes_at
from springtide.ledger.records import RunRecord, ScheduleRecord
from springtide.queues.bookkeeping import new_token
from springtide.queues.foreseeing import Foreseen
from springtide.queues.model import After, Estimate
from springtide.queues.views import JobView
from springtide.units import format_memory

_MOST_SENT_BYTES = 2**25
_MOST_ON_A_PAGE = 500
_WHEN = {After.OK: "after", After.FAILURE: "after_failure", After.ANY: "after_any"}
_TIMES = ("submitted", "started", "ended")
_VIEW = (
    "id", "site", "name", "state", "exit_status", "cause", "reason", "explanation", "advice", "submitted", "started",
    "ended", "token", "user", "queue", "cores", "nodes", "folder", "output", "errors",
)  # fmt: skip


class RemoteDesk:
    """The broker's desk for the owner of a token."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._sent_before: dict[Any, str] = {}

    # --- applications -----------------------------------------------------------------------------------------------

    def offers(self) -> list[Offer]:
        """Return the applications that the user may see."""
        return [offer_of(one) for one in self.transport.get("applications")]

    def offer(self, name: str) -> Offer:
        """Return one of them.

        Raises
        ------
        UnknownApplication
            If there is none of this name.
        """
        return find_offer({offer.full_name: offer for offer in self.offers()}, name, ())

    # --- submitting -------------------------------------------------------------------------------------------------

    async def submit(self, name: str, given: Mapping[str, Any], asked: Asked) -> RunRecord:
        """Submit an application; raises what `Desk.submit` raises."""
        return await asyncio.to_thread(self._submit, "jobs", name, given, asked)

    def _submit(self, path: str, name: str, given: Mapping[str, Any], asked: Asked) -> RunRecord:
        offer = self.offer(name)
        body = {"application": offer.full_name, **self._body(offer, given, asked)}
        return record_of(self.transport.call("POST", path, body))

    async def foresee(self, name: str, given: Mapping[str, Any], asked: Asked) -> tuple[int, list[routing.Candidate]]:
        """Return how many runs something has, and the sites that could run it; nothing is submitted."""

        def ask() -> dict[str, Any]:
            offer = self.offer(name)
            body = {"application": offer.full_name, **self._body(offer, given, asked, kept=self._sent_before)}
            answer: dict[str, Any] = self.transport.call("POST", "estimates", body)
            return answer

        answer = await asyncio.to_thread(ask)
        return int(answer["runs"]), [candidate_of(one) for one in answer["candidates"]]

    def site_names(self) -> list[str]:
        """Return the sites that run jobs."""
        return list(self.transport.get("me")["sites"])

    def files(self, start: Path | None) -> Home:
        """Return where files that parameters name may lie: whatever can be read here can be sent."""
        return Home(Path.home(), (Path("/"),), start)

    async def submit_again(self, before: RunRecord, changes: Mapping[str, Any], asked: Asked) -> RunRecord:
        """Submit a run again, with its seeds and inputs as they were, some of its parameters changed."""

        def again() -> RunRecord:
            body = self._body(self.offer(before.application), changes, asked)
            return record_of(self.transport.call("POST", f"jobs/{before.token}/again", body))

        return await asyncio.to_thread(again)

    async def submit_chain(self, steps: Mapping[str, ChainStep]) -> dict[str, RunRecord]:
        """Submit steps that follow each other, all of them or none."""
        in_order({name: {one for names in step.before.values() for one in names} for name, step in steps.items()})

        def submit() -> dict[str, RunRecord]:
            offers = {name: self.offer(step.application) for name, step in steps.items()}
            bodies = {}
            for name, step in steps.items():
                body = self._body(offers[name], step.given, step.asked)
                before = {_WHEN[when]: list(names) for when, names in step.before.items()}
                bodies[name] = {"application": offers[name].full_name, **body, **before}
            return {
                name: record_of(job) for name, job in self.transport.call("POST", "chains", {"steps": bodies}).items()
            }

        return await asyncio.to_thread(submit)

    def _body(
        self, offer: Offer, given: Mapping[str, Any], asked: Asked, kept: dict[Any, str] | None = None
    ) -> dict[str, Any]:
        after: dict[str, list[str]] = {}
        for follow in asked.after:
            after.setdefault(_WHEN[After(follow.when)], []).append(follow.token)
        return {
            "parameters": {name: self._sent(offer, name, value, asked.start, kept) for name, value in given.items()},
            "sweep": dict(asked.sweep),
            "token": asked.token or new_token(),
            **after,
            **{name: getattr(asked, name) for name in ("site", "name", "cores", "memory", "walltime")},
        }

    def _sent(self, offer: Offer, name: str, value: Any, start: Path | None, kept: dict[Any, str] | None) -> Any:
        """Return what the broker is given for a parameter: for a file, what it is called there after it was sent.

        Files that `kept` knows are not sent again as long as they stay as they are.
        """
        parameter = offer.application.parameters.get(name)
        if not isinstance(parameter, FileParameter) or value is None:
            return value
        if isinstance(value, (list, tuple)):
            return [self._sent(offer, name, one, start, kept) for one in value]
        if not isinstance(value, (str, os.PathLike)):
            return value
        file = (start or Path.home()) / Path(value).expanduser()
        data = _content(name, file, parameter)
        content = (file.name, hashlib.sha256(data).digest())
        if kept is not None and content in kept:
            return kept[content]
        sent: str = self.transport.call("PUT", f"inputs/{file.name}", data=data)["file"]
        if kept is not None:
            kept[content] = sent
        return sent

    # --- again and again --------------------------------------------------------------------------------------------

    async def schedule(self, name: str, given: Mapping[str, Any], asked: Asked, repeat: Repeat) -> ScheduleRecord:
        """Have an application run again and again; raises what `Desk.schedule` raises."""

        def add() -> ScheduleRecord:
            offer = self.offer(name)
            body = {"application": offer.full_name, **self._body(offer, given, asked), **asdict(repeat)}
            return schedule_of(self.transport.call("POST", "schedules", body))

        return await asyncio.to_thread(add)

    async def schedules(self, *, ended: bool = False) -> list[ScheduleRecord]:
        """Return the user's schedules, the oldest first."""
        query = {"ended": "true"} if ended else None
        return [schedule_of(one) for one in await asyncio.to_thread(self.transport.get, "schedules", query)]

    async def set_schedule(self, token: str, state: str) -> ScheduleRecord:
        """Pause one of the user's schedules, go on with it, or end it."""
        if not token.isalnum():
            raise no_schedule(token)
        try:
            path = f"schedules/{token}/{state}"
            return schedule_of(await asyncio.to_thread(self.transport.call, "POST", path))
        except NoSuchJob:
            raise no_schedule(token) from None

    async def quotas(self) -> list[Standing]:
        """Return what limits the user, and what is spent of it."""
        return [Standing.from_json(one) for one in await asyncio.to_thread(self.transport.get, "quotas")]

    # --- watching ---------------------------------------------------------------------------------------------------

    async def runs(self, *, limit: int | None = 50) -> list[RunRecord]:
        """Return the user's runs, the newest first."""
        return [look.run for look in await asyncio.to_thread(self.looks, limit)]

    def looks(self, limit: int | None) -> list[Look]:
        """Return the user's newest jobs, as they are."""
        found: list[Look] = []
        before = ""
        while limit is None or len(found) < limit:
            most = min(_MOST_ON_A_PAGE, (limit or _MOST_ON_A_PAGE) - len(found) if limit else _MOST_ON_A_PAGE)
            page = self.transport.get("jobs", {"limit": most, **({"before": before} if before else {})})
            found += [look_of(one) for one in page["jobs"]]
            if not (before := page["next"] or ""):
                break
        return found

    async def run(self, token: str, field: str = "job") -> RunRecord:
        """Return one of the user's runs.

        Raises
        ------
        ParameterError
            If there is none.
        """
        return (await asyncio.to_thread(self.see, token, field)).run

    def see(self, token: str, field: str = "job", wait_s: float = 0.0) -> Look:
        """Return a job as it is; once it is over, if that is soon."""
        if not token.isalnum():
            raise ParameterError(field, f"There is no job “{token[:60]}”.", "springtide jobs lists yours.")
        try:
            return look_of(self.transport.get(f"jobs/{token}", {"wait_s": wait_s} if wait_s else None))
        except NoSuchJob:
            raise ParameterError(field, f"There is no job “{token[:60]}”.", "springtide jobs lists yours.") from None

    async def look(self, runs: Sequence[RunRecord], *, fresh: bool = True) -> list[Look]:
        """Return what is known of runs."""

        def look() -> list[Look]:
            if len(runs) > 3:
                # One page holds most of them.
                known = {one.run.token: one for one in self.looks(min(2 * len(runs), _MOST_ON_A_PAGE))}
            else:
                known = {}
            return [known.get(run.token) or self.see(run.token) for run in runs]

        return await asyncio.to_thread(look)

    def changes(self, *, limit: int | None = 200) -> AsyncGenerator[list[Look], None]:
        """Yield the user's runs, then again and again those that are new or have changed: see `changes_at`."""
        return changes_at(self, limit=limit)

    async def cancel(self, run: RunRecord) -> bool:
        """End a job; return whether it was not over."""
        answer = await asyncio.to_thread(self.transport.call, "POST", f"jobs/{run.token}/cancel")
        return bool(answer["cancelled"])

    def job_of(self, run: RunRecord) -> RemoteJob:
        """Return a run as Python code has it."""
        return RemoteJob(self, run)


def remote_desk() -> RemoteDesk | None:
    """Return the broker's desk, None where this session has no broker."""
    transport = own_transport()
    return RemoteDesk(transport) if transport else None


# --- what the broker answers, in our own words ------------------------------------------------------------------------


def offer_of(shown: Mapping[str, Any]) -> Offer:
    """Return an application as the broker shows it; its files stay where they are."""
    application = Application.model_validate(shown["declaration"])
    return Offer(str(shown["name"]), str(shown["environment"]), application, Path())


def record_of(shown: Mapping[str, Any]) -> RunRecord:
    """Return what the broker has written down of a job."""
    return RunRecord(
        token=shown["token"],
        job=shown["token"],
        user=shown["user"],
        application=shown["application"],
        site=shown["site"],
        folder=shown["folder"] or "",
        spec=json.dumps(shown["spec"]),
        parent=shown.get("parent") or "",
        progress=shown["progress"],
        progress_words=shown.get("progress_words") or "",
        progress_time=_seconds(shown.get("progress_time")),
        recorded=_seconds(shown["recorded"]) or 0.0,
    )


def schedule_of(shown: Mapping[str, Any]) -> ScheduleRecord:
    """Return a schedule as the broker shows it."""
    request = {name: shown[name] for name in ("parameters", "options", "sweep")}
    return ScheduleRecord(
        **{
            name: shown[name] for name in ("token", "user", "application", "cron", "zone", "missed", "overlap", "state")
        },
        request=json.dumps(request),
        due=_seconds(next(iter(shown["due"]), None)),
        last_due=_seconds(shown["last_due"]),
        last_run=shown["last_job"] or "",
        problem=shown["problem"] or "",
        recorded=_seconds(shown["recorded"]) or 0.0,
    )


def look_of(shown: Mapping[str, Any]) -> Look:
    """Return a job as the broker sees it."""
    values = {name: value for name in _VIEW if (value := shown.get(name)) is not None}
    values |= {name: _seconds(values[name]) for name in _TIMES if name in values}
    view = JobView(**{"id": "", **values, "nodes": tuple(values.get("nodes", ()))})
    return Look(record_of(shown), view, int(shown["runs"]))


def candidate_of(shown: Mapping[str, Any]) -> routing.Candidate:
    """Return a site that could run something, as the broker foresees it."""
    times = shown["expected_start_s"]
    estimate = Estimate(median_s=times[1], low_s=times[0], high_s=times[2], source="both") if times else None
    return routing.Candidate(str(shown["site"]), Foreseen(time.time(), estimate), shown["objection"] or "")


def _seconds(at: str | None) -> float | None:
    return datetime.fromisoformat(at).timestamp() if at else None


def _content(name: str, file: Path, parameter: FileParameter) -> bytes:
    """Return what is in a file that is to be sent.

    Raises
    ------
    ParameterError
        If it cannot be.
    """
    most = min(parameter.max_size, _MOST_SENT_BYTES)
    shown = f"“{str(file)[-40:]}”"
    try:
        # A pipe of that name would hold us for ever.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        try:
            known = os.fstat(descriptor)
            if not stat.S_ISREG(known.st_mode):
                raise ParameterError(name, f"{shown} is no file.")
            if known.st_size > most:
                raise ParameterError(
                    name, f"{shown} has {format_memory(known.st_size)}, more than {format_memory(most)}."
                )
            with os.fdopen(descriptor, "rb", closefd=False) as opened:
                return opened.read(most)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise ParameterError(name, f"{shown} does not exist.") from None
    except (OSError, ValueError) as error:
        raise ParameterError(
            name, f"{shown} cannot be read: {getattr(error, 'strerror', None) or 'it is no path'}."
        ) from None
