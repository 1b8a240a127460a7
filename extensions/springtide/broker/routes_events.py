"""Server-sent events: the changes of one's jobs as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from springtide.broker.calls import Call, Reading, shown
from springtide.broker.routes_jobs import ERRORS
from springtide.jobs.looking import Look

_BEAT_S = 15.0
_MOST_AT_FIRST = 100
router = APIRouter(responses=ERRORS)


@router.get("/events", tags=["events"], response_class=StreamingResponse)
async def events(
    call: Reading,
    job: Annotated[list[str] | None, Query(max_length=100, description="Only these jobs.")] = None,
) -> StreamingResponse:
    """Return your newest jobs as they are, then each change: events named ``job``, each with a job as JSON.

    Who was away and comes again has missed nothing: it begins with how all of them are.
    """
    call.broker.guard.check_stream(call.who.name)
    return StreamingResponse(
        _events(call, job or []),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(call: Call, tokens: list[str]) -> AsyncIterator[str]:
    user, desk = call.who.name, call.desk()
    with call.broker.guard.stream(user), call.broker.news.of(user) as news:
        runs = [await desk.run(token) for token in tokens] if tokens else await desk.runs(limit=_MOST_AT_FIRST)
        for look in (await desk.look(runs))[::-1]:
            yield _event(look)
        while True:
            try:
                async with asyncio.timeout(_BEAT_S):
                    look = await news.get()
            except TimeoutError:
                # So that whoever has gone is noticed, and no proxy thinks that we have.
                yield ": still here\n\n"
                continue
            if not tokens or look.run.token in tokens:
                yield _event(look)


def _event(look: Look) -> str:
    return f"event: job\ndata: {json.dumps(shown(look), ensure_ascii=False)}\n\n"
