"""What goes wrong with a registry, in one line each."""

from __future__ import annotations

import re

import requests

from springtide.environments.registry.reference import Reference
from springtide.errors import RegistryError, RegistryUnreachable

# The words of OpenSSL, in the order in which they decide.
_CERTIFICATE_PROBLEMS = (
    (
        re.compile("certificate has expired"),
        "Its certificate has expired.",
        "Whoever runs it renews it; the lab's own does so when it is started again: springtide registry up.",
    ),
    (
        re.compile("self.signed certificate|unable to get local issuer|unable to get issuer|unknown authority"),
        "Its certificate is of an unknown authority.",
        "Name the authority's file as “certificate” of the registry in the lab file.",
    ),
    (
        re.compile("Hostname mismatch|doesn't match|IP address mismatch"),
        "Its certificate is for another name.",
        "Use the name for which it was made, in the lab file and in references.",
    ),
    (
        re.compile("WRONG_VERSION_NUMBER|HTTP_REQUEST|record layer failure|wrong version number"),
        "It does not speak TLS.",
        "Let it have a certificate: passwords and images are not sent in the clear.",
    ),
)
_TRUST = "cannot be trusted"


def from_exception(error: requests.RequestException, host: str) -> RegistryError:
    """Return what `error` means for whoever asked the registry at `host`."""
    said = str(error)
    for pattern, problem, hint in _CERTIFICATE_PROBLEMS:
        if pattern.search(said):
            return RegistryError(f"The registry {host} {_TRUST}: {problem}", hint)
    if isinstance(error, requests.exceptions.SSLError):
        return RegistryError(f"The registry {host} {_TRUST}: {_last_words(said)}")
    why = "no answer in time" if isinstance(error, requests.Timeout) else _last_words(said)
    return RegistryUnreachable(
        f"The registry {host} does not answer: {why}.",
        "Check its name and port in the lab file, and that it runs (the lab's own: springtide registry up).",
    )


def from_status(answer: requests.Response, reference: Reference, *, with_login: bool) -> RegistryError:
    """Return what a refusal means for whoever asked for `reference`."""
    host, status = reference.host, answer.status_code
    if status == 401:
        if with_login:
            return RegistryError(
                f"The registry {host} refuses the user name or password.", f"Write new ones: {_login_command(host)}"
            )
        return RegistryError(
            f"The registry {host} asks for a login.",
            "Name a file with credentials as “credentials” of the registry in the lab file.",
        )
    if status == 403:
        return RegistryError(f"The registry {host} does not allow this account to use {reference.repository}.")
    if status == 404:
        if reference.pinned:
            return RegistryError(
                f"The registry {host} has no image {reference.repository} with the digest {reference.digest}.",
                "It was removed, or never was there: compare the digest in the lab file with springtide env show.",
            )
        return RegistryError(
            f"The registry {host} has no image {reference.repository}:{reference.which}.",
            "Check name and tag; it may have been removed.",
        )
    if status == 405:
        return RegistryError(f"The registry {host} does not allow that (read-only, or removing is switched off).")
    if status == 429 or status >= 500:
        return RegistryUnreachable(
            f"The registry {host} is out of order or busy (status {status}).", "Try again later."
        )
    return RegistryError(f"The registry {host} refused {reference} with status {status}.")


def _login_command(host: str) -> str:
    return f"skopeo login --authfile FILE {host}"


def _last_words(said: str) -> str:
    """Return the end of a message of `requests`, which wraps what happened into what it tried."""
    inner = re.findall(r"\[Errno -?\d+\] ([^'\")]+)|(Name or service not known|Connection refused)", said)
    return next(filter(None, inner[-1]), "").strip() if inner else said.rpartition(":")[2].strip(" '\")")
