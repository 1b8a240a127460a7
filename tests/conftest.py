"""Fixtures that start real services once per run, and stop what they started.

A test that lacks a service is skipped with what it needs; with SPRINGTIDE_REQUIRE_ALL=1 it fails.
When a test fails, the ends of the logs of the services it uses are shown with it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.async_api import Page

from tests.support import accounts, browser, leaks, login_shells, logs
from tests.support.docker_engine import DockerEngine, running_engine
from tests.support.hub import SPRINGTIDE, RunningHub
from tests.support.need import require
from tests.support.openpbs import OpenPBS, find_openpbs
from tests.support.registry import RunningRegistry, running_registry
from tests.support.slurm import Slurm, missing_programs, running_slurm

_FAILED = pytest.StashKey[bool]()


def pytest_configure() -> None:
    # Whatever this run starts inherits the mark, however deep: see leaks.py.
    os.environ[leaks.RUN_MARK] = str(os.getpid())
    # A run that a shell has put into the background ignores Ctrl-C, and so would all programs that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
        report.sections.extend(logs.sections_for(getattr(item, "fixturenames", ())))
    return report


@pytest.fixture(scope="session", autouse=True)
def _no_stale_locks() -> Iterator[None]:
    with login_shells.no_stale_locks():
        yield


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """Yield the machine's Docker Engine, started where it does not run."""
    with running_engine(tmp_path_factory.mktemp("docker")) as engine:
        logs.show_on_failure("docker_engine", lambda: [engine.log] if engine.log else [])
        yield engine


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """Yield a Slurm cluster of two nodes, with the partitions batch and short and the PBS commands."""
    missing = missing_programs()
    require(f"Slurm with its PBS commands ({', '.join(missing)})", not missing)
    with running_slurm() as cluster:
        logs.show_on_failure("slurm", lambda: cluster.logs)
        yield cluster


@pytest.fixture(scope="session")
def openpbs() -> OpenPBS:
    """Return the OpenPBS server of this machine, which is set up by hand."""
    found = find_openpbs()
    require(
        "a real OpenPBS whose server answers",
        found,
        "set one up by hand: its qsub is looked for in PBS_EXEC, /opt/pbs and on PATH",
        always_optional=True,
    )
    assert found
    return found


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """Yield an image registry of the tests' own, with TLS and a login."""
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        logs.show_on_failure("registry", lambda: [running.server.folder / "registry.log"])
        yield running


@pytest.fixture(scope="session")
def two_users() -> Iterator[accounts.TwoUsers]:
    """Yield two accounts of this machine that no other run uses."""
    require("root's rights, for two accounts", os.geteuid() == 0, "run the tests as root")
    with accounts.two_accounts() as users:
        yield users


@pytest.fixture
async def new_page(request: pytest.FixtureRequest) -> AsyncIterator[browser.Desk]:
    """Yield a fresh browser; each call opens a page with cookies of its own: ``await new_page("fr-FR")``.

    A failing test leaves screenshots, sources and console messages in ``test-results/``.
    """
    require("Chromium", browser.CHROMIUM.exists())
    async with browser.open_desk() as desk:
        yield desk
        if request.node.stash.get(_FAILED, False):
            await desk.keep_evidence(request.config.rootpath / "test-results", request.node.nodeid)


@pytest.fixture
async def page(new_page: browser.Desk) -> Page:
    """Return a page of a fresh browser, in English."""
    return await new_page()


class StartHub(Protocol):
    """Starts a platform; more than one may run."""

    def __call__(
        self, lab: Mapping[str, Any], folder: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> RunningHub: ...


@pytest.fixture
def start_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartHub]:
    """Yield a function that starts ``springtide up`` with a lab file's content; what still runs at the end is stopped.

    Slurm and Docker sites need the environment of these services: ``environment=slurm.environment``.
    """
    require("the springtide command", Path(SPRINGTIDE).exists(), "make install")
    hubs: list[RunningHub] = []

    def start(
        lab: Mapping[str, Any], folder: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> RunningHub:
        hub = RunningHub(lab, folder or tmp_path_factory.mktemp("hub"), environment)
        hubs.append(hub)
        return hub.start()

    logs.show_on_failure("start_hub", lambda: [path for hub in hubs for path in hub.logs])
    with ExitStack() as stack:
        stack.callback(logs.forget, "start_hub")
        stack.callback(_stop_all, hubs)
        yield start


def _stop_all(hubs: Sequence[RunningHub]) -> None:
    for hub in reversed(hubs):
        hub.stop()


@pytest.fixture
def nothing_left(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[leaks.LeakCheck]:
    """Check at the end that the test left no container, network, process or batch job.

    Name it first among a test's arguments: it then looks after the others have been put away.
    """

    def if_used(name: str) -> Any:
        return request.getfixturevalue(name) if name in request.fixturenames else None

    users: accounts.TwoUsers | None = if_used("two_users")
    check = leaks.LeakCheck(
        folders=[tmp_path_factory.getbasetemp()],
        uids=frozenset({users.alice.uid, users.bob.uid} if users else ()),
        engine=if_used("docker_engine"),
        slurm=if_used("slurm"),
    )
    yield check
    check.check()
