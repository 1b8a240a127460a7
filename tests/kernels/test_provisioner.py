"""Kernels under each runtime, by Jupyter's own kernel manager: what a plain ``docker run`` gets wrong is right here."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels.conftest import Place, StartServer
from tests.support.accounts import TwoUsers, run_as
from tests.support.docker_engine import DockerEngine
from tests.support.kernel_server import Kernel, KernelServer, OrderFailed
from tests.support.leaks import LeakCheck
from tests.support.processes import all_processes

BUSY = "import time\ntime.sleep(60)"
LISTENS = """
import glob, os
own = {os.readlink(one)[8:-1] for one in glob.glob("/proc/self/fd/*") if os.path.lexists(one)}
rows = [line.split() for table in ("tcp", "tcp6") for line in open(f"/proc/net/{table}")]
ports = {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in own}
print(ports - {get_ipython().kernel.iopub_thread._pipe_port})
"""
TOKEN = "5e2c8a-token"
WHO = "import os; print(os.getpid(), open('/proc/self/stat').read().split()[21])"


def containers(engine: DockerEngine) -> list[str]:
    return [name for one in engine.client.api.containers(all=True) for name in one["Names"] if "-kernel-" in name]


@pytest.fixture(scope="module")
def calm(server: KernelServer, place: Place) -> Iterator[Kernel]:
    """Yield a kernel for tests that leave it as it is."""
    with server.kernel(
        place.spec(cores=1), folder=str(place.home), variables={"JUPYTERHUB_API_TOKEN": TOKEN}
    ) as kernel:
        yield kernel


def test_a_cell_runs_in_the_environment_and_the_working_folder(calm: Kernel, place: Place) -> None:
    said = calm.run("import os, sys; print(sys.executable, os.getcwd(), os.environ['HOME'], os.geteuid())")
    uid = place.account.uid if place.account else os.geteuid()
    assert said.split() == [place.python, str(place.home), str(place.home), str(uid)]


def test_a_kernel_keeps_to_its_cores(calm: Kernel, place: Place) -> None:
    count = "import os; print(len(os.sched_getaffinity(0)))"
    quota = (
        "from pathlib import Path; found = [Path('/sys/fs/cgroup', *name.split('/')) for name in "
        "('cpu/cpu.cfs_quota_us', 'cpu.max')]; "
        "print(next(path.read_text().split()[0] for path in found if path.exists()))"
    )
    assert calm.run(quota if place.runtime == "docker" else count).strip() in ("1", "100000")


def test_nobody_else_can_reach_a_kernel(calm: Kernel, two_users: TwoUsers) -> None:
    facts = calm.facts
    folder = Path(facts["connection"]["ip"]).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "connection.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(facts["file"]).stat().st_mode) == 0o600
    # ipykernel itself takes the output of forked programs at one port, from whoever knows a word of its own.
    assert calm.run(LISTENS) == "set()\n"
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect({facts['connection']['ip'] + '-1'!r})"
    refused = run_as(two_users.bob, ["/usr/bin/python3", "-c", connect], check=False)
    assert "PermissionError" in refused.stderr


def test_no_token_of_the_server_is_told_to_a_container(calm: Kernel, place: Place, docker_engine: DockerEngine) -> None:
    if place.runtime == "host":
        pytest.skip("a kernel of the machine's own software is the server's equal")
    assert calm.run("import os; print(os.environ.get('JUPYTERHUB_API_TOKEN'))") == "None\n"
    shown = [docker_engine.client.api.inspect_container(name) for name in containers(docker_engine)]
    assert TOKEN not in str(shown)
    assert not [one for one in all_processes() if TOKEN in one.command]


@pytest.mark.parametrize("interrupt", ["signal", "message"])
def test_an_interrupt_ends_the_cell_and_not_the_kernel(interrupt: str, server: KernelServer, place: Place) -> None:
    with server.kernel(place.spec(interrupt=interrupt)) as kernel:
        kernel.run("kept = 1")
        assert kernel.run(BUSY, interrupt_after_s=0.3).strip() == "KeyboardInterrupt"
        assert kernel.run("print(kept)") == "1\n"


def test_a_restart_gives_one_fresh_kernel(server: KernelServer, place: Place, docker_engine: DockerEngine) -> None:
    before = len(containers(docker_engine))
    with server.kernel(place.spec()) as kernel:
        for now in (False, True):
            former = kernel.run(WHO)
            kernel.restart(now=now)
            assert kernel.run(WHO) != former
            assert len(containers(docker_engine)) == before + (place.runtime == "docker")


def test_a_kernel_that_hears_no_signal_is_restarted_at_once(server: KernelServer, place: Place) -> None:
    deaf = "import signal, threading; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    with server.kernel(place.spec()) as kernel:
        kernel.run(f"{deaf}; kept = 1")
        kernel.restart(now=True)
        assert kernel.run("print('kept' in globals())") == "False\n"


@pytest.mark.parametrize("now", [False, True])
def test_a_shutdown_leaves_nothing(
    nothing_left: LeakCheck, docker_engine: DockerEngine, now: bool, server: KernelServer, place: Place
) -> None:
    with server.kernel(place.spec()) as kernel:
        kernel.run("import subprocess; subprocess.run(['setsid', '--fork', 'sleep', '1000'])")
        connection = kernel.facts["connection"]
        kernel.shutdown(now=now)
        assert not Path(connection["ip"]).parent.exists()
        nothing_left.check(grace_s=0.5)


def test_a_killed_kernel_is_noticed_said_and_leaves_nothing(
    nothing_left: LeakCheck, docker_engine: DockerEngine, server: KernelServer, place: Place
) -> None:
    with server.kernel(place.spec()) as kernel:
        with pytest.raises(OrderFailed):
            kernel.run("import os; os.kill(os.getpid(), 9)", seconds=0.3)
        assert "SIGKILL" in kernel.wait_until_dead()
        kernel.restart(now=True)
        assert "SIGKILL" in kernel.run("1")
        assert kernel.run("1") == ""


def test_a_killed_server_takes_its_kernels_along(
    nothing_left: LeakCheck, docker_engine: DockerEngine, start_server: StartServer, place: Place
) -> None:
    with start_server() as server, server.kernel(place.spec()) as kernel:
        kernel.run("import subprocess; subprocess.run(['setsid', '--fork', 'sleep', '1000'])")
        server.process.kill()
        server.process.wait()
        nothing_left.check()


def test_a_kernel_whose_companion_is_killed_ends(
    nothing_left: LeakCheck, docker_engine: DockerEngine, server: KernelServer, place: Place
) -> None:
    with server.kernel(place.spec()) as kernel:
        os.kill(kernel.facts["pid"], signal.SIGKILL)
        assert "SIGKILL" in kernel.wait_until_dead()
    nothing_left.check()


def test_more_memory_than_allowed_is_said(server: KernelServer, place: Place) -> None:
    with server.kernel(place.spec(memory="300M")) as kernel:
        try:
            said = kernel.run("much = bytearray(800 * 2**20)", seconds=1)
        except OrderFailed:
            said = kernel.wait_until_dead()
    assert "MemoryError" in said or "300M" in said


def test_a_program_that_is_not_there_is_said(nothing_left: LeakCheck, server: KernelServer, place: Place) -> None:
    with (
        pytest.raises(OrderFailed, match="/opt/nowhere/python"),
        server.kernel(place.spec(python="/opt/nowhere/python")),
    ):
        pass


def test_the_state_of_a_kernel_that_cannot_start_is_shown(server: KernelServer, place: Place) -> None:
    spec = place.spec()
    spec["argv"] = [place.python, "-c", "raise SystemExit('the licence has expired')"]
    with pytest.raises(OrderFailed, match=r"exit status 1\.\nthe licence has expired"), server.kernel(spec):
        pass
