"""The proxy passes requests and answers on as they come, and says so when it cannot."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import ClientSession, ClientTimeout

from tests.hub.proxy_target import (
    MIB,
    TOKEN,
    ZIPPED,
    RunningProxy,
    Target,
    proxy_command,
    running_proxy,
    running_target,
    told,
)
from tests.support.network import free_ports

STOCK_TIMEOUT_S = 20
MEMORY_MIB = 50


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    with running_proxy(tmp_path_factory.mktemp("proxy"), "--log-level=debug") as running:
        yield running


@pytest.fixture
async def target(proxy: RunningProxy) -> AsyncIterator[Target]:
    async with running_target() as running:
        proxy.lead("/t", running.url)
        yield running


@pytest.fixture
async def client(proxy: RunningProxy, target: Target) -> AsyncIterator[ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with ClientSession(
        proxy.url, auto_decompress=False, timeout=ClientTimeout(total=60), connector=connector
    ) as session:
        yield session


async def raw(proxy: RunningProxy, request: str, *, until_closed: bool = True) -> str:
    """Send bytes as they are; return what comes until the proxy closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(request.replace("\n", "\r\n").encode("latin-1"))
        answer = await asyncio.wait_for(reader.read() if until_closed else reader.read(65536), 10)
        return answer.decode("latin-1")
    finally:
        writer.close()


# -- streams ------------------------------------------------------------------------------------------------------


async def test_events_arrive_one_by_one(client: ClientSession, target: Target) -> None:
    started = time.monotonic()
    async with client.get("/t/events") as answer:
        assert await answer.content.readuntil(b"\n\n") == b"data: 0\n\n"
        assert time.monotonic() - started < 1
        for number in (1, 2, 3):
            asked = time.monotonic()
            target.next_event.set()
            assert await answer.content.readuntil(b"\n\n") == f"data: {number}\n\n".encode()
            assert time.monotonic() - asked < 0.5


async def test_fifty_open_streams_leave_room_for_requests(client: ClientSession) -> None:
    streams = await asyncio.gather(*(client.get("/t/events") for _ in range(50)))
    for stream in streams:
        assert await stream.content.readuntil(b"\n\n") == b"data: 0\n\n"
    started = time.monotonic()
    await asyncio.gather(*(told(client, "GET", "/t/x") for _ in range(20)))
    assert time.monotonic() - started < 5
    for stream in streams:
        stream.close()


async def test_neither_slow_answers_nor_idle_connections_end_by_themselves(client: ClientSession) -> None:
    seconds = STOCK_TIMEOUT_S + 1

    async def trickle() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(seconds)
        yield b"last"

    async with client.ws_connect("/t/ws") as socket, client.get("/t/events") as events:
        slow, upload = await asyncio.gather(
            client.get("/t/slow", params={"seconds": seconds}), client.put("/t/upload", data=trickle())
        )
        assert await slow.text() == "at last"
        assert (await upload.json())["size"] == 9
        await socket.send_str("still there?")
        assert await socket.receive_str() == "still there?"
        assert not events.content.at_eof()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_upload_does_not_sit_in_memory(client: ClientSession, proxy: RunningProxy, chunked: bool) -> None:
    block = os.urandom(MIB)
    digest = hashlib.sha256()
    before = proxy.memory_mib()

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(300):
            digest.update(block)
            yield block

    headers = {} if chunked else {"Content-Length": str(300 * MIB)}
    async with client.put("/t/upload", data=blocks(), headers=headers) as answer:
        assert await answer.json() == {"size": 300 * MIB, "sha256": digest.hexdigest()}
    assert proxy.memory_mib() - before < MEMORY_MIB


@pytest.mark.parametrize("query", ["", "&chunked"])
async def test_a_large_download_waits_for_a_slow_reader(client: ClientSession, proxy: RunningProxy, query: str) -> None:
    before = proxy.memory_mib()
    size = 0
    async with client.get(f"/t/download?size={300 * MIB}{query}") as answer:
        await asyncio.sleep(1)
        async for chunk in answer.content.iter_any():
            size += len(chunk)
    assert size == 300 * MIB
    assert proxy.memory_mib() - before < MEMORY_MIB


# -- one side goes away -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/t/events", "/t/slow?seconds=60"])
async def test_the_target_sees_that_the_client_went_away(client: ClientSession, target: Target, path: str) -> None:
    request = asyncio.create_task(client.get(path))
    await asyncio.sleep(0.3)
    if request.done():
        request.result().close()
    request.cancel()
    await asyncio.wait_for(target.client_gone.wait(), 5)


