"""Reads image references as Docker does: ``[registry/]name[:tag][@sha256:…]``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from springtide.errors import EnvironmentsError

DOCKER_HUB = "docker.io"
_DOCKER_HUB_API = "registry-1.docker.io"
_DEFAULT_TAG = "latest"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*(?::\d{{1,5}})?)/)?(?P<repository>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_FORM = (
    "A reference is [registry/]name[:tag][@sha256:…], the name in lower-case letters, digits and “.”, “_”, “-”, “/”."
)


@dataclass(frozen=True)
class Reference:
    """Where an image is: the registry, the repository in it, and which of its images."""

    host: str
    """With its port, where there is one."""
    repository: str
    tag: str = ""
    digest: str = ""
    """``sha256:…`` of the manifest; empty where it is not pinned."""

    @property
    def which(self) -> str:
        """What a registry's API calls the image: its digest, else its tag."""
        return self.digest or self.tag or _DEFAULT_TAG

    @property
    def api(self) -> str:
        """The URL of the registry's API."""
        return f"https://{_DOCKER_HUB_API if self.host == DOCKER_HUB else self.host}/v2/"

    @property
    def name(self) -> str:
        """Registry and repository, without tag or digest."""
        return f"{self.host}/{self.repository}"

    @property
    def pinned(self) -> bool:
        """Whether it names one image for good."""
        return bool(self.digest)

    def at(self, digest: str) -> Reference:
        """Return the reference that pins `digest`."""
        return replace(self, digest=digest)

    def __str__(self) -> str:
        tag = self.tag or ("" if self.digest else _DEFAULT_TAG)
        return self.name + (f":{tag}" if tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Return what `text` refers to.

    Raises
    ------
    EnvironmentsError
        If it is no image reference.
    """
    match = _REFERENCE.fullmatch(text)
    # The first part is a machine only where it looks like one, as Docker has it; else it is a part of the name.
    if not match or (match["host"] and not _is_machine(match["host"]) and not re.fullmatch(_PART, match["host"])):
        raise EnvironmentsError(f"“{text}” is no image reference.", _FORM)
    host, repository = match["host"], match["repository"]
    if host and not _is_machine(host):
        host, repository = "", f"{host}/{repository}"
    if not host:
        host = DOCKER_HUB
        repository = repository if "/" in repository else f"library/{repository}"
    return Reference(host, repository, match["tag"] or "", match["digest"] or "")


def names_a_registry(text: str) -> bool:
    """Say whether reference `text` names the registry it is in, rather than being of this machine or of docker.io."""
    first, slash, _ = text.partition("/")
    return bool(slash) and _is_machine(first)


def _is_machine(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost"
