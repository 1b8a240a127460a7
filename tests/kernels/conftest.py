"""Kernels under each runtime, as the account that may use it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import logs
from tests.support.accounts import Account, TwoUsers
from tests.support.apptainer import apptainer_folder
from tests.support.docker_engine import DockerEngine
from tests.support.kernel_images import PYTHON, session_image, unpacked_session_image
from tests.support.kernel_server import KernelServer

RUNTIMES = ("host", "docker", "apptainer")


@dataclass(frozen=True)
class Place:
    """A runtime as it is used here: its software, who uses it, and what finds it."""

    runtime: str
    config: Mapping[str, Any]
    python: str
    account: Account | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def spec(self, *, interrupt: str = "signal", python: str = "", **config: Any) -> dict[str, Any]:
        """Return a kernelspec; `config` is added to what the runtime needs."""
        provisioner = {"provisioner_name": "springtide", "config": {**self.config, **config}}
        return {
            "argv": [python or self.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": f"Python under {self.runtime}",
            "language": "python",
            "interrupt_mode": interrupt,
            "metadata": {"kernel_provisioner": provisioner},
        }

    @property
    def home(self) -> Path:
        return self.account.home if self.account else Path.home()


StartServer = Callable[[], AbstractContextManager[KernelServer]]


@pytest.fixture(scope="module", params=RUNTIMES)
def place(request: pytest.FixtureRequest) -> Place:
    make = {"host": _host, "docker": _docker, "apptainer": _apptainer}[request.param]
    return make(request)


def _host(request: pytest.FixtureRequest) -> Place:
    return Place("host", {"runtime": "host"}, sys.executable)


def _docker(request: pytest.FixtureRequest) -> Place:
    engine: DockerEngine = request.getfixturevalue("docker_engine")
    image, digest = session_image(engine)
    config = {"runtime": "docker", "digest": digest, "place": image}
    return Place("docker", config, PYTHON, environment=engine.environment)


def _apptainer(request: pytest.FixtureRequest) -> Place:
    folder = apptainer_folder()
    engine: DockerEngine = request.getfixturevalue("docker_engine")
    users: TwoUsers = request.getfixturevalue("two_users")
    _, digest = session_image(engine)
    image = unpacked_session_image(engine)
    config = {"runtime": "apptainer", "form": "folder", "digest": digest, "place": str(image)}
    # It refuses to work for a root that lacks a capability.
    environment = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    return Place("apptainer", config, PYTHON, users.alice if os.geteuid() == 0 else None, environment)


@pytest.fixture(scope="module")
def start_server(place: Place, tmp_path_factory: pytest.TempPathFactory) -> StartServer:
    folder = tmp_path_factory.mktemp("kernels")
    log = folder / "server.log"
    logs.show_on_failure("server", lambda: [log] if log.exists() else [])
    return lambda: KernelServer.running(log, place.account, place.environment)


@pytest.fixture(scope="module")
def server(start_server: StartServer) -> Iterator[KernelServer]:
    """Yield a server that all tests of a runtime share."""
    with start_server() as running:
        yield running