async def test_an_upload_given_up_is_given_up_at_the_target(client: ClientSession, target: Target) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1000)
            await asyncio.sleep(0.01)

    upload = asyncio.create_task(client.put("/t/slow?seconds=60", data=endless()))
    await asyncio.sleep(0.3)
    upload.cancel()
    await asyncio.wait_for(target.client_gone.wait(), 5)


@pytest.mark.parametrize("query", ["", "?chunked"])
async def test_an_answer_that_breaks_off_is_seen_as_cut(client: ClientSession, query: str) -> None:
    async with client.get(f"/t/break{query}") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientError):
            await answer.read()


async def test_a_target_that_dies_before_it_answers_gives_a_503(client: ClientSession, proxy: RunningProxy) -> None:
    async with client.get("/t/break?early&token=secret") as answer:
        assert answer.status == 503
    assert "GET /t/break" in proxy.log
    assert "secret" not in proxy.log


async def test_an_answer_reaches_a_client_that_still_sends(client: ClientSession) -> None:
    async with client.put("/t/refuse", data=io.BytesIO(bytes(20 * MIB))) as answer:
        assert answer.status == 403
        assert await answer.text() == "not yours"


async def test_clients_that_leave_at_any_moment_leave_nothing_behind(proxy: RunningProxy, target: Target) -> None:
    before = proxy.open_files()
    upload = "PUT /t/{path} HTTP/1.1\nHost: h\nContent-Length: 9999999\n\n" + "x" * 200_000
    websocket = (
        "GET /t/ws HTTP/1.1\nHost: h\nConnection: Upgrade\nUpgrade: websocket\n"
        "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n\n"
    )
    paths = ("upload", "refuse", "slow?seconds=30", "break", "break?early")
    kinds = [
        *(upload.format(path=path) for path in paths),
        *(f"GET /t/{path} HTTP/1.1\nHost: h\n\n" for path in (*paths, "download?size=99999999", "events")),
        websocket,
        websocket + "\x81\x85",
        "GET /t/x HTT",
    ]

    async def leave(kind: str, moment_s: float) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(kind.replace("\n", "\r\n").encode("latin-1"))
        await asyncio.sleep(moment_s)
        writer.transport.abort()

    await asyncio.gather(*(leave(kind, moment / 200) for kind in kinds for moment in range(15)))
    deadline = time.monotonic() + 10
    while proxy.open_files() > before and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert proxy.open_files() <= before


# -- errors of the proxy's own ------------------------------------------------------------------------------------


async def test_an_address_without_a_route_gives_a_page_in_the_readers_language(proxy: RunningProxy) -> None:
    async with ClientSession(proxy.url, headers={"Accept-Language": "fr"}) as visitor:
        async with visitor.get("/nowhere") as answer:
            assert answer.status == 404
            assert "Il n’y a rien ici" in await answer.text()
        async with visitor.head("/nowhere") as answer:
            assert answer.status == 404
            assert await answer.read() == b""


async def test_a_target_that_is_away_gives_the_hubs_page(tmp_path: Path, target: Target) -> None:
    with running_proxy(tmp_path, f"--error-target={target.url}/hub/error") as proxy:
        proxy.lead("/user/a%20b", f"http://127.0.0.1:{free_ports(1)[0]}")
        async with ClientSession(proxy.url, headers={"Accept-Language": "fr"}) as visitor:
            async with visitor.get("/user/a%20b/lab?token=secret") as answer:
                assert answer.status == 503
                assert await answer.text() == "<p>503 /user/a%20b/lab fr</p>"
                assert "Set-Cookie" not in answer.headers
            async with visitor.put("/user/a%20b/api/contents/big", data=io.BytesIO(bytes(20 * MIB))) as answer:
                assert answer.status == 503
        assert "cannot be reached: Connection refused" in proxy.log
        assert "secret" not in proxy.log


