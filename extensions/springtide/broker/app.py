"""The REST interface: routes, limits, problem documents, and what goes on beside them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from springtide import __version__
from springtide.broker import routes_applications, routes_events, routes_files, routes_jobs, routes_schedules
from springtide.broker.calls import Broker
from springtide.broker.limits import BodyLimit
from springtide.broker.problems import (
    Refusal,
    response_to_bad_body,
    response_to_error,
    response_to_refusal,
)
from springtide.errors import SpringtideError

_log = logging.getLogger(__name__)
_DESCRIPTION = """\
Submit, watch and cancel jobs of applications. Every request carries a token of the hub's
(`Authorization: token …`). Errors are problem documents (RFC 9457) with JSON pointers into the request.
"""


def make_app(broker: Broker, prefix: str) -> FastAPI:
    """Return the application that serves a broker below `prefix`, which ends in a slash."""

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await broker.desks.recover()
        going_on = [asyncio.create_task(one.run()) for one in (broker.follower, broker.keeper)]
        yield
        for task in going_on:
            task.cancel()
        await asyncio.gather(*going_on, return_exceptions=True)

    app = FastAPI(
        title="Springtide broker",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url=f"{prefix}openapi.json",
        # Their pages load programs from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=life,
    )
    app.state.broker = broker
    for routes in (routes_applications, routes_jobs, routes_files, routes_events, routes_schedules):
        app.include_router(routes.router, prefix=f"{prefix}v1")

    @app.get(f"{prefix}health", tags=["applications"], include_in_schema=False)
    async def health() -> dict[str, str]:
        """Answer."""
        return {"status": "ok"}

    app.add_middleware(BodyLimit, limits=broker.limits, uploads=f"{prefix}v1/inputs/")
    _handle_errors(app)
    return app


def _handle_errors(app: FastAPI) -> None:
    async def refused(request: Request, error: Any) -> Response:
        return response_to_refusal(error)

    async def failed(request: Request, error: Any) -> Response:
        return response_to_error(error)

    async def malformed(request: Request, error: Any) -> Response:
        return response_to_bad_body(error)

    async def other(request: Request, error: Any) -> Response:
        titles = {404: "NotFound", 405: "MethodNotAllowed"}
        refusal = Refusal(
            error.status_code, titles.get(error.status_code, "BadRequest"), str(error.detail), error.headers
        )
        return response_to_refusal(refusal)

    async def unforeseen(request: Request, error: Exception) -> Response:
        # What went wrong stands in the log: it may hold what is not the caller's.
        return response_to_refusal(Refusal(500, "InternalError", "The broker failed. Its log says more."))

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(SpringtideError, failed)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, other)
    app.add_exception_handler(Exception, unforeseen)
