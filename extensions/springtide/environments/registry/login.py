"""Credentials and certificates of registries, as files: what they hold goes to the registry and nowhere else.

Credentials are in the file format of Docker and skopeo (``{"auths": {HOST: {"auth": base64 of user:password}}}``), as
``skopeo login --authfile`` writes it. Only paths are ever passed to programs.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from springtide.errors import RegistryError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Login:
    """A user name and password; neither shows in messages."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Access:
    """How to come to one registry: files that the lab file names."""

    credentials: Path | None = None
    """File with credentials; None: it asks for none."""
    certificate: Path | None = None
    """File with the certificate authority of a registry that the system's own do not know."""

    def login(self, host: str) -> Login | None:
        """Return the credentials for `host`; None where none are named.

        Raises
        ------
        RegistryError
            If the file cannot be read, is open to others, or has nothing for `host`.
        """
        if self.credentials is None:
            return None
        entry = _read(self.credentials).get(host)
        if entry is None:
            raise RegistryError(f"{self.credentials} has no credentials for {host}.", _how_to_log_in(self, host))
        return _login(entry, self, host)

    def knows(self, host: str) -> bool:
        """Say whether the file of credentials has some for `host`."""
        return self.credentials is not None and self.credentials.exists() and host in _read(self.credentials)

    def verify(self) -> str | bool:
        """Return what `requests` takes as ``verify``.

        Raises
        ------
        RegistryError
            If the certificate's file is not there.
        """
        if self.certificate is None:
            return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or True
        if not os.access(self.certificate, os.R_OK):
            raise RegistryError(
                f"The registry's certificate authority {self.certificate} cannot be read.",
                "Name its file as “certificate” of the registry in the lab file.",
            )
        return str(self.certificate)


def write_credentials(file: Path, host: str, login: Login) -> None:
    """Write or change the credentials for `host` in `file`, which only this account can read, at once or not at all."""
    auths = _read(file) if file.exists() else {}
    token = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    content = json.dumps({"auths": {**auths, host: {"auth": token}}}, indent=2)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as output:
        os.fchmod(output.fileno(), 0o600)
        output.write(content + "\n")
    os.replace(beside, file)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        with file.open(encoding="utf-8") as source:
            status = os.fstat(source.fileno())
            if status.st_mode & _OTHERS:
                raise RegistryError(
                    f"The registry's credentials in {file} are open to other accounts "
                    f"(mode {stat.S_IMODE(status.st_mode):04o}).",
                    f"chmod 600 {file}; if others may have read it, change the password too.",
                )
            auths = json.load(source)["auths"]
            if isinstance(auths, dict):
                return auths
    except OSError as error:
        raise RegistryError(
            f"The registry's credentials {file} cannot be read: {error.strerror}.",
            "They belong to the account that runs the hub, or the administrator's.",
        ) from error
    except (ValueError, LookupError, TypeError):
        pass  # said below; the file's content must not stand in a message
    raise RegistryError(f"{file} is no file of credentials.", f"skopeo login --authfile {file} HOST writes one.")


def _login(entry: Any, access: Access, host: str) -> Login:
    token = entry.get("auth", "") if isinstance(entry, dict) else ""
    try:
        user, colon, password = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, ValueError, TypeError):
        user, colon, password = "", "", ""
    if not (user and colon and password):
        raise RegistryError(
            f"The credentials for {host} in {access.credentials} are empty.", _how_to_log_in(access, host)
        )
    return Login(user, password)


def _how_to_log_in(access: Access, host: str) -> str:
    return f"skopeo login --authfile {access.credentials} {host}"