async def test_the_hub_being_away_too_gives_a_page_that_tries_again(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    with running_proxy(tmp_path, f"--error-target={nobody}/hub/error") as proxy:
        proxy.lead("/", nobody)
        async with ClientSession(proxy.url) as visitor, visitor.get("/hub/home") as answer:
            assert answer.status == 503
            text = await answer.text()
            assert "tries again" in text
            assert 'http-equiv="refresh"' in text


async def test_a_body_for_a_dead_target_is_not_asked_for(proxy: RunningProxy, target: Target) -> None:
    proxy.lead("/dead", f"http://127.0.0.1:{free_ports(1)[0]}")
    answer = await raw(proxy, "PUT /dead/x HTTP/1.1\nHost: h\nContent-Length: 9\nExpect: 100-continue\n\n")
    assert answer.startswith("HTTP/1.1 503 Service Unavailable")


# -- what is passed on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("body", ["", "some text é"])
async def test_method_path_and_body_arrive_as_they_are(client: ClientSession, method: str, body: str) -> None:
    path = "/t/a%2Fb%20c//d/../e;f=1?q=%26&token=x&token=y"
    arrived = await told(client, method, path, data=body or None, allow_redirects=False)
    assert arrived["method"] == method
    assert arrived["body"] == body


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ("/t/a%2Fb%20c//d/../e;f=1?q=%26&token=x", "/t/a%2Fb%20c//d/../e;f=1?q=%26&token=x"),
        ("/t/caf\xc3\xa9?\xe9", "/t/caf%C3%A9?%E9"),
        ("http://h/t/x?y", "/t/x?y"),
    ],
)
async def test_addresses_arrive_as_they_were_written(
    proxy: RunningProxy, target: Target, sent: str, arrives: str
) -> None:
    answer = await raw(proxy, f"GET {sent} HTTP/1.1\nHost: h\nConnection: close\n\n")
    assert f'"path": "{arrives}"' in answer


async def test_the_body_is_asked_for_when_the_client_waits_for_that(proxy: RunningProxy, target: Target) -> None:
    head = "PUT /t/x HTTP/1.1\nHost: h\nContent-Length: 4\nExpect: 100-continue\nConnection: close\n\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(head.replace("\n", "\r\n").encode())
    assert b"100" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    writer.write(b"data")
    assert '"body": "data"' in (await asyncio.wait_for(reader.read(), 5)).decode()
    writer.close()


async def test_the_target_learns_who_asked_and_how(client: ClientSession, proxy: RunningProxy) -> None:
    headers = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "Keep-Alive": "5", "X-Mine": "1"}
    arrived = {name.lower(): value for name, value in (await told(client, "GET", "/t/x", headers=headers))["headers"]}
    assert arrived["x-forwarded-for"] == "192.0.2.1,127.0.0.1"
    assert arrived["x-forwarded-proto"] == "https,http"
    assert arrived["x-forwarded-port"] == str(proxy.port)
    assert arrived["x-forwarded-host"] == arrived["host"] == f"127.0.0.1:{proxy.port}"
    assert arrived["x-mine"] == "1"
    assert "keep-alive" not in arrived


async def test_all_cookies_come_back(client: ClientSession) -> None:
    async with client.get("/t/x") as answer:
        assert [value.split(";")[0] for value in answer.headers.getall("Set-Cookie")] == ["first=1", "second=2"]


async def test_compressed_answers_are_not_touched(client: ClientSession) -> None:
    async with client.get("/t/zipped") as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert await answer.read() == ZIPPED


@pytest.mark.parametrize("code", [204, 302, 304, 404, 500])
async def test_statuses_and_redirections_come_back_as_they_are(client: ClientSession, code: int) -> None:
    async with client.get(f"/t/status?code={code}", allow_redirects=False) as answer:
        assert answer.status == code
        assert answer.headers["Location"] == "http://elsewhere/there?a=b"
        assert await answer.read() == b""
    assert (await told(client, "GET", "/t/x"))["method"] == "GET"


async def test_the_head_of_an_answer_can_be_asked_for_alone(client: ClientSession) -> None:
    async with client.head("/t/zipped") as answer:
        assert answer.headers["Content-Length"] == str(len(ZIPPED))
        assert await answer.read() == b""


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 4\nTransfer-Encoding: chunked",
        "Content-Length: 4\nContent-Length: 5",
        "Content-Length: 4\nContent-Length: 4",
        "Content-Length: +4",
        "Transfer-Encoding: gzip, chunked",
        "Connection: Content-Length\nContent-Length: four",
    ],
)
async def test_a_request_of_ambiguous_length_is_refused(proxy: RunningProxy, target: Target, framing: str) -> None:
    answer = await raw(proxy, f"POST /t/x HTTP/1.1\nHost: h\n{framing}\n\n0\n\nGET /t/smuggled HTTP/1.1\nHost: h\n\n")
    assert answer.startswith("HTTP/1.1 400 Bad Request")
    assert answer.count("HTTP/1.1") == 1


