"""Running it beside a test, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from aiohttp import web

from springtide.clouds.base import Flavour
from springtide.clouds.openstack import OpenStackSettings
from springtide.clouds.qemu import QemuCloud
from tests.support.openstack.api import application
from tests.support.openstack.project import Project


@dataclass(frozen=True)
class RunningCloud:
    """A cloud that answers."""

    project: Project
    settings: OpenStackSettings


@contextmanager
def running_cloud(
    folder: Path, flavours: Sequence[Flavour], qemu: QemuCloud | None = None, request_s: float = 10.0
) -> Iterator[RunningCloud]:
    """Yield a cloud with these flavours, an image ``base``, and networks ``lab`` and ``public``.

    Its servers are machines of `qemu`, or on paper.
    """
    project = Project(
        {
            f"f-{one.name}": {
                "id": f"f-{one.name}",
                "name": one.name,
                "vcpus": one.cores,
                "ram": one.memory_bytes // 2**20,
                "disk": 8,
            }
            for one in flavours
        },
        qemu=qemu,
    )
    project.add_image("base")
    for name in ("lab", "public"):
        project.add_network(name)
    file = folder / "clouds.yaml"
    with _served(application(project)) as port:
        credential = {"application_credential_id": "springtide", "application_credential_secret": project.secret}
        login = {
            "auth_type": "v3applicationcredential",
            "region_name": "lab",
            "auth": {"auth_url": f"http://127.0.0.1:{port}/identity/v3", **credential},
        }
        file.write_text(yaml.safe_dump({"clouds": {"lab-cloud": login}}))
        settings = OpenStackSettings(
            "lab-cloud", "base", tuple(flavours), clouds_file=file, network="lab", request_s=request_s
        )
        yield RunningCloud(project, settings)


@contextmanager
def _served(app: web.Application) -> Iterator[int]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="openstack")
    thread.start()

    async def start() -> tuple[web.AppRunner, int]:
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, int(runner.addresses[0][1])

    async def stop(runner: web.AppRunner) -> None:
        await runner.cleanup()
        # Answers that are late on purpose.
        late = asyncio.all_tasks() - {asyncio.current_task()}
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    try:
        runner, port = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
        try:
            yield port
        finally:
            asyncio.run_coroutine_threadsafe(stop(runner), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
