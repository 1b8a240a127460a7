"""What a proxy changes in the headers it passes on, and the framings it refuses. Pure functions."""

from __future__ import annotations

import re
import string
from urllib.parse import quote

from tornado.httputil import HTTPHeaders, HTTPInputError, RequestStartLine

# They speak of one connection, not of the message (RFC 9110, 7.6.1).
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# A client that lists one of these in "Connection" would otherwise make both sides see different messages.
_NEVER_DROPPED = frozenset({"content-length", "host"})
_METHODS_WITH_CHUNKS = frozenset({"PATCH", "POST", "PUT"})
_WEBSOCKET_KEY = "Sec-WebSocket-Key"


def end_to_end(headers: HTTPHeaders) -> HTTPHeaders:
    """Return the headers that are meant for the other end, repeated ones included."""
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    dropped = _HOP_BY_HOP | (named - _NEVER_DROPPED)
    kept = HTTPHeaders()
    for name, value in headers.get_all():
        if name.lower() not in dropped:
            kept.add(name, value)
    return kept


def wants_websocket(request: RequestStartLine, headers: HTTPHeaders) -> bool:
    """Whether `headers` ask for a websocket; no other protocol may take over a connection."""
    return (
        request.method == "GET"
        and headers.get("Upgrade", "").lower() == "websocket"
        and _WEBSOCKET_KEY in headers
        and "Content-Length" not in headers
        and "Transfer-Encoding" not in headers
    )


def request_headers(
    request: RequestStartLine, headers: HTTPHeaders, client_address: str, target_host: str
) -> HTTPHeaders:
    """Return the headers of the request as the target gets it."""
    kept = end_to_end(headers)
    # The proxy has already answered it.
    kept.pop("Expect", None)
    kept.setdefault("Host", target_host)
    _add_forwarded(kept, client_address)
    if request.method in _METHODS_WITH_CHUNKS and "Transfer-Encoding" not in headers:
        kept.setdefault("Content-Length", "0")
    websocket = wants_websocket(request, headers)
    kept["Connection"] = "Upgrade" if websocket else "close"
    if websocket:
        kept["Upgrade"] = "websocket"
    return kept


def _add_forwarded(headers: HTTPHeaders, client_address: str) -> None:
    """Append to ``X-Forwarded-*`` what this proxy sees, as JupyterHub's own proxy does."""
    port = re.search(r":(\d+)$", headers["Host"])
    seen = {"For": client_address, "Port": port[1] if port else "80", "Proto": "http"}
    for name, value in seen.items():
        before = headers.get(f"X-Forwarded-{name}")
        headers[f"X-Forwarded-{name}"] = f"{before},{value}" if before else value
    headers.setdefault("X-Forwarded-Host", headers["Host"])


def request_path(request: RequestStartLine) -> str:
    """Return path and query of a request in ASCII, otherwise as the client has written them.

    Raises
    ------
    HTTPInputError
        If it has none, as ``OPTIONS *``.
    """
    path = re.sub(r"^https?://[^/?#]*", "", request.path)
    if not path.startswith("/"):
        raise HTTPInputError("the request has no path")
    # Tornado reads bytes as Latin-1 and would write other than ASCII as UTF-8.
    return quote(path.encode("latin-1"), safe=string.punctuation)


def check_framing(request: RequestStartLine, headers: HTTPHeaders) -> None:
    """Refuse a request whose end two programs could see at different places.

    Raises
    ------
    HTTPInputError
        Two lengths, a length that is no number, or chunks where they cannot be passed on.
    """
    length = headers.get("Content-Length")
    encoding = headers.get("Transfer-Encoding")
    if length is not None and (encoding is not None or not re.fullmatch(r"[0-9]+", length)):
        raise HTTPInputError("the length of the request is ambiguous")
    if encoding is None:
        return
    chunks_allowed = request.method in _METHODS_WITH_CHUNKS and request.version != "HTTP/1.0"
    if encoding.lower() != "chunked" or not chunks_allowed:
        raise HTTPInputError(f"Transfer-Encoding is not taken with {request.method}")
