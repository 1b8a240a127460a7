"""Asks a registry what it has, by the OCI distribution protocol: tags, manifests, digests.

Registries answer with 401 and say how to log in: with the password itself, or with a token that another address gives
for it (docker.io, GitLab, Harbor). Both are done here; an anonymous token is asked for where there are no credentials.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from springtide.environments.registry.login import Access, Login
from springtide.environments.registry.problems import from_exception, from_status
from springtide.environments.registry.reference import Reference
from springtide.errors import RegistryError

_TIMEOUT_S = 15
_TAGS_ON_A_PAGE = 500
_PIECE = 2**20
_INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PLATFORM = {"os": "linux", "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine())}


@dataclass(frozen=True)
class Manifest:
    """One image of a registry."""

    reference: Reference
    digest: str
    """``sha256:…`` of the manifest: what pins the image in the registry."""
    image: str
    """``sha256:…`` of the image's configuration: what an engine or a session calls it, wherever it came from."""
    size_bytes: int
    """Of its layers, as they are downloaded."""


@dataclass(frozen=True)
class Part:
    """A configuration or a layer of an image."""

    digest: str
    size_bytes: int
    media_type: str


class Registry:
    """One registry, asked with the credentials and certificate of `access`.

    Parameters
    ----------
    host : str
        Its name, with the port where there is one.
    access : Access
        How to come to it.
    """

    def __init__(self, host: str, access: Access) -> None:
        self.host = host
        self._login = access.login(host)
        self._session = requests.Session()
        # ~/.netrc and the like are not ours to send; proxies are taken from the environment below.
        self._session.trust_env = False
        self._session.verify = access.verify()
        self._session.proxies = dict(requests.utils.get_environ_proxies(f"https://{host}/"))

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def manifest(self, reference: Reference) -> Manifest:
        """Return the image that `reference` names; of an image for several machines, the one for this kind.

        Raises
        ------
        RegistryUnreachable
            If the registry does not answer.
        RegistryError
            If it refuses the credentials, cannot be trusted, or has no such image.
        """
        answer = self._get_manifest(reference)
        content = answer.json()
        digest = str(answer.headers.get("Docker-Content-Digest") or reference.digest)
        if content.get("mediaType") in _INDEX_TYPES or "manifests" in content:
            content = self._get_manifest(reference.at(_for_this_machine(content, reference))).json()
        try:
            config, layers = content["config"]["digest"], content["layers"]
            size = sum(int(layer["size"]) for layer in layers)
        except (LookupError, TypeError, ValueError):
            raise RegistryError(
                f"{reference} is no container image.", "It may be of another kind, or too old."
            ) from None
        return Manifest(reference, digest, str(config), size)

    def parts(self, reference: Reference) -> tuple[Part, list[Part]]:
        """Return configuration and layers of the image whose digest `reference` has, after verifying that.

        Raises
        ------
        RegistryError
            As `manifest`.
        """
        content = self._verified(reference)
        if "manifests" in content:
            content = self._verified(reference.at(_for_this_machine(content, reference)))
        config, *layers = (
            Part(str(one["digest"]), int(one["size"]), str(one["mediaType"]))
            for one in (content["config"], *content["layers"])
        )
        return config, layers

    def _verified(self, reference: Reference) -> Mapping[str, Any]:
        content = self._get_manifest(reference).content
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != reference.digest:
            raise RegistryError(f"The registry {self.host} sent something else than {reference}.")
        found: Mapping[str, Any] = json.loads(content)
        return found

    def download(self, reference: Reference, part: Part, file: Path, received: Callable[[int], None]) -> None:
        """Write a part of an image of the repository of `reference` into `file`, after verifying its digest.

        Parameters
        ----------
        received : callable
            Told how many bytes have come since it was called last.

        Raises
        ------
        RegistryError
            If the registry breaks off, or sends something else.
        OSError
            If there is no room.
        """
        digest = hashlib.sha256()
        with self._ask("GET", reference, f"blobs/{part.digest}", stream=True) as answer:
            self._check(answer, reference)
            try:
                with file.open("wb") as output:
                    for piece in answer.iter_content(_PIECE):
                        output.write(piece)
                        digest.update(piece)
                        received(len(piece))
            except requests.RequestException as error:
                raise from_exception(error, self.host) from error
        if f"sha256:{digest.hexdigest()}" != part.digest:
            raise RegistryError(f"The registry {self.host} sent a broken part of {reference}.", "Push it again.")

    def digest(self, reference: Reference) -> str | None:
        """Return the digest of the image that `reference` names, None where the registry has no such image.

        Raises
        ------
        RegistryError
            As `manifest`, except for an image that is not there.
        """
        answer = self._ask("HEAD", reference, f"manifests/{reference.which}", _accept())
        if answer.status_code == 404:
            return None
        self._check(answer, reference)
        return str(answer.headers.get("Docker-Content-Digest", "")) or None

    def tags(self, reference: Reference) -> list[str]:
        """Return the tags of the repository of `reference`; empty where it does not exist, or has none left.

        Raises
        ------
        RegistryError
            As `manifest`.
        """
        tags: list[str] = []
        path: str | None = f"tags/list?n={_TAGS_ON_A_PAGE}"
        while path:
            answer = self._ask("GET", reference, path)
            if answer.status_code == 404:
                return []
            self._check(answer, reference)
            tags += answer.json().get("tags") or []
            path = _next_page(answer)
        return sorted(tags)

    def delete(self, reference: Reference) -> None:
        """Remove an image, with all tags that name it; its layers go with the registry's next garbage collection.

        Raises
        ------
        RegistryError
            If there is no such image, or the registry does not allow it.
        """
        digest = self.digest(reference)
        answer = self._ask("DELETE", reference, f"manifests/{digest or reference.which}")
        self._check(answer, reference)

    def _get_manifest(self, reference: Reference) -> requests.Response:
        answer = self._ask("GET", reference, f"manifests/{reference.which}", _accept())
        self._check(answer, reference)
        return answer

    def _check(self, answer: requests.Response, reference: Reference) -> None:
        if not answer.ok:
            raise from_status(answer, reference, with_login=self._login is not None)

    def _ask(
        self,
        method: str,
        reference: Reference,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        stream: bool = False,
    ) -> requests.Response:
        url = urllib.parse.urljoin(reference.api, f"{reference.repository}/{path}")
        try:
            asked: dict[str, Any] = {"timeout": _TIMEOUT_S, "auth": _no_login, "stream": stream}
            answer = self._session.request(method, url, headers=headers, **asked)
            if answer.status_code != 401:
                return answer
            authorization = self._authorization(answer, reference)
            if authorization is None:
                return answer
            answer.close()
            headers = {**(headers or {}), "Authorization": authorization}
            return self._session.request(method, url, headers=headers, **asked)
        except requests.RequestException as error:
            raise from_exception(error, self.host) from error

    def _authorization(self, refused: requests.Response, reference: Reference) -> str | None:
        """Return the header that answers the registry's challenge, None where there is nothing to answer with."""
        challenge = refused.headers.get("WWW-Authenticate", "")
        kind = challenge.partition(" ")[0].lower()
        if kind == "basic" and self._login:
            return _basic(self._login)
        if kind == "bearer":
            return self._token(dict(_PARAMETER.findall(challenge)), reference)
        return None

    def _token(self, challenge: Mapping[str, str], reference: Reference) -> str | None:
        realm = urllib.parse.urlsplit(challenge.get("realm", ""))
        if realm.scheme != "https":
            return None  # a password is not sent where everyone reads it
        query = {key: challenge[key] for key in ("service", "scope") if key in challenge}
        headers = {"Authorization": _basic(self._login)} if self._login else {}
        answer = self._session.get(realm.geturl(), params=query, headers=headers, timeout=_TIMEOUT_S, auth=_no_login)
        self._check(answer, reference)
        content = answer.json()
        token = content.get("token") or content.get("access_token")
        return f"Bearer {token}" if token else None


def _no_login(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep `requests` from adding credentials of its own."""
    return request


def _basic(login: Login) -> str:
    return str(requests.auth._basic_auth_str(login.user, login.password))


def _accept() -> dict[str, str]:
    return {"Accept": ", ".join((*_MANIFEST_TYPES, *_INDEX_TYPES))}


def _for_this_machine(index: Mapping[str, Any], reference: Reference) -> str:
    for entry in index.get("manifests", []):
        made_for = entry.get("platform", {})
        if all(made_for.get(key) == value for key, value in _PLATFORM.items()):
            return str(entry["digest"])
    raise RegistryError(f"{reference} has no image for {' '.join(_PLATFORM.values())}.")


def _next_page(answer: requests.Response) -> str | None:
    """Return what is asked for the next page of tags; the registry gives a link, of which only its query counts."""
    link = answer.links.get("next", {}).get("url", "")
    query = urllib.parse.urlsplit(link).query
    return f"tags/list?{query}" if query else None
