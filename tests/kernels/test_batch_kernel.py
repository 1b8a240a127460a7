"""A kernel as a batch job, on a real Slurm, by Jupyter's own kernel manager."""

from __future__ import annotations

import json
import socket
import ssl
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from springtide.ledger.records import JobRecord
from springtide.ledger.store import Ledger
from tests.support import logs
from tests.support.accounts import Account, TwoUsers
from tests.support.kernel_server import Kernel, KernelServer, OrderFailed
from tests.support.leaks import LeakCheck
from tests.support.slurm import Slurm
from tests.support.waiting import wait_until

ALERT = b"\x15\x03\x03\x00\x02\x02\x46"
"""What TLS says to who does not speak it."""
WHERE = "import os; print(os.environ['SLURMD_NODENAME'], os.environ['SLURM_JOB_ID'])"


class Site:
    """A cluster as its user's kernelspecs name it, and the ledger of what was submitted there."""

    def __init__(self, slurm: Slurm, user: Account) -> None:
        self.slurm, self.user, self.ledger = slurm, user, user.home / "ledger.sqlite"

    def spec(self, *, interrupt: str = "message", **config: Any) -> dict[str, Any]:
        site = {"name": "cluster", "kind": "slurm", "commands": str(self.slurm.commands)}
        wanted = {"runtime": "host", "site": site, "memory": "512M", "walltime": "10m", "ledger": str(self.ledger)}
        return {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Python (cluster)",
            "language": "python",
            "interrupt_mode": interrupt,
            "metadata": {"kernel_provisioner": {"provisioner_name": "springtide", "config": {**wanted, **config}}},
        }

    @property
    def rows(self) -> list[JobRecord]:
        with Ledger.open(str(self.ledger)) as ledger:
            return list(ledger.jobs())

    @property
    def shared_folders(self) -> list[Path]:
        return list((self.user.home / ".springtide" / "kernels").glob("*"))


@pytest.fixture(scope="module")
def site(slurm: Slurm, two_users: TwoUsers) -> Site:
    return Site(slurm, two_users.alice)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("batch-kernels") / "server.log"
    logs.show_on_failure("batch_server", lambda: [path] if path.exists() else [])
    return path


@pytest.fixture(scope="module")
def batch_server(slurm: Slurm, log: Path, two_users: TwoUsers) -> Iterator[KernelServer]:
    with KernelServer.running(log, two_users.alice, slurm.environment) as running:
        yield running


@pytest.fixture(scope="module")
def on_node(batch_server: KernelServer, site: Site) -> Iterator[Kernel]:
    """Yield a kernel for tests that leave it as it is."""
    with batch_server.kernel(site.spec()) as kernel:
        yield kernel


def test_a_kernel_runs_on_a_node_and_is_interrupted_there(on_node: Kernel, slurm: Slurm) -> None:
    node, job = on_node.run(WHERE).split()
    assert node in ("127.0.0.2", "127.0.0.3")
    assert job in [one.id for one in slurm.jobs()]
    assert on_node.run("import time; time.sleep(60)", interrupt_after_s=0.3).strip() == "KeyboardInterrupt"
    assert len(on_node.run("print('x' * 10**6)")) == 10**6 + 1


def test_a_restart_gives_a_fresh_kernel_in_the_same_job_and_a_shutdown_ends_it(
    nothing_left: LeakCheck, batch_server: KernelServer, site: Site
) -> None:
    with batch_server.kernel(site.spec(interrupt="signal")) as kernel:
        where = kernel.run(WHERE)
        kernel.run("kept = 1")
        assert kernel.run("import time; time.sleep(60)", interrupt_after_s=0.3).strip() == "KeyboardInterrupt"
        for now in (True, False):
            kernel.restart(now=now)
            assert kernel.run("print('kept' in globals())") == "False\n"
            assert kernel.run(WHERE) == where
        kernel.shutdown()
    nothing_left.check()
    row = next(row for row in site.rows if row.job_id == where.split()[1])
    assert (row.kind, row.state, row.exit_status) == ("kernel", "finished", 0)


def test_a_kernel_that_waits_says_why_and_a_shutdown_cancels_it(
    on_node: Kernel, nothing_left: LeakCheck, batch_server: KernelServer, site: Site, slurm: Slurm
) -> None:
    rest = ["--ntasks=7", "--output=/dev/null", "--wrap=sleep 300"]  # two nodes of four cores; one has the kernel
    full = slurm.run(["sbatch", "--parsable", *rest]).stdout.strip()
    try:
        slurm.wait_for(full, "RUNNING")
        with batch_server.kernel(site.spec(), ready=False) as kernel:
            job = next(row.job_id for row in site.rows if row.state == "queued")
            wait_until(lambda: kernel.said and "cores" in kernel.said[-1], 20, "the reason is said")
            assert f"waits as job {job}" in kernel.said[-1]
            kernel.restart(now=True, ready=False)
            assert [one.id for one in slurm.jobs() if one.state == "PENDING"] == [job]
            kernel.shutdown(now=True)
        assert slurm.wait_for(job, "CANCELLED")
        assert next(row for row in site.rows if row.job_id == job).cancelled_by == site.user.name
    finally:
        slurm.run(["scancel", full])
    nothing_left.check()


def test_the_end_of_the_job_is_told_with_its_cause_and_it_is_not_submitted_again(
    nothing_left: LeakCheck, batch_server: KernelServer, site: Site, slurm: Slurm
) -> None:
    with batch_server.kernel(site.spec()) as kernel:
        job = kernel.run(WHERE).split()[1]
        slurm.run(["scancel", job])
        assert f"job {job}" in (said := kernel.wait_until_dead()), said
        assert "cancelled" in said
    assert [row.cause for row in site.rows if row.job_id == job] == ["cancelled"]
    nothing_left.check()


def test_a_killed_server_takes_its_job_along(
    nothing_left: LeakCheck, site: Site, slurm: Slurm, two_users: TwoUsers, log: Path
) -> None:
    before = len(site.shared_folders)
    with KernelServer.running(log, two_users.alice, slurm.environment) as server, server.kernel(site.spec()) as kernel:
        job = kernel.run(WHERE).split()[1]
        server.process.kill()
        server.process.wait()
        slurm.wait_for(job, "COMPLETED", "CANCELLED", "FAILED")
    nothing_left.check()
    assert len(site.shared_folders) == before


def test_nobody_without_the_key_comes_to_a_kernel_on_a_node(on_node: Kernel, site: Site) -> None:
    (shared,) = site.shared_folders
    assert {stat.S_IMODE((shared / name).stat().st_mode) for name in ("key.pem", "connection.json")} == {0o600}
    assert stat.S_IMODE(shared.stat().st_mode) == 0o700
    port = json.loads((shared / "address.json").read_text())["port"]
    assert answer(socket.create_connection(("127.0.0.1", port), timeout=10)) in (b"", ALERT)
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    assert answer(stranger.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10))) == b""


def answer(connection: socket.socket) -> bytes:
    """Return what a node says to somebody who asks for a channel: a kernel's library would greet at once."""
    with connection:
        try:
            connection.sendall(b"channel 2\n")
            return connection.recv(100)
        except OSError:
            return b""


def test_what_can_never_run_is_refused_before_it_is_submitted(batch_server: KernelServer, site: Site) -> None:
    before = len(site.rows)
    with pytest.raises(OrderFailed, match="64 cores"), batch_server.kernel(site.spec(cores=64)):
        pass
    with pytest.raises(OrderFailed, match="The walltime of kernel"), batch_server.kernel(site.spec(walltime="soon")):
        pass
    assert len(site.rows) == before
