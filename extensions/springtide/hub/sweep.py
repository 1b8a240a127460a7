"""Removes containers, networks and jobs of this hub that no session explains: a killed hub may leave some."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import docker.errors

from springtide.environments.engine import connect
from springtide.errors import EngineError
from springtide.hub.container import INSTANCE_LABEL, SERVER_LABEL, USER_LABEL
from springtide.hub.context import HubContext
from springtide.hub.reaping import reap

LOG = logging.getLogger("JupyterHub.sweep")
# By then the hub has taken up every session that its database knows.
_AFTER_START_S = 20.0


def schedule(context: HubContext) -> None:
    """Sweep once, soon after the hub has started. JupyterHub reads its configuration inside its event loop."""
    with contextlib.suppress(RuntimeError):  # no loop: the configuration is only being read
        context.sweeping = asyncio.get_running_loop().create_task(_sweep_later(context))


async def _sweep_later(context: HubContext) -> None:
    await asyncio.sleep(_AFTER_START_S)
    if context.has_unreadable_sessions:
        LOG.error("Nothing is swept: what is stored of some sessions cannot be read")
        return
    await reap(context)
    try:
        await asyncio.to_thread(sweep, context)
    except (EngineError, docker.errors.DockerException, OSError) as error:
        LOG.warning("Nothing is swept: the Docker Engine cannot be asked (%s)", error)


def sweep(context: HubContext) -> None:
    """Remove this hub's containers that are no session of it, then its networks whose users have none.

    Raises
    ------
    EngineError, docker.errors.DockerException
        If the engine does not answer.
    """
    client = connect()
    ours: dict[str, str | bool | list[str]] = {"label": f"{INSTANCE_LABEL}={context.instance}"}
    try:
        for container in client.containers.list(all=True, filters=ours, ignore_removed=True):
            labels = container.labels
            if (labels.get(USER_LABEL), labels.get(SERVER_LABEL)) not in context.containers:
                LOG.warning("Removing the container %s, which is no session of this hub", container.name)
                container.remove(force=True)
        for network in client.networks.list(filters=ours):
            user = (network.attrs.get("Labels") or {}).get(USER_LABEL)
            if user not in {known for known, _ in context.containers}:
                LOG.warning("Removing the network %s, whose user has no session", network.name)
                network.remove()
    finally:
        client.close()
