"""HTTP to the broker, with the standard library alone; its problem documents become the errors that they were."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

from springtide import errors
from springtide.errors import JobError, LabFileError, ParameterError, SpringtideError

BROKER_VARIABLE = "SPRINGTIDE_BROKER_URL"
"""Environment variable with the broker's address, set where a session is to use one."""
TOKEN_VARIABLE = "JUPYTERHUB_API_TOKEN"
_WITHIN_S = 120.0
# A broker or hub that restarts is back within this.
_PATIENCE_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 3.0
_PIECE_BYTES = 2**20
_RETRIED = frozenset({429, 502, 503, 504})


class BrokerUnreachable(JobError):
    """The broker does not answer; nothing is known about what was asked."""


class NoSuchJob(JobError):
    """The broker has no such job, or no such file of it, for the owner of the token."""


@dataclass(frozen=True)
class Transport:
    """Requests to one broker with one token."""

    url: str
    token: str
    patience_s: float = _PATIENCE_S

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return what is at `path`."""
        return self.call("GET", path, query=query)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        data: bytes | None = None,
    ) -> Any:
        """Return the JSON that a request is answered with.

        Requests that nobody has answered are repeated for a while: those that submit carry the job's token, so that
        none is submitted twice.

        Raises
        ------
        SpringtideError
            The same as in the process itself.
        BrokerUnreachable
            If there is no answer.
        """
        with self.open(method, path, body, query=query, data=data) as answer:
            return json.load(answer)

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        data: bytes | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield the answer to a request, to be read piece by piece; raises as `call` does."""
        where = f"{self.url.rstrip('/')}/v1/{quote(path)}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        headers = {"Authorization": f"token {self.token}", "Accept": "application/json"}
        if body is not None:
            data = json.dumps(body, default=_plain).encode()
            headers["Content-Type"] = "application/json"
        give_up_at, pause_s = time.monotonic() + self.patience_s, _FIRST_PAUSE_S
        while True:
            failure, wait_s = self._try(Request(where, data, headers, method=method))
            if not isinstance(failure, SpringtideError):
                break
            if wait_s is None or time.monotonic() + wait_s > give_up_at:
                raise failure
            time.sleep(max(wait_s, pause_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        with failure as answer:
            yield answer

    def _try(self, request: Request) -> tuple[Any, float | None]:
        """Return the answer; else the error, and after how long another try may help, None where none would."""
        # Never through a proxy: the token is for the broker alone.
        opener = build_opener(ProxyHandler({}))
        try:
            return opener.open(request, timeout=_WITHIN_S), None
        except HTTPError as error:
            with error:
                after = error.headers.get("Retry-After", "")
                wait_s = (float(after) if after.isdigit() else 0.0) if error.code in _RETRIED else None
                found = _problem(error)
                # What the broker itself says of a scheduler is no hitch on the way.
                return found, None if type(found) is not BrokerUnreachable else wait_s
        except (URLError, OSError, http.client.HTTPException) as error:
            words = str(getattr(error, "reason", error))
            return BrokerUnreachable(f"The broker does not answer: {words}.", "Try again later.", transient=True), 0.0

    def download(self, path: str, file: Any) -> None:
        """Write what is at `path` into an open file."""
        with self.open("GET", path) as answer:
            while piece := answer.read(_PIECE_BYTES):
                file.write(piece)
            if answer.length:
                raise BrokerUnreachable("The answer broke off.", "Try again.", transient=True)


def own_transport() -> Transport | None:
    """Return the way to the broker that this session is to use, None where there is none."""
    url, token = os.environ.get(BROKER_VARIABLE, ""), os.environ.get(TOKEN_VARIABLE, "")
    return Transport(url, token) if url and token else None


def _plain(value: Any) -> Any:
    """Return what JSON has for a value: numpy's numbers, ranges and paths are none."""
    if isinstance(value, (range, set, frozenset, tuple)):
        return list(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise ParameterError("parameters", f"A value of the type {type(value).__name__} cannot be sent.")


def _problem(answer: HTTPError) -> SpringtideError:
    """Return the error that a problem document holds."""
    try:
        said = json.loads(answer.read(_PIECE_BYTES))
        title, message, hint = str(said["title"]), str(said["detail"]), str(said.get("hint") or "")
    except (ValueError, KeyError, TypeError, OSError):
        words = "It may be starting." if answer.code in _RETRIED else ""
        transient = answer.code in _RETRIED
        return BrokerUnreachable(f"The broker answered with HTTP {answer.code}. {words}".strip(), transient=transient)
    known = NoSuchJob if title in ("NoSuchJob", "NoSuchFile") else getattr(errors, title, None)
    if title in ("TooManyRequests", "HubUnreachable"):
        return BrokerUnreachable(message, "Try again later.", transient=True)
    if not (isinstance(known, type) and issubclass(known, SpringtideError)) or issubclass(known, LabFileError):
        return JobError(message, hint)
    if issubclass(known, ParameterError):
        error: SpringtideError = ParameterError(str(said.get("field") or "parameters"), message, hint)
    else:
        error = known(message, hint)
        error.transient = bool(said.get("transient"))
    return error
