"""What all routes share: who calls, at which desk, about which job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request

from springtide.broker.bodies import Options
from springtide.broker.desk import UserDesk
from springtide.broker.desks import Desks
from springtide.broker.follower import Follower
from springtide.broker.identity import Identity, Who
from springtide.broker.keeper import Keeper
from springtide.broker.limits import Guard, Limits
from springtide.broker.news import News
from springtide.broker.problems import Refusal, no_such_job
from springtide.broker.scopes import READ, SUBMIT
from springtide.jobs.asked import Asked
from springtide.jobs.looking import Look
from springtide.jobs.spec import follows
from springtide.ledger.records import RunRecord
from springtide.queues.model import After
from springtide.queues.views import iso_time


@dataclass
class Broker:
    """All that a running broker has."""

    desks: Desks
    identity: Identity
    limits: Limits = field(default_factory=Limits)
    news: News = field(default_factory=News)
    guard: Guard = field(init=False)
    follower: Follower = field(init=False)
    keeper: Keeper = field(init=False)

    def __post_init__(self) -> None:
        self.guard = Guard(self.limits)
        self.follower = Follower(self.desks, self.news)
        self.keeper = Keeper(self.desks, self.news)


@dataclass(frozen=True)
class Call:
    """One request of somebody's."""

    broker: Broker
    who: Who

    def desk(self) -> UserDesk:
        """Return the caller's own desk.

        Raises
        ------
        QueueError
            If no account works for her.
        """
        return self.broker.desks.of(self.who.name, self.who.groups)

    async def job(self, token: str) -> tuple[UserDesk, RunRecord]:
        """Return a job that the caller may see, and its owner's desk.

        Raises
        ------
        Refusal
            404 if there is none; the same where it is another user's.
        """
        run = await asyncio.to_thread(self.broker.desks.ledger.run, token)
        if run is None or (run.user != self.who.name and not self.who.sees_all):
            raise no_such_job()
        desk = self.desk() if run.user == self.who.name else self.broker.desks.of(run.user)
        return desk, run

    async def own(self, token: str) -> tuple[UserDesk, RunRecord]:
        """Return a job of the caller's own; raises as `job` does."""
        desk, run = await self.job(token)
        if run.user != self.who.name:
            raise Refusal(403, "Forbidden", "It is another user's job, and would run as yours.")
        return desk, run


def token_of(request: Request) -> str:
    """Return the token that a request carries, "" where there is none."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() in ("token", "bearer") else ""


async def _call(request: Request, scope: str) -> Call:
    broker: Broker = request.app.state.broker
    token = token_of(request)
    if not token:
        raise Refusal(401, "Unauthorized", "The request has no token.", {"WWW-Authenticate": "Bearer"})
    who = await broker.identity.who(token)
    broker.guard.request(who.name)
    who.check(scope)
    return Call(broker, who)


async def _reading(request: Request) -> Call:
    return await _call(request, READ)


async def _submitting(request: Request) -> Call:
    return await _call(request, SUBMIT)


Reading = Annotated[Call, Depends(_reading)]
Submitting = Annotated[Call, Depends(_submitting)]


def asked_of(options: Options, *, chained: bool = False) -> Asked:
    """Return where and how something is to run; in a chain, ``after`` names steps."""
    before = {After.OK: options.after, After.FAILURE: options.after_failure, After.ANY: options.after_any}
    return Asked(
        site=options.site,
        cores=options.cores,
        memory=options.memory,
        walltime=options.walltime,
        name=options.name,
        sweep=options.sweep,
        after=() if chained else follows(before),
        token=options.token or "",
    )


def shown(look: Look) -> dict[str, Any]:
    """Return a job as answers have it."""
    spec: Mapping[str, Any] = json.loads(look.run.spec)
    at = iso_time(look.run.progress_time)
    return {**look.as_json(), "user": look.run.user, "progress_time": at, "spec": spec}
