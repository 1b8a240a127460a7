"""Who listens on a port."""

import os
import socket
import subprocess
import sys

from springtide.cli.listening import listens


def test_only_the_process_that_holds_the_socket_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listens(os.getpid(), port)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
            assert not listens(other.pid, port)
            other.communicate(b"\n")
    assert not listens(os.getpid(), port)


def test_a_connected_socket_is_no_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert not listens(os.getpid(), client.getsockname()[1])


def test_a_process_that_is_gone_listens_to_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert not listens(gone.pid, 80)
