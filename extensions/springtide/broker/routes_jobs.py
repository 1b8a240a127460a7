"""Routes of jobs: submit, list, look, wait, cancel, again."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse

from springtide.broker import bodies
from springtide.broker.calls import Reading, Submitting, asked_of, shown
from springtide.broker.desk import UserDesk
from springtide.broker.problems import Refusal, no_such_job, response_to_error
from springtide.errors import SpringtideError
from springtide.jobs import routing
from springtide.jobs.chains import ChainStep
from springtide.jobs.looking import Look
from springtide.ledger.records import RunRecord
from springtide.queues.model import After

JobToken = Annotated[str, Path(max_length=64)]
_MOST_JOBS = 500
_LONGEST_WAIT_S = 30.0
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {"application/problem+json": {"schema": bodies.Problem.model_json_schema()}},
    }
    for status in (400, 401, 403, 404, 409, 413, 422, 429, 503)
}
router = APIRouter(responses=ERRORS)


@router.post("/estimates", tags=["jobs"], response_model=bodies.Estimate)
async def estimate(call: Submitting, body: bodies.Submission) -> Any:
    """Check a submission, and say where it would run and when it may be expected to start. Nothing is submitted."""
    desk = call.desk()
    try:
        _, spec, _ = await desk.plan(body.application, body.parameters, asked_of(body))
        candidates = await desk.candidates(spec, body.site)
        best, reason = routing.choose(candidates, desk.language)
    except SpringtideError as error:
        return response_to_error(error, body.parameters, body.sweep)
    return bodies.Estimate(
        application=spec.application,
        runs=len(spec.runs),
        site=best.site,
        reason=reason if body.site in ("", routing.AUTO) else "",
        candidates=[_candidate(one) for one in candidates],
    )


def _candidate(one: routing.Candidate) -> bodies.Candidate:
    found = one.foreseen.estimate if one.foreseen else None
    times = (found.low_s, found.median_s, found.high_s) if found else None
    return bodies.Candidate(site=one.site, expected_start_s=times, objection=one.objection or None)


@router.post("/jobs", status_code=201, tags=["jobs"], response_model=bodies.Job)
async def submit(call: Submitting, body: bodies.Submission) -> Any:
    """Submit an application."""
    call.broker.guard.submission(call.who.name)
    desk = call.desk()
    try:
        run = await desk.submit(body.application, body.parameters, asked_of(body))
    except SpringtideError as error:
        return response_to_error(error, body.parameters, body.sweep)
    call.broker.news.moved.set()
    return await _shown(desk, run)


@router.post("/chains", status_code=201, tags=["jobs"], response_model=dict[str, bodies.Job])
async def submit_chain(call: Submitting, body: bodies.Chain) -> Any:
    """Submit steps that follow each other, all of them or none."""
    call.broker.guard.submission(call.who.name, len(body.steps))
    desk = call.desk()
    steps = {
        name: ChainStep(
            step.application,
            step.parameters,
            asked_of(step, chained=True),
            {
                After.OK: tuple(step.after),
                After.FAILURE: tuple(step.after_failure),
                After.ANY: tuple(step.after_any),
            },
        )
        for name, step in body.steps.items()
    }
    try:
        runs = await desk.submit_chain(steps)
    except SpringtideError as error:
        step = body.steps.get(error.step)
        return response_to_error(error, step.parameters if step else (), step.sweep if step else ())
    call.broker.news.moved.set()
    return {name: await _shown(desk, run) for name, run in runs.items()}


@router.get("/quotas", tags=["jobs"], response_model=list[bodies.Standing])
async def quotas(
    call: Reading,
    user: Annotated[str, Query(max_length=200, description="Whose, for who may see all.")] = "",
) -> Any:
    """Return what limits your jobs, yours first, then your groups', and what is spent of it."""
    if user not in ("", call.who.name) and not call.who.sees_all:
        raise Refusal(403, "Forbidden", "Another user's quota is not yours to see.")
    desk = call.broker.desks.of(user) if user else call.desk()
    return [standing.as_json() for standing in await desk.quotas()]


@router.get("/jobs", tags=["jobs"], response_model=bodies.Jobs)
async def list_jobs(
    call: Reading,
    limit: Annotated[int, Query(ge=1, le=_MOST_JOBS)] = 50,
    before: Annotated[str, Query(max_length=64, description="Only jobs older than this one.")] = "",
    user: Annotated[str, Query(max_length=200, description="Whose; * is everybody, for who may see all.")] = "",
) -> Any:
    """Return your jobs, the newest first."""
    wanted = user or call.who.name
    if wanted != call.who.name and not call.who.sees_all:
        raise no_such_job()
    if before:
        await call.job(before)
    ledger = call.broker.desks.ledger
    runs = await asyncio.to_thread(
        lambda: ledger.runs(user="" if wanted == "*" else wanted, limit=limit + 1, before=before)
    )
    looks = await _looks(call, runs[:limit])
    # Sent as it is: to check what was just made would double the time.
    return JSONResponse(
        {"jobs": [shown(look) for look in looks], "next": runs[limit - 1].token if runs[limit:] else None}
    )


async def _looks(call: Reading, runs: list[RunRecord]) -> list[Look]:
    rows = await asyncio.to_thread(call.broker.desks.ledger.jobs_of, runs)
    return [UserDesk.seen(run, rows.get(run.token), call.broker.desks.sites.outages.get(run.site, "")) for run in runs]


@router.get("/jobs/{token}", tags=["jobs"], response_model=bodies.Job)
async def show(
    call: Reading,
    token: JobToken,
    wait_s: Annotated[float, Query(ge=0, le=_LONGEST_WAIT_S, description="Answer later: once it is over.")] = 0,
) -> Any:
    """Return a job; wait for its end, but not for long, where that is asked for."""
    desk, run = await call.job(token)
    if not wait_s:
        return JSONResponse(await _shown(desk, run))
    with call.broker.guard.stream(call.who.name), call.broker.news.of(run.user) as news:
        (look,) = await desk.look([run])
        deadline = asyncio.get_running_loop().time() + wait_s
        while not look.view.over and (left := deadline - asyncio.get_running_loop().time()) > 0:
            try:
                async with asyncio.timeout(left):
                    told = await news.get()
            except TimeoutError:
                break
            look = told if told.run.token == run.token else look
    return JSONResponse(shown(look))


@router.post("/jobs/{token}/cancel", tags=["jobs"], response_model=bodies.Cancelled)
async def cancel(call: Submitting, token: JobToken) -> Any:
    """End a job."""
    desk, run = await call.job(token)
    cancelled = await desk.cancel_as(run, call.who.name)
    call.broker.news.moved.set()
    return bodies.Cancelled(cancelled=cancelled)


@router.post("/jobs/{token}/again", status_code=201, tags=["jobs"], response_model=bodies.Job)
async def again(call: Submitting, token: JobToken, body: bodies.Changes) -> Any:
    """Submit a job again, with its seeds and inputs as they were."""
    desk, before = await call.own(token)
    call.broker.guard.submission(call.who.name)
    try:
        run = await desk.submit_again(before, body.parameters, asked_of(body))
    except SpringtideError as error:
        return response_to_error(error, body.parameters, body.sweep)
    call.broker.news.moved.set()
    return await _shown(desk, run)


async def _shown(desk: UserDesk, run: RunRecord) -> dict[str, Any]:
    (look,) = await desk.look([run])
    return shown(look)
