"""The proxy carries websockets as if it were not there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from socket import SHUT_RDWR

import aiohttp
import pytest
from aiohttp import ClientSession, WSMsgType
from hypothesis import given
from hypothesis import strategies as st

from springtide.hub.proxy_tunnel import FrameWatch
from tests.hub.proxy_target import MIB, RunningProxy, Target, running_proxy, running_target

KERNEL_PROTOCOL = "v1.kernel.websocket.jupyter.org"


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
    async with ClientSession(proxy.url) as session:
        yield session


@pytest.mark.parametrize("compress", [0, 15])
async def test_messages_of_30_mib_go_both_ways(client: ClientSession, proxy: RunningProxy, compress: int) -> None:
    message = os.urandom(30 * MIB)
    before = proxy.memory_mib()
    async with client.ws_connect("/t/ws", max_msg_size=0, compress=compress) as socket:
        await socket.send_bytes(message)
        assert await socket.receive_bytes() == message
    assert proxy.memory_mib() - before < 10


async def test_the_subprotocol_is_agreed_between_the_ends(client: ClientSession) -> None:
    async with client.ws_connect("/t/ws", protocols=["unknown", KERNEL_PROTOCOL]) as socket:
        assert socket.protocol == KERNEL_PROTOCOL
    async with client.ws_connect("/t/ws", protocols=["unknown"]) as socket:
        assert socket.protocol is None


async def test_the_targets_close_code_and_reason_arrive(client: ClientSession) -> None:
    async with client.ws_connect("/t/ws", autoclose=False) as socket:
        await socket.send_str("close")
        closing = await socket.receive()
        assert (closing.type, closing.data, closing.extra) == (WSMsgType.CLOSE, 4001, "the kernel died")


async def test_the_clients_close_code_arrives(client: ClientSession, target: Target) -> None:
    async with client.ws_connect("/t/ws") as socket:
        await socket.close(code=4002, message=b"seen enough")
    assert await asyncio.wait_for(target.close_seen, 5) == 4002


async def test_a_target_that_dies_closes_the_clients_connection(client: ClientSession) -> None:
    async with client.ws_connect("/t/ws") as socket:
        await socket.send_str("die")
        assert (await asyncio.wait_for(socket.receive(), 5)).type in (WSMsgType.CLOSED, WSMsgType.ERROR)


async def test_a_client_that_dies_is_gone_for_the_target(client: ClientSession, target: Target) -> None:
    async with client.ws_connect("/t/ws") as socket:
        socket.get_extra_info("socket").shutdown(SHUT_RDWR)
        await asyncio.wait_for(target.close_seen, 5)


async def test_a_refusal_comes_back_as_it_is(client: ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect("/t/ws-refused")
    assert refused.value.status == 403


async def test_no_target_is_a_503(client: ClientSession, proxy: RunningProxy) -> None:
    proxy.lead("/dead", "http://127.0.0.1:1")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect("/dead/ws?token=secret")
    assert refused.value.status == 503
    assert "secret" not in proxy.log


async def test_no_other_protocol_takes_over_the_connection(proxy: RunningProxy, target: Target) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"GET /t/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    head = await reader.readuntil(b'"body"')
    assert b"h2c" not in head
    writer.close()


async def test_messages_are_activity_and_pings_are_not(client: ClientSession, proxy: RunningProxy) -> None:
    async with client.ws_connect("/t/ws?ping=0.1") as socket:
        waiting = asyncio.create_task(socket.receive_str())
        await asyncio.sleep(0.3)
        opened = proxy.last_activity("/t")
        await asyncio.sleep(0.5)
        assert proxy.last_activity("/t") == opened
        await socket.send_str("hello")
        assert await waiting == "hello"
        assert proxy.last_activity("/t") > opened


def frame(opcode: int, size: int, *, masked: bool) -> bytes:
    mask = 0x80 if masked else 0
    if size < 126:
        head = bytes([0x80 | opcode, mask | size])
    elif size < 2**16:
        head = bytes([0x80 | opcode, mask | 126]) + size.to_bytes(2)
    else:
        head = bytes([0x80 | opcode, mask | 127]) + size.to_bytes(8)
    return head + (b"mask" if masked else b"") + bytes([0x82]) * size


frames = st.lists(st.tuples(st.sampled_from([0, 1, 2, 8, 9, 10]), st.integers(0, 70_000), st.booleans()), max_size=8)


@given(frames=frames, cut=st.integers(1, 20_000))
def test_messages_are_told_from_pings_wherever_the_stream_is_cut(frames: list[tuple[int, int, bool]], cut: int) -> None:
    watch = FrameWatch()
    for opcode, size, masked in frames:
        sent = frame(opcode, size, masked=masked)
        seen = [watch.sees_message(sent[start : start + cut]) for start in range(0, len(sent), cut)]
        assert sum(seen) == (opcode < 8)
