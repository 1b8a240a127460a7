"""Credentials are read from files that nobody else can read, and stand in no message."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from springtide.environments.registry.login import Access, Login, write_credentials
from springtide.errors import RegistryError

SECRET = "correct horse: battery"


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    file = tmp_path / "credentials.json"
    write_credentials(file, "r.fr", Login("ada", SECRET))
    return file


def test_what_is_written_is_read_again_and_for_this_account_only(credentials: Path) -> None:
    assert Access(credentials).login("r.fr") == Login("ada", SECRET)
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600


def test_the_logins_of_other_registries_stay(credentials: Path) -> None:
    write_credentials(credentials, "other:5443", Login("bob", "x"))
    assert Access(credentials).login("r.fr") == Login("ada", SECRET)
    assert sorted(json.loads(credentials.read_text())["auths"]) == ["other:5443", "r.fr"]


def test_without_a_file_there_is_no_login() -> None:
    assert Access().login("r.fr") is None


def test_a_file_that_others_can_read_is_refused_with_what_to_do(credentials: Path) -> None:
    credentials.chmod(0o640)
    with pytest.raises(RegistryError, match=r"open to other accounts \(mode 0640\)") as refused:
        Access(credentials).login("r.fr")
    assert f"chmod 600 {credentials}" in refused.value.hint


def test_a_registry_that_is_not_in_the_file_is_named(credentials: Path) -> None:
    with pytest.raises(RegistryError, match=r"no credentials for s\.fr"):
        Access(credentials).login("s.fr")


@pytest.mark.parametrize(
    "content", ["", "[]", '{"auths": 3}', '{"auths": {"r.fr": 3}}', '{"auths": {"r.fr": {"auth": "!"}}}']
)
def test_a_broken_file_is_refused_without_its_content(content: str, credentials: Path) -> None:
    credentials.write_text(content)
    with pytest.raises(RegistryError, match=r"no file of credentials|are empty"):
        Access(credentials).login("r.fr")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be read: No such file"):
        Access(tmp_path / "none").login("r.fr")


def test_a_password_does_not_show() -> None:
    assert SECRET not in repr(Login("ada", SECRET))


def test_a_missing_certificate_authority_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"certificate authority .* cannot be read"):
        Access(certificate=tmp_path / "ca.crt").verify()
