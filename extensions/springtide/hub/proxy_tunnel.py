"""Carries a websocket through the proxy as bytes, once both ends have agreed on one.

The stock proxy takes each message apart and builds it again, and thereby loses those above 10 MB, the difference
between text and binary, the close codes and the subprotocol. Bytes lose nothing: messages of any size, compression,
pings and close codes are between the ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from tornado.iostream import IOStream, StreamClosedError

_CHUNK_BYTES = 64 * 1024
_CONTROL_FRAME = 0x08
_MASKED = 0x80


class FrameWatch:
    """Tells messages from pings in one direction of a websocket (RFC 6455, 5.2).

    Pings go on for as long as a browser's page is open. Were they counted, no forgotten session would ever be culled.
    """

    def __init__(self) -> None:
        self._head = bytearray()
        self._payload_left = 0

    def sees_message(self, data: bytes) -> bool:
        """Whether a frame of a message begins in `data`, the next bytes of the stream."""
        seen = False
        position = 0
        while position < len(data):
            if self._payload_left:
                step = min(self._payload_left, len(data) - position)
                self._payload_left -= step
                position += step
                continue
            self._head.append(data[position])
            position += 1
            size = _payload_size(self._head)
            if size is not None:
                seen = seen or not self._head[0] & _CONTROL_FRAME
                self._payload_left = size
                self._head.clear()
        return seen


def _payload_size(head: bytes | bytearray) -> int | None:
    """Return the bytes that follow a frame's head; None while the head is incomplete."""
    if len(head) < 2:
        return None
    short_size = head[1] & ~_MASKED
    size_bytes = {126: 2, 127: 8}.get(short_size, 0)
    mask_bytes = 4 if head[1] & _MASKED else 0
    if len(head) < 2 + size_bytes + mask_bytes:
        return None
    return int.from_bytes(head[2 : 2 + size_bytes]) if size_bytes else short_size


async def tunnel(client: IOStream, target: IOStream, on_message: Callable[[], None]) -> None:
    """Pass bytes both ways until one end closes, then close the other."""
    pumps = [
        asyncio.create_task(_pump(client, target, on_message)),
        asyncio.create_task(_pump(target, client, on_message)),
    ]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        client.close()
        target.close()
    await asyncio.gather(*pumps)


async def _pump(source: IOStream, sink: IOStream, on_message: Callable[[], None]) -> None:
    watch = FrameWatch()
    with suppress(StreamClosedError):
        while True:
            data = await source.read_bytes(_CHUNK_BYTES, partial=True)
            if watch.sees_message(data):
                on_message()
            # Waiting for the slower end keeps the faster one's data out of memory.
            await sink.write(data)
