"""One image of the machines for all tests here, and a cloud of this machine for each that asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from springtide.clouds.qemu import QemuCloud, QemuSettings
from tests.support.docker_engine import DockerEngine
from tests.support.machines import machine_settings, own_network


@pytest.fixture(scope="session")
def prepared(docker_engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> QemuSettings:
    """Return settings whose image is built."""
    return machine_settings(tmp_path_factory.mktemp("machines"))


@pytest.fixture
def settings(prepared: QemuSettings, tmp_path: Path) -> Iterator[QemuSettings]:
    """Yield settings with a folder and a network of their own."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    if (known := prepared.state / "accelerator.json").exists():
        (state / known.name).write_bytes(known.read_bytes())
    with own_network(replace(prepared, state=state)) as own:
        yield own
    if (found := state / "accelerator.json").exists():
        known.write_bytes(found.read_bytes())


@pytest.fixture
async def cloud(settings: QemuSettings) -> AsyncIterator[QemuCloud]:
    """Yield a cloud whose machines are gone at the end."""
    cloud = QemuCloud(settings)
    try:
        yield cloud
    finally:
        await cloud.close()