async def test_an_old_client_gets_an_answer_that_ends_with_the_connection(proxy: RunningProxy, target: Target) -> None:
    answer = await raw(proxy, "GET /t/download?size=5&chunked HTTP/1.0\nConnection: keep-alive\n\n")
    assert answer.endswith("\r\n\r\n" + "\0" * 5)


# -- routes -------------------------------------------------------------------------------------------------------


async def test_the_longest_route_is_taken(proxy: RunningProxy, target: Target, client: ClientSession) -> None:
    proxy.lead("/deep", f"http://127.0.0.1:{free_ports(1)[0]}")
    proxy.lead("/deep/er", target.url)
    assert (await told(client, "GET", "/deep/er/x"))["path"] == "/deep/er/x"
    assert proxy.api("DELETE", "/deep/er").status_code == 204
    async with client.get("/deep/er/x") as answer:
        assert answer.status == 503
    assert proxy.api("DELETE", "/deep").status_code == 204
    assert proxy.api("DELETE", "/deep").status_code == 404
    async with client.get("/deep/er/x") as answer:
        assert answer.status == 404


async def test_a_targets_own_path_comes_first(proxy: RunningProxy, target: Target, client: ClientSession) -> None:
    proxy.lead("/prefixed", f"{target.url}/base")
    assert (await told(client, "GET", "/prefixed/x?y"))["path"] == "/base/prefixed/x?y"


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x"])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/mine"), ("DELETE", "/t")])
def test_routes_are_for_those_who_know_the_token(proxy: RunningProxy, method: str, path: str, token: str) -> None:
    assert proxy.api(method, path, token, json={"target": "http://x"}).status_code == 403


async def test_a_route_says_when_it_was_last_used(proxy: RunningProxy, client: ClientSession) -> None:
    before = datetime.now(UTC)
    await told(client, "GET", "/t/x")
    used = datetime.fromisoformat(proxy.last_activity("/t"))
    assert timedelta(0) <= used - before < timedelta(seconds=5)
    async with client.get("/t/status?code=404"), client.get("/t/status?code=302", allow_redirects=False):
        assert datetime.fromisoformat(proxy.last_activity("/t")) == used
    later = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    for since in (later, later.removesuffix("+00:00")):
        assert "/t" in proxy.api("GET", params={"inactive_since": since}).json()


async def test_open_event_streams_are_no_activity(proxy: RunningProxy, client: ClientSession, target: Target) -> None:
    async with client.get("/t/events") as answer:
        await answer.content.readuntil(b"\n\n")
        opened = proxy.last_activity("/t")
        target.next_event.set()
        await answer.content.readuntil(b"\n\n")
        assert proxy.last_activity("/t") == opened


# -- life ---------------------------------------------------------------------------------------------------------


def start(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "CONFIGPROXY_AUTH_TOKEN"}
    port, api_port = free_ports(2)
    command = proxy_command(port, api_port, *options)
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True, timeout=30, check=False)


def test_without_a_token_it_does_not_start() -> None:
    ended = start()
    assert ended.returncode == 2
    assert "CONFIGPROXY_AUTH_TOKEN is not set" in ended.stderr


@pytest.mark.parametrize("option", ["--port", "--api-port"])
def test_a_taken_port_is_said_in_one_line(proxy: RunningProxy, option: str) -> None:
    ended = start(f"{option}={proxy.port}", CONFIGPROXY_AUTH_TOKEN=TOKEN)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        f"springtide proxy: The proxy cannot listen on http://127.0.0.1:{proxy.port}: Address already in use. "
        "Stop the program that uses it, or choose another port."
    ]


async def test_it_answers_what_it_has_begun_and_ends_when_told(tmp_path: Path, target: Target) -> None:
    with running_proxy(tmp_path) as proxy:
        proxy.lead("/t", target.url)
        async with ClientSession(proxy.url) as visitor, visitor.ws_connect("/t/ws") as socket:
            answer = asyncio.create_task(visitor.get("/t/slow?seconds=1"))
            await asyncio.sleep(0.3)
            ended = asyncio.create_task(asyncio.to_thread(proxy.daemon.stop))
            assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)
            assert await (await answer).text() == "at last"
            assert await ended == 0
        assert "Traceback" not in proxy.log


def test_nothing_went_wrong_unnoticed(proxy: RunningProxy) -> None:
    assert "Traceback" not in proxy.log
    assert "Uncaught" not in proxy.log
