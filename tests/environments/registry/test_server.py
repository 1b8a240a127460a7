"""``springtide registry``: started, stopped, its garbage collected; what it keeps is its account's own."""

from __future__ import annotations

import datetime
import signal
import stat
from pathlib import Path

import pytest

from springtide.environments.registry import certificates
from springtide.environments.registry.client import Registry
from springtide.environments.registry.reference import Reference
from springtide.environments.registry.server import RegistryServer
from springtide.environments.registry.transfer import push
from springtide.errors import RegistryError
from tests.support.docker_engine import DockerEngine
from tests.support.hub import SPRINGTIDE
from tests.support.network import free_port
from tests.support.processes import Daemon, all_processes
from tests.support.registry import RunningRegistry, tiny_image


def ignore(line: str) -> None:
    pass


def started(server: RegistryServer, *options: str) -> Daemon:
    words = ["--folder", str(server.folder), "--port", str(server.port), *options]
    daemon = Daemon("registry", [SPRINGTIDE, "registry", "up", *words], server.folder.parent / "up.log")
    daemon.start()
    daemon.wait_ready(lambda: server.certificate.exists() and server.answers(), seconds=30)
    return daemon


def test_the_registry_is_started_stopped_and_its_garbage_collected(
    registry: RunningRegistry, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    """One registry for all: it takes a second to start."""
    server = RegistryServer(tmp_path / "own", port=free_port())
    daemon = started(server)
    target = Reference(server.host, "test/garbage", "1")
    try:
        with tiny_image(docker_engine.client, "garbage:1", "g") as image:
            push(docker_engine.client, image, target, server.access, ignore)
        with Registry(server.host, server.access) as there:
            there.delete(target)
        with pytest.raises(RegistryError, match="runs already") as refused:
            server.collect_garbage(ignore)
        assert "--read-only" in refused.value.hint
    finally:
        assert daemon.stop(signal.SIGINT) == 0
    assert not [one for one in all_processes() if str(server.folder) in one.command]
    assert not server.answers()
    freed: list[str] = []
    server.collect_garbage(freed.append)
    assert freed == ["freed 1 MB"]
    secrets = [server.credentials, server.folder / "htpasswd", server.folder / "tls" / certificates.KEY]
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets} == {0o600}
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    daemon = started(server, "--read-only")
    try:
        server.collect_garbage(ignore)
        log = daemon.log.read_text()
        assert f"{server.host}:" in log
        password = server.access.login(server.host)
        assert password
        assert password.password not in log + (server.folder / "registry.log").read_text()
    finally:
        assert daemon.stop() == 0


def test_a_port_that_is_taken_is_said(registry: RunningRegistry, tmp_path: Path) -> None:
    server = RegistryServer(tmp_path / "own", port=registry.server.port)
    daemon = Daemon(
        "registry",
        [SPRINGTIDE, "registry", "up", "--folder", str(server.folder), "--port", str(server.port)],
        tmp_path / "log",
    )
    daemon.start()
    with pytest.raises(RuntimeError, match="address already in use"):
        daemon.wait_ready(lambda: False, seconds=30)


def test_certificates_stay_until_they_near_their_end(tmp_path: Path) -> None:
    assert certificates.ensure_certificates(tmp_path, {"a.fr"})
    authority = (tmp_path / certificates.AUTHORITY).read_bytes()
    assert not certificates.ensure_certificates(tmp_path, {"a.fr"})
    assert certificates.ensure_certificates(tmp_path, {"a.fr", "10.0.0.1"})
    now = datetime.datetime.now(datetime.UTC)
    certificates.issue(tmp_path, {"a.fr"}, now, now + datetime.timedelta(days=20))
    assert certificates.ensure_certificates(tmp_path, {"a.fr"})
    assert (tmp_path / certificates.AUTHORITY).read_bytes() == authority
    assert {stat.S_IMODE((tmp_path / key).stat().st_mode) for key in ("ca.key", "server.key")} == {0o600}


def test_a_new_password_replaces_the_old_one_at_once(registry: RunningRegistry) -> None:
    target = Reference(registry.host, "test/none", "1")
    before = registry.access.login(registry.host)
    registry.server.set_password("springtide")
    assert registry.access.login(registry.host) != before
    with Registry(registry.host, registry.access) as there:
        assert there.tags(target) == []
