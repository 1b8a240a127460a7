"""A small OpenStack for each test, with machines on paper, and the driver on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from springtide.clouds.openstack import OpenStackCloud
from tests.clouds.unreal import FLAVOURS
from tests.support.openstack.project import Project
from tests.support.openstack.running import RunningCloud, running_cloud


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningCloud]:
    with running_cloud(tmp_path, FLAVOURS) as one:
        yield one


@pytest.fixture
def project(running: RunningCloud) -> Project:
    """Return what the driver's project has at the cloud."""
    return running.project


@pytest.fixture
async def nova(running: RunningCloud) -> AsyncIterator[OpenStackCloud]:
    """Yield the driver."""
    cloud = OpenStackCloud(running.settings)
    yield cloud
    await cloud.close()
