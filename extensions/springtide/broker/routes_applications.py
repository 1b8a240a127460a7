"""Routes of what can be run, and of who asks."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from springtide.broker import bodies
from springtide.broker.calls import Reading
from springtide.broker.routes_jobs import ERRORS
from springtide.errors import QueueError
from springtide.jobs.applications.describe import json_schema
from springtide.jobs.applications.load import Offer

router = APIRouter(responses=ERRORS)


@router.get("/me", tags=["applications"], response_model=bodies.Me)
async def me(call: Reading) -> Any:
    """Return who calls, whose account works for her, and where her jobs can run."""
    who = call.who
    known: dict[str, Any] = {"name": who.name, "groups": sorted(who.groups), "scopes": sorted(who.scopes)}
    try:
        desk = call.desk()
    except QueueError:
        return {**known, "account": None, "sites": []}
    return {**known, "account": desk.account.name, "sites": desk.sites.names_for(desk.account)}


@router.get("/applications", tags=["applications"], response_model=list[bodies.Application])
async def applications(call: Reading) -> Any:
    """Return the applications that you may run, as they are declared."""
    return [_shown(offer) for offer in call.desk().offers()]


@router.get("/applications/{environment}/{name}", tags=["applications"], response_model=bodies.Application)
async def application(call: Reading, environment: str, name: str) -> Any:
    """Return one of them."""
    return _shown(call.desk().offer(f"{environment}/{name}"))


def _shown(offer: Offer) -> dict[str, Any]:
    return {
        "name": offer.name,
        "environment": offer.environment,
        # Who may see it is nobody's business who may.
        "declaration": offer.application.model_dump(mode="json", exclude={"groups"}),
        "parameters": json_schema(offer.application),
    }
