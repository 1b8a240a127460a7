"""Whether the Docker Engine is there, in words people can act on."""

from __future__ import annotations

import ipaddress
import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from springtide.environments.engine import bridge_address, connect, engine_elsewhere, image_digest
from springtide.errors import EngineError
from tests.support.docker_engine import DockerEngine
from tests.support.need import require

ASK = "from springtide.environments.engine import connect; connect()"


def test_an_engine_that_answers_gives_a_client(docker_engine: DockerEngine) -> None:
    client = connect()
    assert client.ping()
    client.close()


def test_an_image_that_is_not_there_has_no_digest(docker_engine: DockerEngine) -> None:
    assert image_digest(docker_engine.client, "springtide/nowhere:1") is None


def test_containers_find_this_machine_on_the_bridge(docker_engine: DockerEngine) -> None:
    bridge = docker_engine.client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"]
    assert ipaddress.ip_address(bridge_address(docker_engine.client)) in ipaddress.ip_network(bridge)
    assert bridge_address() == bridge_address(docker_engine.client)


def test_a_missing_engine_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(EngineError, match="no Docker Engine on this machine") as error:
        connect()
    assert "apt install docker.io" in error.value.hint


def test_an_engine_that_has_stopped_says_how_to_start_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "stopped.sock"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/stopped.sock")
    with pytest.raises(EngineError, match="does not answer") as error:
        connect()
    assert "systemctl start docker" in error.value.hint
    assert error.value.transient


def test_an_engine_that_hangs_is_given_up_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/hangs.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hangs.sock"))
        listener.listen()
        with pytest.raises(EngineError, match="does not answer"):
            connect(timeout_s=1)


def test_a_remote_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(EngineError, match=r"at tcp://127\.0\.0\.1:1 does not answer") as error:
        connect()
    assert "DOCKER_HOST" in error.value.hint


def test_an_account_outside_the_docker_group_is_told_so(tmp_path: Path) -> None:
    require("root, to become another account", os.geteuid() == 0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "closed.sock"))
    (tmp_path / "closed.sock").chmod(0o660)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    nobody = pwd.getpwnam("nobody")
    answer = subprocess.run(
        [sys.executable, "-c", ASK],
        env={"DOCKER_HOST": f"unix://{tmp_path}/closed.sock", "PYTHONPATH": ":".join(sys.path)},
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "group “docker”" in answer.stderr


@pytest.mark.parametrize(
    ("host", "elsewhere"),
    [
        ("", ""),
        ("unix:///run/x.sock", ""),
        ("tcp://127.0.0.1:2375", ""),
        ("ssh://me@lab2", "lab2"),
        ("tcp://10.0.0.9:2", "10.0.0.9"),
    ],
)
def test_an_engine_of_another_machine_is_told_from_one_of_this(
    host: str, elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    assert engine_elsewhere() == elsewhere
