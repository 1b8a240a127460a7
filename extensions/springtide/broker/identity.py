"""Who calls: the hub is asked whose a token is, and what it may do."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from springtide.broker.problems import Refusal
from springtide.broker.scopes import ALL, READ, SUBMIT

_FRESH_S = 15.0
# Known before: so long it is trusted while the hub cannot be asked, as it restarts.
_TRUSTED_S = 300.0
_MOST_KNOWN = 10_000
_ANSWER_WITHIN_S = 10.0


@dataclass(frozen=True)
class Who:
    """Somebody who calls."""

    name: str
    groups: frozenset[str]
    scopes: frozenset[str]

    @property
    def sees_all(self) -> bool:
        """Whether the jobs of all users are hers to see and to end."""
        return ALL in self.scopes

    def check(self, scope: str) -> None:
        """Refuse who may not.

        Raises
        ------
        Refusal
            403.
        """
        if scope not in self.scopes:
            raise Refusal(403, "Forbidden", f"The token has not the scope {scope}.")


class Identity(Protocol):
    """Says who calls."""

    async def who(self, token: str) -> Who:
        """Return whose a token is.

        Raises
        ------
        Refusal
            401 if it is nobody's, 403 if it may not use this service, 503 if the hub cannot be asked.
        """


@dataclass
class HubIdentity:
    """Identity as the hub knows it.

    Parameters
    ----------
    api : str
        Address of the hub's API.
    service : str
        Name of this service.
    """

    api: str
    service: str
    _known: dict[str, tuple[float, Who | Refusal]] = field(default_factory=dict)

    async def who(self, token: str) -> Who:
        """Return whose a token is: see `Identity.who`."""
        # Not the token itself: nothing of this process shall show it.
        key = hashlib.sha256(token.encode()).hexdigest()
        at, known = self._known.get(key, (0.0, Refusal(401, "Unauthorized", "")))
        age_s = time.monotonic() - at if at else float("inf")
        if age_s > _FRESH_S:
            try:
                known = await self._ask(token)
            except OSError:
                if age_s > _TRUSTED_S:
                    raise Refusal(
                        503, "HubUnreachable", "The hub does not answer: try again.", {"Retry-After": "2"}
                    ) from None
            else:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[key] = (time.monotonic(), known)
        if isinstance(known, Refusal):
            raise known
        return known

    async def _ask(self, token: str) -> Who | Refusal:
        try:
            answer = await AsyncHTTPClient().fetch(
                f"{self.api}/user",
                headers={"Authorization": f"token {token}"},
                request_timeout=_ANSWER_WITHIN_S,
                raise_error=False,
            )
        except HTTPClientError as error:
            raise ConnectionError(str(error)) from error
        if answer.code in (401, 403):
            return Refusal(401, "Unauthorized", "The token is not known to the hub.", {"WWW-Authenticate": "Bearer"})
        if answer.code != 200:
            raise ConnectionError(f"HTTP {answer.code}")
        return who_of(json.loads(answer.body), self.service)


def who_of(model: Mapping[str, Any], service: str) -> Who | Refusal:
    """Return who a model of the hub's is, refused where the token may not use the service at all."""
    scopes = frozenset(str(one) for one in model.get("scopes", ()))
    if not {"access:services", f"access:services!service={service}"} & scopes:
        return Refusal(403, "Forbidden", f"The token may not use the service {service}.")
    if model.get("kind") != "user":
        return Refusal(403, "Forbidden", "Only users have jobs: this is a service's token.")
    own = {name for name in (READ, SUBMIT, ALL) if scopes & {name, f"{name}!user={model['name']}"}}
    return Who(str(model["name"]), frozenset(map(str, model.get("groups", ()))), frozenset(own))
