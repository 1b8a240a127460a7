"""A real registry: images sent, found, pinned, moved, removed; and one clear line for each thing that goes wrong."""

from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import docker.errors
import pytest

from springtide.environments.registry import certificates
from springtide.environments.registry.client import Registry
from springtide.environments.registry.login import Access, Login, write_credentials
from springtide.environments.registry.pins import Pin, Standing, look
from springtide.environments.registry.reference import Reference, parse_reference
from springtide.environments.registry.transfer import pull, push
from springtide.errors import EnvironmentsError, RegistryError, RegistryUnreachable
from tests.support.docker_engine import DockerEngine
from tests.support.network import free_port
from tests.support.registry import RunningRegistry, tiny_image

ABSENT = f"sha256:{'0' * 64}"


def ignore(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def image(docker_engine: DockerEngine) -> Iterator[str]:
    with tiny_image(docker_engine.client, "tiny:1", "first") as name:
        yield name


@pytest.fixture(scope="module")
def other(docker_engine: DockerEngine) -> Iterator[str]:
    with tiny_image(docker_engine.client, "tiny:2", "second") as name:
        yield name


def place(registry: RunningRegistry, repository: str, tag: str = "1") -> Reference:
    return Reference(registry.host, f"test/{repository}", tag)


def test_an_image_that_is_sent_is_there_with_its_own_digest(
    registry: RunningRegistry, docker_engine: DockerEngine, image: str
) -> None:
    lines: list[str] = []
    target = place(registry, "sent")
    sent = push(docker_engine.client, image, target, registry.access, lines.append)
    assert sent.image == docker_engine.client.images.get(image).id
    with Registry(registry.host, registry.access) as there:
        assert there.tags(target) == ["1"]
        assert there.digest(target) == sent.digest
        assert there.manifest(target.at(sent.digest)).image == sent.image
    assert lines[0] == f"sending {image} to {target}"
    assert push(docker_engine.client, image, target, registry.access, lines.append) == sent
    assert lines[-1] == f"{target} is there already"


def test_an_image_comes_back_by_its_digest(registry: RunningRegistry, docker_engine: DockerEngine, image: str) -> None:
    sent = push(docker_engine.client, image, place(registry, "back"), registry.access, ignore)
    pinned = str(sent.reference.at(sent.digest))
    pull(docker_engine.client, pinned, registry.access, ignore)
    try:
        assert docker_engine.client.images.get(pinned).id == sent.image
    finally:
        docker_engine.client.images.remove(pinned)


def test_a_tag_that_moved_or_went_is_noticed(
    registry: RunningRegistry, docker_engine: DockerEngine, image: str, other: str
) -> None:
    target = place(registry, "pinned")
    first = push(docker_engine.client, image, target, registry.access, ignore)
    pinned = target.at(first.digest)
    assert look(pinned, registry.access).standing is Standing.SAME
    assert look(target, registry.access).standing is Standing.UNPINNED
    second = push(docker_engine.client, other, target, registry.access, ignore)
    moved = look(pinned, registry.access)
    assert (moved.standing, moved.now) == (Standing.MOVED, second.digest)
    assert look(target, registry.access, recorded=first.digest) == Pin(
        target, first.digest, second.digest, Standing.MOVED
    )
    assert look(parse_reference(f"{target.name}@{first.digest}"), registry.access).standing is Standing.SAME
    with Registry(registry.host, registry.access) as there:
        there.delete(target)
        assert look(pinned, registry.access).standing is Standing.UNTAGGED
        there.delete(pinned)
    gone = look(pinned, registry.access)
    assert gone.standing is Standing.REMOVED
    assert first.digest in gone.in_words()


def test_an_image_that_is_not_on_this_machine_cannot_be_sent(
    registry: RunningRegistry, docker_engine: DockerEngine
) -> None:
    with pytest.raises(EnvironmentsError, match="no image springtide-test/none:1 on this machine"):
        push(docker_engine.client, "springtide-test/none:1", place(registry, "none"), registry.access, ignore)


# --- what goes wrong -----------------------------------------------------------------------------------------------


def refusal(reference: Reference, access: Access) -> RegistryError:
    with pytest.raises(RegistryError) as refused, Registry(reference.host, access) as registry:
        registry.manifest(reference)
    assert "\n" not in str(refused.value)
    return refused.value


def test_an_unknown_image_and_a_wrong_digest_are_told_apart(registry: RunningRegistry) -> None:
    unknown = refusal(place(registry, "unknown"), registry.access)
    assert unknown.message == f"The registry {registry.host} has no image test/unknown:1."
    wrong = refusal(place(registry, "unknown").at(ABSENT), registry.access)
    assert f"with the digest {ABSENT}" in wrong.message


def test_a_wrong_password_and_none_are_told_apart(registry: RunningRegistry, tmp_path: Path) -> None:
    write_credentials(tmp_path / "wrong.json", registry.host, Login("springtide", "not this one"))
    wrong = refusal(place(registry, "x"), Access(tmp_path / "wrong.json", registry.server.certificate))
    assert "refuses the user name or password" in wrong.message
    assert "not this one" not in str(wrong)
    none = refusal(place(registry, "x"), Access(certificate=registry.server.certificate))
    assert "asks for a login" in none.message


def test_an_unknown_certificate_authority_is_said(registry: RunningRegistry) -> None:
    unknown = refusal(place(registry, "x"), Access(registry.server.credentials))
    assert "unknown authority" in unknown.message
    assert "“certificate”" in unknown.hint


def test_a_registry_that_is_down_is_said_and_may_be_asked_again() -> None:
    down = refusal(Reference(f"127.0.0.1:{free_port()}", "x", "1"), Access())
    assert isinstance(down, RegistryUnreachable)
    assert down.transient
    assert "does not answer: Connection refused." in down.message


def test_an_expired_certificate_is_said(tmp_path: Path) -> None:
    certificates.ensure_certificates(tmp_path, {"127.0.0.1"})
    now = datetime.datetime.now(datetime.UTC)
    certificates.issue(tmp_path, {"127.0.0.1"}, now - datetime.timedelta(days=9), now - datetime.timedelta(days=2))
    with answering_nothing(tmp_path) as host:
        expired = refusal(Reference(host, "x", "1"), Access(certificate=tmp_path / certificates.AUTHORITY))
    assert "certificate has expired" in expired.message


def test_a_certificate_for_another_name_is_said(tmp_path: Path) -> None:
    certificates.ensure_certificates(tmp_path, {"registry.lab.fr"})
    with answering_nothing(tmp_path) as host:
        other = refusal(Reference(host, "x", "1"), Access(certificate=tmp_path / certificates.AUTHORITY))
    assert "for another name" in other.message


def test_the_engine_that_cannot_pull_says_which_of_these_it_is(
    registry: RunningRegistry, docker_engine: DockerEngine
) -> None:
    with pytest.raises(RegistryError, match=r"cannot be pulled\. The registry .* has no image test/absent:1"):
        pull(docker_engine.client, str(place(registry, "absent")), registry.access, ignore)
    with pytest.raises(docker.errors.ImageNotFound):
        docker_engine.client.images.get(str(place(registry, "absent")))


@contextmanager
def answering_nothing(tls: Path) -> Iterator[str]:
    """Yield the address of a server with the certificate in `tls`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / certificates.CERTIFICATE, tls / certificates.KEY)
    with _Quiet(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(HTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients hang up here, as they should."""
