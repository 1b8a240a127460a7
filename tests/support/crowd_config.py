"""The lab's own configuration, in which sessions are not started but played by one tiny server.

Loaded by ``jupyterhub -f``. Everything else is ours: pages, login, spawn form, checked options, the spawner's turns.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from springtide.hub.config import configure
from springtide.hub.process import ProcessSession, runner_of

START_S = 1.0

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - JupyterHub defines it
configure(c)


class StubSession(ProcessSession):
    """Is ready after a second, where the tiny server listens."""

    _runs = False

    async def start(self) -> tuple[str, int]:
        await asyncio.sleep(START_S)
        self._runs = True
        return "127.0.0.1", int(os.environ["CROWD_SESSION_PORT"])

    async def poll(self) -> int | None:
        return None if self._runs else 0

    async def stop(self, now: bool = False) -> None:
        self._runs = False


LabSpawner: Any = c.JupyterHub.spawner_class


class StubSpawner(LabSpawner):
    """Makes such sessions."""

    def _process_session(self, site: Any) -> StubSession:
        runner = runner_of(self.user.name, site.accounts, self.context.homes)
        session: StubSession = self._child(StubSession, runner=runner)
        return session


c.JupyterHub.spawner_class = StubSpawner
