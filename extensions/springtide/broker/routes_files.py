"""Routes of what jobs leave: logs, outputs, figures; and of files that are sent for them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from springtide.broker import bodies
from springtide.broker.calls import Call, Reading, Submitting
from springtide.broker.desk import UserDesk, keep_upload
from springtide.broker.porters import Part
from springtide.broker.problems import Refusal
from springtide.broker.routes_jobs import ERRORS, JobToken
from springtide.jobs.porter import MOST_READ_BYTES
from springtide.jobs.spec import JobSpec
from springtide.ledger.records import RunRecord

_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_FOLLOW_S = 1.0
_MOST_OUTPUTS = 10_000
_NAME = re.compile(r"[^/\0.][^/\0]{0,199}")
_OUTPUTS = "outputs"
router = APIRouter(responses=ERRORS)
RunIndex = Annotated[int, Query(ge=1, le=100_000, description="Which run of a sweep.")]


@router.get("/jobs/{token}/log", tags=["files"], response_class=Response)
async def log(
    call: Reading,
    request: Request,
    token: JobToken,
    run: RunIndex = 1,
    follow: Annotated[bool, Query(description="Go on until the job is over.")] = False,
) -> Response:
    """Return what a run has written until now, or a range of it (``Range: bytes=100-``)."""
    desk, record = await call.job(token)
    name = desk.log_name(record, _within(record, run))
    kind = "text/plain; charset=utf-8"
    if not follow:
        return await _file(desk, record, name, request, kind, missing=b"")
    call.broker.guard.check_stream(call.who.name)
    return StreamingResponse(_followed(call, desk, record, name), media_type=kind)


async def _followed(call: Call, desk: UserDesk, run: RunRecord, name: str) -> AsyncIterator[bytes]:
    offset = 0
    with call.broker.guard.stream(call.who.name):
        while True:
            # Looked at before it is read: what was written until the end is read then, too.
            (look,) = await desk.look([run])
            while part := await desk.porter.read(desk.place(run), name, offset):
                offset += len(part.data)
                yield part.data
                if offset >= part.size or not part.data:
                    break
            if look.view.over:
                return
            await asyncio.sleep(_FOLLOW_S)


@router.get("/jobs/{token}/description", tags=["files"], response_model=bodies.Description)
async def description(call: Reading, token: JobToken) -> Any:
    """Return the runs of a job with their parameters and what is written down of each."""
    desk, run = await call.job(token)
    found = await desk.description(run)
    records = await desk.provenances(run)
    return {
        "runs": [
            {
                "index": index,
                "parameters": one["parameters"],
                "exit_status": record.get("exit_status"),
                "provenance": record,
            }
            for index, (one, record) in enumerate(zip(found["runs"], records, strict=True), 1)
        ],
        **{name: found.get(name, {}) for name in ("outputs", "plots")},
        "swept": found.get("swept", []),
        "folder": run.folder,
    }


@router.get("/jobs/{token}/outputs", tags=["files"], response_model=list[bodies.OutputFile])
async def outputs(call: Reading, token: JobToken) -> Any:
    """Return the files that a job has left until now."""
    desk, run = await call.job(token)
    return await desk.porter.listed(desk.place(run) / _OUTPUTS, _MOST_OUTPUTS)


@router.get("/jobs/{token}/outputs/{file:path}", tags=["files"], response_class=Response)
async def output(call: Reading, request: Request, token: JobToken, file: str) -> Response:
    """Return a file that a job has left, or a range of it."""
    desk, run = await call.job(token)
    return await _file(desk, run, f"{_OUTPUTS}/{file}", request, "application/octet-stream")


@router.get("/jobs/{token}/program/{file}", tags=["files"], response_class=Response)
async def program(call: Reading, request: Request, token: JobToken, file: str) -> Response:
    """Return a file of the application, as it was when the job was submitted: what figures are drawn with."""
    desk, run = await call.job(token)
    return await _file(desk, run, f"program/{file}", request, "text/plain; charset=utf-8")


@router.get("/jobs/{token}/plots/{name}", tags=["files"], response_class=Response)
async def plot(call: Reading, token: JobToken, name: str) -> Response:
    """Return a figure of the runs that succeeded, as PNG; it is drawn as the job's owner."""
    desk, run = await call.job(token)
    name = name.removesuffix(".png")
    if name not in (await desk.description(run)).get("plots", {}):
        raise Refusal(404, "NoSuchPlot", f"{run.application} has no figure “{name[:60]}”.")
    with call.broker.guard.stream(call.who.name):
        return Response(await desk.plot(run, name), media_type="image/png")


@router.put("/inputs/{name}", status_code=201, tags=["files"], response_model=bodies.Input)
async def send(call: Submitting, request: Request, name: str) -> Any:
    """Send a file for a parameter. It waits for a day; jobs get copies of their own."""
    if not _NAME.fullmatch(name) or not name.isprintable():
        raise Refusal(422, "BadRequest", "The name is no file's.")
    desk, most = call.desk(), call.broker.limits.uploads_bytes
    data = await request.body()
    if await asyncio.to_thread(_size, desk.uploads) + len(data) > most:
        raise Refusal(413, "TooLarge", f"All files that wait for jobs together: at most {most // 2**20} MiB.")
    return {"file": await asyncio.to_thread(keep_upload, desk.uploads, name, data)}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*") if path.is_file())


def _within(run: RunRecord, index: int) -> int:
    count = len(JobSpec.from_json(run.spec).runs)
    if index > count:
        raise Refusal(404, "NoSuchRun", f"The job has {count} runs.")
    return index


async def _file(
    desk: UserDesk, run: RunRecord, name: str, request: Request, kind: str, missing: bytes | None = None
) -> Response:
    """Return a file below a job's folder, or the range of it that the request names."""
    if any(part in ("", ".", "..") or "\0" in part for part in name.split("/")):
        raise Refusal(404, "NoSuchFile", "There is no such file.")
    place = desk.place(run)
    wanted = _RANGE.fullmatch(request.headers.get("range", ""))
    first = await desk.porter.read(place, name, 0, 0)
    if first is None and missing is None:
        raise Refusal(404, "NoSuchFile", "There is no such file.")
    size = first.size if first else 0
    start, end = _range(wanted, size)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(end - start),
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(PurePosixPath(name).name, safe='')}",
    }
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}" if end > start else f"bytes */{size}"
    status = 206 if wanted and end > start else 416 if wanted and start >= size > 0 and end == start else 200

    async def read(offset: int, most: int) -> Part | None:
        return await desk.porter.read(place, name, offset, most)

    return StreamingResponse(_parts(read, start, end), status, headers, kind)


def _range(wanted: re.Match[str] | None, size: int) -> tuple[int, int]:
    """Return where a range begins and ends within a file."""
    if wanted is None or not (wanted[1] or wanted[2]):
        return 0, size
    if not wanted[1]:
        return max(0, size - int(wanted[2])), size
    start = min(int(wanted[1]), size)
    return start, max(start, min(size, int(wanted[2]) + 1)) if wanted[2] else size


async def _parts(read: Callable[[int, int], Any], start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        part = await read(start, min(MOST_READ_BYTES, end - start))
        if part is None or not part.data:
            # It has become shorter: the answer breaks off, which its length tells.
            return
        start += len(part.data)
        yield part.data
