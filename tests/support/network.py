"""Free ports, and whether something answers on one."""

from __future__ import annotations

import random
import socket
import urllib.error
import urllib.request

# Below Linux's range for outgoing connections, so that none takes a port between its choice and its use.
_PORTS = range(20_000, 32_000)
_given_out: set[int] = set()


def free_port(address: str = "127.0.0.1") -> int:
    """Return a TCP port that nothing listens on and that this run has not given out before."""
    for port in random.sample(_PORTS, 200):
        if port not in _given_out and _can_bind(address, port):
            _given_out.add(port)
            return port
    raise OSError("no free port found")


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


def _can_bind(address: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def http_status(url: str, seconds: float = 5) -> int:
    """Return the status of a GET, after redirects; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0
