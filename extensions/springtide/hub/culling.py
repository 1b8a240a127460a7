"""Stops idle sessions, but none whose kernel is at work: a service that JupyterHub starts beside itself.

To JupyterHub, activity is what passes the proxy and what a kernel writes. A cell that computes for hours without a
word, its browser closed, would be stopped in the middle: so the session is asked before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from jupyterhub_idle_culler import IdleCuller
from tornado.httpclient import AsyncHTTPClient
from traitlets import default

FRONT = "SPRINGTIDE_URL"
"""Environment variable with the address under which the proxy passes requests on to sessions."""
_ANSWER_WITHIN_S = 20

Arbiter = Callable[..., Awaitable[bool]]


class SessionCuller(IdleCuller):
    """JupyterHub's idle culler, with a look at the kernels before it stops a session."""

    @default("cull_arbiter_hook")
    def _ask_before(self) -> Arbiter:
        return Kernels(os.environ[FRONT], os.environ["JUPYTERHUB_API_TOKEN"]).allow_stop


class Kernels:
    """What the sessions say of their kernels.

    Parameters
    ----------
    front : str
        Address of the proxy.
    token : str
        A token that may access everyone's sessions.
    """

    def __init__(self, front: str, token: str) -> None:
        self._front = front.rstrip("/")
        self._token = token
        self._silent: set[str] = set()

    async def allow_stop(self, *, inactive: timedelta, inactive_limit: int, server: Mapping[str, Any]) -> bool:
        """Return whether a session that was inactive for so long may be stopped.

        One that does not answer is left alone once, as it may have much to do, and stopped the next time.
        """
        if inactive.total_seconds() < inactive_limit:
            return False
        url = str(server["url"])
        try:
            states = await self._states(url)
        except (OSError, ValueError, LookupError, TypeError):
            silent_before = url in self._silent
            self._silent.add(url)
            return silent_before
        self._silent.discard(url)
        return "busy" not in states

    async def _states(self, url: str) -> set[str]:
        # The request itself counts as activity with the proxy, so that a busy session is not asked at every round.
        answer = await AsyncHTTPClient().fetch(
            f"{self._front}{url}api/kernels",
            headers={"Authorization": f"token {self._token}"},
            request_timeout=_ANSWER_WITHIN_S,
            follow_redirects=False,
            raise_error=False,
        )
        if answer.code != 200:
            raise ConnectionError(f"HTTP {answer.code}")
        return {kernel["execution_state"] for kernel in json.loads(answer.body)}


if __name__ == "__main__":
    SessionCuller.launch_instance()
