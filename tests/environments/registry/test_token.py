"""Registries that want a token, as docker.io, GitLab and Harbor do: asked for with the password, sent without it."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from springtide.environments.registry import certificates
from springtide.environments.registry.client import Registry
from springtide.environments.registry.login import Access, Login, write_credentials
from springtide.environments.registry.reference import Reference
from springtide.errors import RegistryError

PAGES = {"": ["1", "2"], "last=2": ["10"]}


class TokenRegistry(BaseHTTPRequestHandler):
    """Gives the token “yes” for the password “right”, and a list of tags in two pages for the token."""

    realm = ""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        authorization = self.headers.get("Authorization", "")
        if path == "/token":
            right = authorization == "Basic " + base64.b64encode(b"ada:right").decode()
            self._answer(200 if right else 401, {"token": "yes"})
        elif authorization == "Bearer yes":
            page = "last=2" if "last=2" in query else ""
            more = {} if page else {"Link": '</v2/x/tags/list?n=500&last=2>; rel="next"'}
            self._answer(200, {"name": "x", "tags": PAGES[page]}, more)
        else:
            challenge = f'Bearer realm="{self.realm}",service="here",scope="repository:x:pull"'
            self._answer(401, {}, {"WWW-Authenticate": challenge})

    def _answer(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    certificates.ensure_certificates(tmp_path, {"127.0.0.1"})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / certificates.CERTIFICATE, tmp_path / certificates.KEY)
    with HTTPServer(("127.0.0.1", 0), TokenRegistry) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        monkeypatch.setattr(TokenRegistry, "realm", f"https://127.0.0.1:{server.server_port}/token")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def tags(host: str, folder: Path, password: str) -> list[str]:
    write_credentials(folder / "login.json", host, Login("ada", password))
    access = Access(folder / "login.json", folder / certificates.AUTHORITY)
    with Registry(host, access) as registry:
        return registry.tags(Reference(host, "x"))


def test_the_token_opens_the_registry_and_all_pages_are_read(host: str, tmp_path: Path) -> None:
    assert tags(host, tmp_path, "right") == ["1", "10", "2"]


def test_a_wrong_password_is_said(host: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="refuses the user name or password"):
        tags(host, tmp_path, "wrong")


def test_a_password_is_not_sent_in_the_clear(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TokenRegistry, "realm", TokenRegistry.realm.replace("https", "http"))
    with pytest.raises(RegistryError, match="refuses"):
        tags(host, tmp_path, "right")
