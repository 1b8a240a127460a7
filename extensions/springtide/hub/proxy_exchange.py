"""One request through the proxy: its body goes to the target and the answer to the client as they come.

Nothing is stored and nothing has to end in time. Each side waits for the other, so that the memory used does not
depend on the size of a body; when one side goes away, the other is told by closing its connection.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
import sys
from typing import Protocol, cast
from urllib.parse import urlsplit

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient

from springtide.hub.proxy_headers import check_framing, end_to_end, request_headers, request_path, wants_websocket
from springtide.hub.proxy_pages import ErrorPages
from springtide.hub.proxy_routes import RouteTable
from springtide.hub.proxy_tunnel import tunnel

log = logging.getLogger("springtide.proxy")

HEALTH_PATH = "/_chp_healthz"
UNLIMITED_BYTES = sys.maxsize
_CONNECT_WITHIN_S = 20.0
_REASONS = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}


class Front(Protocol):
    """What all exchanges share."""

    routes: RouteTable
    pages: ErrorPages
    connector: TCPClient
    exchanges: set[Exchange]


class Exchange(HTTPMessageDelegate):
    """Takes a request's parts from Tornado's server, and reads the answer in a task of its own."""

    def __init__(self, front: Front, client: HTTP1Connection) -> None:
        loop = asyncio.get_running_loop()
        self._front = front
        self._client = client
        self._target: HTTP1Connection | None = None
        self._prefix = ""
        self._name = ""
        self._path = ""
        self._language = ""
        self._method = ""
        self._version = ""
        self._websocket = False
        # Tornado's futures of writes are left unresolved when a connection is closed: we wait for these as well.
        self._closed: asyncio.Future[None] = loop.create_future()
        self._answered: asyncio.Future[None] = loop.create_future()
        self._request_read = False
        self._body_unwanted = False
        self._head_sent = False
        self._counts_as_activity = False
        self._ends_by_closing = False
        self._task: asyncio.Task[None] | None = None
        self._streams: tuple[IOStream, ...] = ()

    # -- the request ----------------------------------------------------------------------------------------------

    async def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        """Find the target and pass the request's head on to it."""
        request = cast(RequestStartLine, start_line)
        check_framing(request, headers)
        uri = request_path(request)
        self._path = uri.partition("?")[0]
        self._method, self._version = request.method, request.version
        # Queries may hold tokens: none is ever logged.
        self._name = f"{request.method} {self._path}"
        self._language = headers.get("Accept-Language", "")
        self._body_unwanted = headers.get("Expect", "").lower() == "100-continue"
        self._websocket = wants_websocket(request, headers)
        self._front.exchanges.add(self)
        self._client.set_close_callback(self.close)
        # An event must not wait for the next one to fill a packet.
        self._client.stream.set_nodelay(True)
        if self._path == HEALTH_PATH:
            await self._answer(200, HTTPHeaders({"Content-Type": "application/json"}), b'{"status": "OK"}')
            return
        route = self._front.routes.target_for_req(None, self._path)
        if route is None:
            await self._answer_page(404)
            return
        self._prefix = route["prefix"]
        await self._ask(route["target"], RequestStartLine(request.method, uri, "HTTP/1.1"), request, headers)

    async def _ask(
        self, target: str, start_line: RequestStartLine, request: RequestStartLine, headers: HTTPHeaders
    ) -> None:
        place = urlsplit(target)
        try:
            stream = await self._connect(place.scheme, place.hostname or "", place.port)
        except OSError as error:
            log.warning("%s: %s cannot be reached: %s", self._name, target, _reason(error))
            await self._answer_page(503)
            return
        stream.set_nodelay(True)
        self._body_unwanted = False
        self._target = HTTP1Connection(
            stream, True, HTTP1ConnectionParameters(max_body_size=UNLIMITED_BYTES), self._client.context
        )
        passed_on = request_headers(request, headers, _address(self._client), place.netloc)
        uri = place.path.rstrip("/") + start_line.path
        await _settled(self._target.write_headers(start_line._replace(path=uri), passed_on), self._answered)
        self._task = asyncio.create_task(self._read_answer(self._target, target))

    async def _connect(self, scheme: str, host: str, port: int | None) -> IOStream:
        encrypted = scheme == "https"
        return await self._front.connector.connect(
            host,
            port or (443 if encrypted else 80),
            ssl_options=_tls() if encrypted else None,
            timeout=_CONNECT_WITHIN_S,
        )

    async def data_received(self, chunk: bytes) -> None:
        """Pass a piece of the request's body on, and return when the target has taken it."""
        # What an answer or a refusal has made useless is still read: a client that sends cannot see either before.
        if self._target is not None and not self._answered.done():
            self._note_activity()
            await _settled(self._target.write(chunk), self._answered)

    def finish(self) -> None:
        """Tell the target that the request is complete."""
        self._request_read = True
        if self._client.stream is not None and self._client.stream.closed():
            # Tornado tells us of a client that leaves later, but not of one that has left by now.
            self.close()
            return
        if self._target is not None and not self._answered.done() and not self._target.stream.closed():
            self._target.finish()
        self._finish_when_both_are_done()

    def on_connection_close(self) -> None:
        """Give up the request of a client that went away while sending it."""
        self.close()

    # -- the answer -----------------------------------------------------------------------------------------------

    async def _read_answer(self, connection: HTTP1Connection, target: str) -> None:
        reason = "no proper answer"
        try:
            await connection.read_response(_Answer(self))
        except StreamClosedError as error:
            reason = _reason(error)
        if self._answered.done():
            return
        log.warning("%s: %s broke off: %s", self._name, target, reason)
        if self._head_sent:
            # Closing without the end is the only way to say that the rest is missing.
            self.close()
        else:
            await self._answer_page(503)

    async def answer_head(self, answer: ResponseStartLine, headers: HTTPHeaders) -> None:
        """Pass the answer's head on, or let a websocket begin."""
        if answer.code == 101:
            await self._become_tunnel(answer, headers)
        if answer.code < 200:
            return
        # An event stream is open for as long as a page is; it says nothing about the user.
        self._counts_as_activity = answer.code < 300 and not headers.get("Content-Type", "").startswith(
            "text/event-stream"
        )
        if answer.code < 300:
            self._front.routes.update_last_activity(self._prefix)
        self._ends_by_closing = self._version == "HTTP/1.0" and "Content-Length" not in headers
        await self._write_head(ResponseStartLine("HTTP/1.1", answer.code, answer.reason), end_to_end(headers))

    async def answer_chunk(self, chunk: bytes) -> None:
        """Pass a piece of the answer on, and return when the client has taken it."""
        self._note_activity()
        await self._sent(self._client.write(chunk))

    def answer_end(self, *, delimited: bool) -> None:
        """Tell the client that the answer is complete, unless the target was cut off."""
        assert self._target is not None
        if not delimited and self._target.stream.error is not None:
            return
        self._note_activity()
        self._set_answered()
        self._target.close()

    def _note_activity(self) -> None:
        if self._counts_as_activity:
            self._front.routes.update_last_activity(self._prefix)

    async def _answer_page(self, status: int) -> None:
        headers, body = await self._front.pages.page(status, self._path, self._language)
        await self._answer(status, headers, body)

    async def _answer(self, status: int, headers: HTTPHeaders, body: bytes) -> None:
        """Answer in the target's place."""
        if self._closed.done():
            return
        headers["Content-Length"] = str(len(body))
        chunk = None if self._method == "HEAD" else body
        await self._write_head(ResponseStartLine("HTTP/1.1", status, _REASONS[status]), headers, chunk)
        self._set_answered()

    async def _write_head(self, start_line: ResponseStartLine, headers: HTTPHeaders, body: bytes | None = None) -> None:
        self._head_sent = True
        log.debug("%s: %s", self._name, start_line.code)
        await self._sent(self._client.write_headers(start_line, headers, body))

    async def _sent(self, write: asyncio.Future[None]) -> None:
        if not await _settled(write, self._closed):
            self.close()

    def _set_answered(self) -> None:
        if not self._answered.done():
            self._answered.set_result(None)
        self._finish_when_both_are_done()

    def _finish_when_both_are_done(self) -> None:
        """End the exchange when nothing is left to send or to read.

        Ending it while a client still sends would cut the connection, and the client would never see the answer.
        """
        if not self._answered.done() or not (self._request_read or self._body_unwanted) or self._streams:
            return
        self._front.exchanges.discard(self)
        if not self._client.stream.closed():
            self._client.finish()
            if self._ends_by_closing:
                self._client.close()

    # -- websockets and the end -----------------------------------------------------------------------------------

    async def _become_tunnel(self, answer: ResponseStartLine, headers: HTTPHeaders) -> None:
        assert self._target is not None
        if not self._websocket:
            log.warning("%s: the target changes the protocol unasked", self._name)
            self._target.close()
            return
        target = self._target.detach()
        passed_on = end_to_end(headers)
        passed_on["Connection"], passed_on["Upgrade"] = "Upgrade", "websocket"
        await self._write_head(answer, passed_on)
        self._streams = (self._client.detach(), target)
        self._set_answered()
        self._task = asyncio.create_task(self._run_tunnel(*self._streams))

    async def _run_tunnel(self, client: IOStream, target: IOStream) -> None:
        touch = functools.partial(self._front.routes.update_last_activity, self._prefix)
        touch()
        await tunnel(client, target, touch)
        self._front.exchanges.discard(self)

    @property
    def is_websocket(self) -> bool:
        """Whether a websocket has taken over the connection."""
        return bool(self._streams)

    def close(self) -> None:
        """Close both connections, at whatever point the exchange is."""
        for future in (self._closed, self._answered):
            if not future.done():
                future.set_result(None)
        self._front.exchanges.discard(self)
        if self._target is not None:
            self._target.close()
        self._client.close()
        for stream in self._streams:
            stream.close()


class _Answer(HTTPMessageDelegate):
    """Hands the parts of an answer to its exchange; both directions have the same method names in Tornado."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._delimited = False

    async def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        self._delimited = "Content-Length" in headers or "Transfer-Encoding" in headers
        await self._exchange.answer_head(cast(ResponseStartLine, start_line), headers)

    async def data_received(self, chunk: bytes) -> None:
        await self._exchange.answer_chunk(chunk)

    def finish(self) -> None:
        self._exchange.answer_end(delimited=self._delimited)


async def _settled(write: asyncio.Future[None], useless: asyncio.Future[None]) -> bool:
    """Return whether `write` has ended well, once it has ended or has become useless."""
    if not write.done():
        await asyncio.wait((write, useless), return_when=asyncio.FIRST_COMPLETED)
    return write.done() and write.exception() is None


def _address(client: HTTP1Connection) -> str:
    return str(getattr(client.context, "remote_ip", "unknown"))


def _reason(error: OSError) -> str:
    real_error = getattr(error, "real_error", None) or error
    return str(getattr(real_error, "strerror", None) or real_error)


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
