"""A program behind the proxy, for its tests, and the proxy itself in a process of its own."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from aiohttp import ClientSession, WSMsgType, web

from tests.support.network import free_ports, http_status
from tests.support.processes import Daemon

TOKEN = "the-token-of-the-tests"
MIB = 2**20
ZIPPED = gzip.compress(b"a notebook " * 1000)


@dataclass
class RunningProxy:
    """The proxy, as the hub and browsers see it."""

    port: int
    api_port: int
    daemon: Daemon

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.daemon.log.read_text()

    def api(self, method: str, path: str = "", token: str = TOKEN, **options: Any) -> requests.Response:
        headers = {"Authorization": f"token {token}"} if token else {}
        url = f"http://127.0.0.1:{self.api_port}/api/routes{path}"
        return requests.request(method, url, headers=headers, timeout=10, **options)

    def lead(self, path: str, target: str) -> None:
        self.api("POST", path, json={"target": target, "jupyterhub": True}).raise_for_status()

    def last_activity(self, path: str) -> str:
        return str(self.api("GET").json()[path]["last_activity"])

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.daemon.pid}/fd"))

    def memory_mib(self) -> float:
        """Return the most memory that the proxy has used so far."""
        status = Path(f"/proc/{self.daemon.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert peak
        return int(peak[1]) / 1024


def proxy_command(port: int, api_port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "springtide.hub.proxy", f"--port={port}", f"--api-port={api_port}", *options]


@contextmanager
def running_proxy(folder: Path, *options: str) -> Iterator[RunningProxy]:
    """Yield a proxy without routes."""
    port, api_port = free_ports(2)
    command = proxy_command(port, api_port, *options)
    proxy = RunningProxy(
        port, api_port, Daemon("proxy", command, folder / "proxy.log", {"CONFIGPROXY_AUTH_TOKEN": TOKEN})
    )
    proxy.daemon.start()
    try:
        proxy.daemon.wait_ready(lambda: http_status(f"{proxy.url}/_chp_healthz") == 200, 30)
        yield proxy
    finally:
        proxy.daemon.stop()


@dataclass
class Target:
    """A web program with everything that proxies get wrong."""

    url: str = ""
    next_event: asyncio.Event = field(default_factory=asyncio.Event)
    client_gone: asyncio.Event = field(default_factory=asyncio.Event)
    close_seen: asyncio.Future[int | None] = field(default_factory=asyncio.Future)

    async def echo(self, request: web.Request) -> web.StreamResponse:
        """Tell what has arrived, and set two cookies."""
        answer = web.json_response(
            {
                "method": request.method,
                "path": request.raw_path,
                "headers": [[name, value] for name, value in request.headers.items()],
                "body": (await request.read()).decode(),
            }
        )
        answer.set_cookie("first", "1")
        answer.set_cookie("second", "2")
        return answer

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send an event, and one more whenever the test asks for it."""
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        try:
            for number in range(1000):
                await answer.write(f"data: {number}\n\n".encode())
                await self.next_event.wait()
                self.next_event.clear()
        except asyncio.CancelledError:
            self.client_gone.set()
            raise
        return answer

    async def slow(self, request: web.Request) -> web.StreamResponse:
        try:
            await asyncio.sleep(float(request.query["seconds"]))
        except asyncio.CancelledError:
            self.client_gone.set()
            raise
        return web.Response(text="at last")

    async def upload(self, request: web.Request) -> web.StreamResponse:
        digest, size = hashlib.sha256(), 0
        async for chunk in request.content.iter_any():
            digest.update(chunk)
            size += len(chunk)
        return web.json_response({"size": size, "sha256": digest.hexdigest()})

    async def refuse(self, request: web.Request) -> web.StreamResponse:
        """Answer before the body has arrived."""
        return web.Response(status=403, text="not yours")

    async def download(self, request: web.Request) -> web.StreamResponse:
        size = int(request.query["size"])
        headers = {} if "chunked" in request.query else {"Content-Length": str(size)}
        answer = web.StreamResponse(headers=headers)
        await answer.prepare(request)
        block = bytes(MIB)
        while size:
            await answer.write(block[: min(size, MIB)])
            size -= min(size, MIB)
        return answer

    async def break_off(self, request: web.Request) -> web.StreamResponse:
        """Die in the middle of an answer, or before it."""
        assert request.transport
        if "early" in request.query:
            request.transport.abort()
            return web.Response()
        answer = web.StreamResponse(headers={} if "chunked" in request.query else {"Content-Length": "1000"})
        await answer.prepare(request)
        await answer.write(b"the beginning")
        await asyncio.sleep(0.1)
        request.transport.abort()
        return answer

    async def zipped(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=ZIPPED, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})

    async def status(self, request: web.Request) -> web.StreamResponse:
        code = int(request.query["code"])
        return web.Response(status=code, headers={"Location": "http://elsewhere/there?a=b"})

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        """Send back what comes; close with a reason when asked to."""
        socket = web.WebSocketResponse(
            max_msg_size=0,
            protocols=["v1.kernel.websocket.jupyter.org"],
            heartbeat=float(request.query.get("ping", 60)),
        )
        await socket.prepare(request)
        try:
            async for message in socket:
                if message.type == WSMsgType.BINARY:
                    await socket.send_bytes(message.data)
                elif message.data == "close":
                    await socket.close(code=4001, message=b"the kernel died")
                elif message.data == "die":
                    assert request.transport
                    request.transport.abort()
                else:
                    await socket.send_str(message.data)
        finally:
            if not self.close_seen.done():
                self.close_seen.set_result(socket.close_code)
        return socket

    async def refused_websocket(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=403, text="not your kernel")

    async def error_page(self, request: web.Request) -> web.StreamResponse:
        """Play the hub's page."""
        text = (
            f"<p>{request.match_info['code']} {request.query['url']} {request.headers.get('Accept-Language', '')}</p>"
        )
        answer = web.Response(text=text, content_type="text/html")
        answer.set_cookie("_xsrf", "another")
        return answer


@asynccontextmanager
async def running_target() -> AsyncIterator[Target]:
    """Yield the program behind the proxy, on a port of its own."""
    target = Target()
    application = web.Application(client_max_size=0)
    routes = {
        "events": target.events,
        "slow": target.slow,
        "upload": target.upload,
        "refuse": target.refuse,
        "download": target.download,
        "break": target.break_off,
        "zipped": target.zipped,
        "status": target.status,
        "ws": target.websocket,
        "ws-refused": target.refused_websocket,
        "error/{code}": target.error_page,
    }
    for path, handler in routes.items():
        application.router.add_route("*", f"/{{prefix:t|hub}}/{path}", handler)
    application.router.add_route("*", "/{path:.*}", target.echo)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.5, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    target.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield target
    finally:
        await runner.cleanup()


async def told(client: ClientSession, method: str, path: str, **options: Any) -> dict[str, Any]:
    """Return what the target says has arrived."""
    async with client.request(method, path, **options) as answer:
        assert answer.status == 200
        content: dict[str, Any] = json.loads(await answer.read())
        return content
