"""What is left of kernels when everything around them is killed: nothing, or what the next server clears away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from springtide.kernels.names import Owner, remove_orphans
from tests.support.accounts import TwoUsers
from tests.support.apptainer import apptainer_folder
from tests.support.docker_engine import DockerEngine
from tests.support.kernel_images import PYTHON, packed_session_image, session_image
from tests.support.kernel_server import KernelServer
from tests.support.leaks import LeakCheck
from tests.support.need import require
from tests.support.processes import descendants

# Gives an ordinary account a FUSE device of its own, as Debian's udev does, and becomes that account.
WITH_FUSE = """
device=$(mktemp -u /tmp/fuse-XXXXXX)
mknod -m 666 "$device" c 10 229 && mount --bind "$device" /dev/fuse && rm "$device"
exec setpriv --reuid=$1 --regid=$2 --clear-groups "${@:3}"
"""


def test_no_file_system_stays_mounted_when_the_server_is_killed(
    nothing_left: LeakCheck, two_users: TwoUsers, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    require("mksquashfs", shutil.which("mksquashfs"))
    alice = two_users.alice
    config = {"runtime": "apptainer", "digest": "sha256:0", "place": str(packed_session_image(docker_engine))}
    spec = {
        "argv": [PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python",
        "language": "python",
        "metadata": {"kernel_provisioner": {"provisioner_name": "springtide", "config": config}},
    }
    environment = {"PATH": f"{apptainer_folder()}{os.pathsep}{os.environ['PATH']}"}
    become = ("unshare", "--mount", "bash", "-c", WITH_FUSE, "bash", str(alice.uid), str(alice.gid))
    with KernelServer.running(tmp_path / "log", alice, environment, become) as server, server.kernel(spec) as kernel:
        assert kernel.run("print(1)") == "1\n"
        helpers = [one.command for one in descendants(server.process.pid) if "squashfuse" in one.command]
        assert helpers, "the image is mounted by FUSE"
        server.process.kill()
        server.process.wait()
        nothing_left.check()


def test_containers_of_a_server_that_was_killed_with_its_companions_are_removed_by_the_next(
    nothing_left: LeakCheck, docker_engine: DockerEngine
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        owner = replace(Owner.of_this_process(), pid=other.pid, started=started(other.pid))
        name = run_container(docker_engine, owner)
        assert name not in remove_orphans("docker")
        other.kill()
    assert name in remove_orphans("docker")


@pytest.mark.parametrize("change", [{"uid": 4711}, {"space": 1}])
def test_containers_of_others_are_left_alone(change: dict[str, int], docker_engine: DockerEngine) -> None:
    name = run_container(docker_engine, replace(Owner.of_this_process(), started=1, **change))
    try:
        assert name not in remove_orphans("docker")
    finally:
        docker_engine.client.containers.get(name).remove(force=True)


def run_container(engine: DockerEngine, owner: Owner) -> str:
    name = owner.container_name()
    image, _ = session_image(engine)
    engine.client.containers.run(image, ["sleep", "60"], name=name, detach=True, auto_remove=True)
    return name


def started(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
