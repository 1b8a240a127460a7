"""Which process listens on a port: a token is only for the hub that was started here, not for whoever took its port."""

from __future__ import annotations

import os
from pathlib import Path

_LISTEN = "0A"


def listens(pid: int, port: int, proc: Path = Path("/proc")) -> bool:
    """Whether process `pid`, which must be one's own or another's as root, listens on TCP `port`."""
    wanted = {f"socket:[{inode}]" for inode in _listening_sockets(port, proc / str(pid) / "net")}
    try:
        return any(_target(descriptor) in wanted for descriptor in (proc / str(pid) / "fd").iterdir())
    except OSError:
        return False


def _listening_sockets(port: int, net: Path) -> set[str]:
    """Return the inodes of the sockets that listen on `port`, of IPv4 and IPv6."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (net / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:
        return ""
