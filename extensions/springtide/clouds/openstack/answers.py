"""What went wrong at an OpenStack cloud, in its own words, and whether that was a no or no answer."""

from __future__ import annotations

import html
import re
from typing import Any

import keystoneauth1.exceptions as keystone
import openstack.exceptions as sdk

from springtide.errors import CloudError, CloudRefused, CloudUnreachable

_UNAUTHORIZED = 401
_TOO_LARGE = 413
_REFUSALS = (400, 403, 404, 405, 409, _TOO_LARGE, 422)
"""Statuses by which a cloud says no. Others say nothing about what was asked: 429 that it was asked too often."""
_LONGEST_WORDS = 500
_ENCODED = re.compile(r"[A-Za-z0-9+/=_-]{80,}")
_QUOTA = re.compile("quota|limit", re.IGNORECASE)
_CREDENTIALS = (
    "Look at its entry in clouds.yaml: has the application credential expired, was it deleted, is its secret right?"
)
_QUOTA_HINT = "Machines that end give back their share; a larger quota is to be had from the cloud's provider."
_CONFIGURED = (
    sdk.ConfigException,
    keystone.MissingRequiredOptions,
    keystone.NoMatchingPlugin,
    keystone.UnsupportedParameters,
    keystone.EmptyCatalog,
    keystone.EndpointNotFound,
    sdk.EndpointNotFound,
)
_CONFIG_HINT = "The name, region and login of the cloud stand in clouds.yaml."


def explained(error: Exception, cloud: str) -> CloudError:
    """Return an error of the library as one of ours.

    Parameters
    ----------
    error : Exception
        Raised by openstacksdk, or what it is built on.
    cloud : str
        Name of the cloud.
    """
    words = _words(error)
    status = _status(error)
    if status == _UNAUTHORIZED or isinstance(error, keystone.AuthorizationFailure):
        return CloudUnreachable(f"The cloud {cloud} does not let us in: {words}", _CREDENTIALS)
    if status in _REFUSALS:
        return _refused(cloud, status, words)
    if isinstance(error, sdk.DuplicateResource):
        return CloudRefused(f"The cloud {cloud} has several of that name: {words}", "Give the id instead of the name.")
    if isinstance(error, _CONFIGURED):
        return CloudRefused(f"The cloud {cloud} cannot be used: {words}", _CONFIG_HINT)
    return CloudUnreachable(f"The cloud {cloud} did not answer: {words}")


def _refused(cloud: str, status: int, words: str) -> CloudRefused:
    message = f"The cloud {cloud} said no: {words}"
    if status == _TOO_LARGE or (status in (403, 409) and _QUOTA.search(words)):
        return CloudRefused(message, _QUOTA_HINT, transient=True)
    hint = "The account lacks the right to do this: its role in the project." if status == 403 else ""
    return CloudRefused(message, hint)


def _status(error: Exception) -> int:
    """Return the HTTP status of an answer; 0 where there was none."""
    of_library: Any = getattr(error, "status_code", None) or getattr(error, "http_status", None)
    return int(of_library or 0)


def _words(error: Exception) -> str:
    words = str(getattr(error, "details", None) or getattr(error, "message", None) or error)
    # Nova quotes what it refuses: user-data, with the worker's key.
    words = _ENCODED.sub("…", words)
    # Gateways in front of a cloud answer with a page.
    words = html.unescape(re.sub(r"<[^>]*>", " ", words)) if words.lstrip().startswith("<") else words
    words = " ".join(words.split())
    return words if len(words) <= _LONGEST_WORDS else f"{words[:_LONGEST_WORDS]}…"
