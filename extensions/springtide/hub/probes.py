"""The two looks at the world behind the spawn page: the container engine, and a batch queue."""

from __future__ import annotations

from pathlib import Path

from springtide.environments.engine import connect, engine_elsewhere, image_digest
from springtide.errors import EngineError
from springtide.hub.building import is_building
from springtide.hub.context import HubContext
from springtide.hub.places import ContainerFacts, ImageState, QueueFacts
from springtide.hub.reach import address_to_set


def container_facts(context: HubContext, run: Path) -> ContainerFacts:
    """Return what the Docker Engine says of itself, and what this hub's sessions take of it. Runs in a thread."""
    if other := engine_elsewhere():
        return ContainerFacts(reachable=False, error=f"DOCKER_HOST names an engine on {other}")
    try:
        client = connect()
    except EngineError as error:
        return ContainerFacts(reachable=False, found=Path("/var/run/docker.sock").exists(), error=error.message)
    try:
        info = client.info()
        images: dict[str, ImageState] = {}
        for name, recipe in context.environments.items():
            ready = image_digest(client, recipe.image) is not None
            images[name] = "ready" if ready else "building" if is_building(run, name) else "missing"
    finally:
        client.close()
    requests = context.container_requests()
    return ContainerFacts(
        reachable=True,
        images=images,
        cpus_total=info.get("NCPU", 0),
        memory_total_bytes=info.get("MemTotal", 0),
        cpus_used=sum(request.cpus for request in requests),
        memory_used_bytes=sum(request.memory_bytes for request in requests),
        sessions=len(requests),
    )


async def queue_facts(context: HubContext, site: str) -> QueueFacts:
    """Return what the scheduler of `site` says of its cores and its waiting jobs."""
    if site not in context.monitors:
        return QueueFacts(reachable=False, found=False)
    monitor, batch_site = context.monitors[site], context.batch_site(site)
    capacity = await monitor.capacity()
    address = await address_to_set(context.lab, batch_site, monitor.queue, capacity)
    if address:
        return QueueFacts(reachable=False, error=f"its nodes cannot reach the hub (hub.api_address: {address})")
    return QueueFacts(
        reachable=True,
        cores_total=capacity.total_cores,
        cores_free=capacity.free_cores,
        jobs_waiting=capacity.waiting_jobs,
        waiting_reason=capacity.waiting_reason,
    )
