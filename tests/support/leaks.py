"""What a test must not leave behind: containers, networks, processes, batch jobs.

Other people's things on the same machine do not count. A process counts when it descends from the tests,
carries their mark in its environment, mentions one of their folders, or runs as one of their accounts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.docker_engine import DockerEngine
from tests.support.processes import Process, all_processes, descendants
from tests.support.slurm import Slurm

# A test may stop a service's daemon and start it again: that is another process, and no leftover.
_SERVICES = ("/usr/sbin/slurmctld", "slurmctld:", "/usr/sbin/slurmd", "/usr/sbin/munged")
RUN_MARK = "SPRINGTIDE_TEST_RUN"
"""Environment variable that everything started by this run of the tests inherits."""


@dataclass
class LeakCheck:
    """Compares what exists now with what existed at the test's begin."""

    folders: Iterable[Path]
    """Folders of this run's tests."""
    uids: frozenset[int] = frozenset()
    """Accounts that nobody but this run's tests uses."""
    engine: DockerEngine | None = None
    slurm: Slurm | None = None
    _before: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self._before = frozenset(self._existing())

    def leftovers(self, grace_s: float = 15) -> list[str]:
        """Return what appeared and stays: empty as soon as nothing does, else after `grace_s` seconds."""
        deadline = time.monotonic() + grace_s
        while left := sorted(set(self._existing()) - self._before):
            if time.monotonic() > deadline:
                break
            time.sleep(0.25)
        return left

    def check(self, grace_s: float = 15) -> None:
        """Fail the test, naming everything that it left behind."""
        left = self.leftovers(grace_s)
        assert not left, "left behind:\n  " + "\n  ".join(left)

    def _existing(self) -> Iterator[str]:
        for process in self._processes():
            yield f"process {process.pid} (since tick {process.start_time}): {process.command[:300]}"
        if self.engine:
            yield from _docker_objects(self.engine)
        if self.slurm:
            for job in self.slurm.jobs():
                yield f"job {job.id} of {job.user}: {job.name}"

    def _processes(self) -> set[Process]:
        own = descendants(os.getpid())
        # Each mark with what must follow it, lest pytest-12 counts as pytest-1.
        marks = [f"{RUN_MARK}={os.environ.get(RUN_MARK, os.getpid())} ", *(f"{folder}/" for folder in self.folders)]
        for process in all_processes():
            if process.uid in self.uids or any(process.mentions(mark) for mark in marks):
                own.add(process)
        return {process for process in own if process.pid != os.getpid() and not process.command.startswith(_SERVICES)}


def _docker_objects(engine: DockerEngine) -> Iterator[str]:
    # The low-level lists hold names and labels: no further question per object, which may be gone by then.
    for container in engine.client.api.containers(all=True):
        name = " ".join(container["Names"])
        if _counts(engine, name, container["Labels"], container["Image"]):
            yield f"container {container['Id'][:12]} {name} of {container['Image']}"
    for network in engine.client.api.networks():
        if _counts(engine, network["Name"], network["Labels"]):
            yield f"network {network['Id'][:12]} {network['Name']}"


def _counts(engine: DockerEngine, *descriptions: object) -> bool:
    """On an engine that others use as well, only what is called after us counts."""
    return engine.started_here or any("springtide" in str(text).lower() for text in descriptions)
