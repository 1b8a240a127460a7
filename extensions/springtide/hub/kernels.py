"""Which of the lab's kernels a process session is offered, beside those of the machine."""

from __future__ import annotations

import logging
from pathlib import Path

from springtide.environments.kernelspecs import (
    Viewer,
    images_on_engine,
    may_use_engine,
    offers_as_jobs,
    offers_in_containers,
    publish,
)
from springtide.errors import EngineError
from springtide.hub.context import HubContext

LOG = logging.getLogger("JupyterHub.kernels")


def offer_kernels(context: HubContext, viewer: Viewer) -> Path | None:
    """Write the kernelspecs that `viewer` is offered now; return their folder for JUPYTER_PATH, None without any."""
    in_containers = offers_in_containers(context.lab, context.environments, _digests(context, viewer), viewer)
    as_jobs = offers_as_jobs(context.lab, context.environments, context.host_environments, viewer)
    return publish([*in_containers, *as_jobs], context.kernelspecs, viewer)


def _digests(context: HubContext, viewer: Viewer) -> dict[str, str]:
    if not may_use_engine(viewer):
        return {}
    try:
        return images_on_engine(context.environments.values())
    except EngineError as error:
        LOG.info("No kernels in containers are offered: %s", error.message)
        return {}
