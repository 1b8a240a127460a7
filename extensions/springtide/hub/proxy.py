"""The proxy in front of hub and sessions: ``python -m springtide.hub.proxy``.

It takes the place of the PyPI package configurable-http-proxy 0.4.0, whose routes and API it uses, because that one
fetches an answer whole before it passes it on. Measured with it: no event of a stream arrives, an answer that takes
longer than 20 s becomes a 503, beside ten open streams every other request waits, bodies above 100 MB and websocket
messages above 10 MB cut the connection, binary messages arrive as text, close codes and subprotocols are lost,
compressed answers are unpacked. See `proxy_exchange`, `proxy_tunnel`, `proxy_routes`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sys
from typing import cast

import click
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection, HTTPMessageDelegate, HTTPServerConnectionDelegate
from tornado.tcpclient import TCPClient

from springtide.errors import SpringtideError
from springtide.hub.proxy_exchange import UNLIMITED_BYTES, Exchange
from springtide.hub.proxy_pages import ErrorPages
from springtide.hub.proxy_routes import RouteTable

log = logging.getLogger("springtide.proxy")

_ANSWERS_END_WITHIN_S = 3.0
_LEVELS = ("debug", "info", "warning", "error")


class Front(HTTPServerConnectionDelegate):
    """Begins an exchange for each request, and knows those that are open."""

    def __init__(self, routes: RouteTable, pages: ErrorPages) -> None:
        self.routes = routes
        self.pages = pages
        self.connector = TCPClient()
        self.exchanges: set[Exchange] = set()

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """Return what takes the next request of a connection; called by Tornado's server."""
        return Exchange(self, cast(HTTP1Connection, request_conn))

    async def end(self) -> None:
        """Close websockets at once, and the rest when it is answered or has had its time."""
        for exchange in [one for one in self.exchanges if one.is_websocket]:
            exchange.close()
        give_up_at = asyncio.get_running_loop().time() + _ANSWERS_END_WITHIN_S
        while self.exchanges and asyncio.get_running_loop().time() < give_up_at:
            await asyncio.sleep(0.05)
        for exchange in list(self.exchanges):
            exchange.close()


async def serve(
    address: tuple[str, int], api_address: tuple[str, int], auth_token: str, error_target: str = ""
) -> None:
    """Proxy on `address`, take the hub's orders on `api_address`, until SIGTERM or SIGINT.

    Raises
    ------
    SpringtideError
        If one of the addresses cannot be listened on.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    routes = RouteTable(auth_token)
    front = Front(routes, ErrorPages(error_target))
    servers = [
        _listen(HTTPServer(front, max_body_size=UNLIMITED_BYTES), *address),
        _listen(HTTPServer(routes.api_app), *api_address),
    ]
    log.info("proxy on %s, API on %s", _shown(*address), _shown(*api_address))
    await stop.wait()
    log.info("stopping")
    for server in servers:
        server.stop()
    await front.end()
    for server in servers:
        await server.close_all_connections()


def _listen(server: HTTPServer, ip: str, port: int) -> HTTPServer:
    try:
        server.listen(port, "" if ip == "*" else ip)
    except OSError as error:
        raise SpringtideError(
            f"The proxy cannot listen on {_shown(ip, port)}: {os.strerror(error.errno or 0)}.",
            "Stop the program that uses it, or choose another port.",
        ) from error
    return server


def _shown(ip: str, port: int) -> str:
    return f"http://{ip or '*'}:{port}"


def _allow_many_connections() -> None:
    """Raise the number of open files to what the system allows: each exchange needs two."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _set_up_log(level: str) -> None:
    # The package has put a handler of its own on the root logger; it goes.
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(message)s", force=True)
    # Tornado reports each connection that a client or target breaks; we say the same in words, without its headers.
    logging.getLogger("tornado").setLevel(logging.INFO if level == "debug" else logging.ERROR)


@click.command(help=__doc__.splitlines()[0] if __doc__ else None)
@click.option("--ip", default="127.0.0.1", show_default=True, help="Address for browsers; '*' for all.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Port for browsers.")
@click.option("--api-ip", default="127.0.0.1", show_default=True, help="Address for the hub's orders.")
@click.option("--api-port", default=8001, show_default=True, type=click.IntRange(1, 65535), help="Port for them.")
@click.option("--error-target", default="", help="URL below which the hub has its error pages.")
@click.option("--log-level", default="info", show_default=True, type=click.Choice(_LEVELS, case_sensitive=False))
def main(ip: str, port: int, api_ip: str, api_port: int, error_target: str, log_level: str) -> None:
    """Run the proxy; the token of its API comes from CONFIGPROXY_AUTH_TOKEN."""
    auth_token = os.environ.get("CONFIGPROXY_AUTH_TOKEN", "")
    if not auth_token:
        raise click.UsageError("CONFIGPROXY_AUTH_TOKEN is not set: anybody could change the routes.")
    _set_up_log(log_level.lower())
    _allow_many_connections()
    try:
        asyncio.run(serve((ip, port), (api_ip, api_port), auth_token, error_target))
    except SpringtideError as error:
        click.echo(f"springtide proxy: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
