"""The first root of the guests: busybox, some kernel modules and the small init, as an archive the kernel reads."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Iterable
from dataclasses import dataclass

_DEVICES = (("dev/console", 5, 1), ("dev/null", 1, 3))
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One file, folder or device of the archive."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(name: str) -> Entry:
    """Return a folder."""
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, data: bytes, mode: int = 0o644) -> Entry:
    """Return an ordinary file."""
    return Entry(name, stat.S_IFREG | mode, data)


def link(name: str, target: str) -> Entry:
    """Return a symbolic link."""
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def devices() -> tuple[Entry, ...]:
    """Return the devices that must be there before the kernel's own folder of them is mounted."""
    return tuple(Entry(name, stat.S_IFCHR | 0o600, device=(major, minor)) for name, major, minor in _DEVICES)


def archive(entries: Iterable[Entry]) -> bytes:
    """Return a compressed cpio archive ("newc"): written here, as no program writes devices for an ordinary user.

    The same entries give the same bytes.
    """
    parts = [_packed(number, entry) for number, entry in enumerate(entries, start=1)]
    return gzip.compress(b"".join((*parts, _packed(0, Entry(_TRAILER, 0)))), compresslevel=6, mtime=0)


def _packed(number: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    # inode, mode, owner, group, links, time, size, device of the file, device it is, length of the name, checksum
    fields = (number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in fields)
    return _aligned(header + name) + _aligned(entry.data)


def _aligned(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
