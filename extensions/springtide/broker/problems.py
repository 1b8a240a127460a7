"""Errors as HTTP has them: problem documents (RFC 9457), which the client turns into the same errors again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from springtide.errors import (
    ChainError,
    EnvironmentsError,
    JobError,
    LedgerError,
    NotSubmitted,
    ParameterError,
    QueueError,
    QueueUnreachable,
    QuotaExceeded,
    SpringtideError,
    SubmitRefused,
    UnknownApplication,
)

MEDIA_TYPE = "application/problem+json"
_KIND = "urn:springtide:"
# The first that fits counts.
_STATUSES: tuple[tuple[type[SpringtideError], int], ...] = (
    (ParameterError, 422),
    (UnknownApplication, 404),
    (ChainError, 422),
    (QuotaExceeded, 403),
    (NotSubmitted, 409),
    (QueueUnreachable, 503),
    (SubmitRefused, 409),
    (QueueError, 409),
    (LedgerError, 503),
    (EnvironmentsError, 409),
    (JobError, 409),
)
_OPTIONS = frozenset(
    {
        "site",
        "cores",
        "memory",
        "walltime",
        "name",
        "token",
        "after",
        "after_failure",
        "after_any",
        "cron",
        "zone",
        "missed",
        "overlap",
    }
)


class Refusal(Exception):
    """An answer that is no error of Springtide's: who asks may not, or asks too much."""

    def __init__(self, status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.headers = status, title, detail, headers


def no_such_job() -> Refusal:
    """Return the answer about a job that is not there, or another user's: nothing tells which."""
    return Refusal(404, "NoSuchJob", "There is no such job.")


def response_to_refusal(refusal: Refusal) -> JSONResponse:
    """Return the problem document of a refusal."""
    return _document(refusal.title, refusal.status, refusal.detail, headers=refusal.headers)


def response_to_error(error: SpringtideError, given: Collection[str] = (), swept: Collection[str] = ()) -> JSONResponse:
    """Return the problem document of an error.

    Parameters
    ----------
    given, swept : collection of str
        The names among the request's ``parameters`` and ``sweep``.
    """
    kind = type(error).__name__
    status = next((status for known, status in _STATUSES if isinstance(error, known)), 500)
    if error.transient:
        status = 503
    extra: dict[str, Any] = {"hint": error.hint or None, "transient": error.transient}
    step = f"/steps/{_escaped(error.step)}" if error.step else ""
    if isinstance(error, ParameterError):
        extra["field"] = error.field
        pointer = f"#{step}{_pointer(error.field, given, swept)}"
        extra["errors"] = [{"pointer": pointer, "detail": f"{error.message} {error.hint}".strip()}]
    elif error.step:
        extra["errors"] = [{"pointer": f"#{step}", "detail": error.message}]
    return _document(kind, status, error.message, **extra)


def response_to_bad_body(error: RequestValidationError) -> JSONResponse:
    """Return the problem document of a request that has not the form it should have."""
    errors = []
    for one in error.errors():
        place, *rest = one["loc"] or ("body",)
        # What is told is where, and what is allowed: not what was sent, which may be long.
        where = "#" + "".join(f"/{_escaped(str(part))}" for part in rest) if place == "body" else str(rest[-1])
        errors.append({"pointer" if place == "body" else "parameter": where, "detail": str(one["msg"])[:300]})
    return _document("BadRequest", 422, errors[0]["detail"] if errors else "The request is wrong.", errors=errors)


def _pointer(field: str, given: Collection[str], swept: Collection[str]) -> str:
    if field in swept:
        return f"/sweep/{_escaped(field)}"
    if field in _OPTIONS and field not in given:
        return f"/{field}"
    return f"/parameters/{_escaped(field)}"


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


def _document(
    kind: str, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any
) -> JSONResponse:
    content = {"type": f"{_KIND}{kind}", "title": kind, "status": status, "detail": detail, **extra}
    return JSONResponse(content, status, dict(headers or {}), MEDIA_TYPE)
