"""Real machines: they run their user-data in the environment's image, and nothing is left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from springtide.clouds.base import MachineInfo, MachineSpec, MachineState
from springtide.clouds.qemu import QemuCloud, QemuSettings
from springtide.clouds.qemu.folder import MachineFolder
from springtide.errors import CloudRefused
from tests.support.waiting import wait_until

SLEEPS = "#!/bin/sh\nsleep 1000\n"
TALKS = """#!/bin/sh
echo "digest $SPRINGTIDE_ENVIRONMENT_DIGEST"
python3 - <<'END'
import time, urllib.request
for _ in range(60):
    try:
        print("neighbour says", urllib.request.urlopen("http://{neighbour}:8000/etc/hostname", timeout=2).read())
        break
    except OSError:
        time.sleep(0.5)
END
exit 7
"""
SERVES = "#!/bin/sh\ncd / && exec python3 -m http.server 8000\n"


def spec(name: str = "vm-0", user_data: str = SLEEPS, tag: str = "lab") -> MachineSpec:
    return MachineSpec(name, "small", user_data, tag)


async def ended(cloud: QemuCloud, machine_id: str, within_s: float = 60) -> MachineInfo:
    async with asyncio.timeout(within_s):
        while True:
            [info] = [one for one in await cloud.machines() if one.id == machine_id]
            if info.state is not MachineState.RUNNING:
                return info
            await asyncio.sleep(0.2)


async def test_machines_run_their_user_data_reach_each_other_and_power_off(cloud: QemuCloud) -> None:
    server = await cloud.create(spec("vm-server", SERVES), "token-a")
    talker = await cloud.create(spec("vm-talker", TALKS.replace("{neighbour}", server.address)), "token-b")
    assert (server.state, talker.name, talker.tag, talker.token) == (
        MachineState.RUNNING,
        "vm-talker",
        "lab",
        "token-b",
    )
    assert server.address != talker.address

    stopped = await ended(cloud, talker.id)
    console = await cloud.console(talker.id)

    assert (stopped.state, stopped.reason) == (MachineState.STOPPED, "user-data ended with 7"), console
    assert "neighbour says b'vm-server\\n'" in console
    assert "digest sha256:" in console
    await cloud.destroy([server.id, talker.id, server.id, "vm-0000000000000000", "../../etc"])
    assert await cloud.machines() == ()
    assert not Path("/sys/class/net", cloud._bridge.name).exists()  # type: ignore[union-attr]


async def test_the_same_token_is_the_same_machine_for_every_process(cloud: QemuCloud, settings: QemuSettings) -> None:
    other = QemuCloud(settings)
    made = await asyncio.gather(*(one.create(spec(), "the-token") for one in (cloud, other, cloud)))
    assert len({one.id for one in made}) == 1
    assert len(await other.machines("lab")) == 1
    assert await other.machines("somebody else's") == ()

    folder = MachineFolder(settings.state / "machines" / made[0].id)
    pid = int(folder.pid_file.read_text(encoding="ascii"))
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"sleep 1000" not in arguments
    assert b"the-token" not in arguments
    assert os.stat(folder.path / "seed.iso").st_mode & 0o777 == 0o600
    await other.destroy([made[0].id])
    wait_until(lambda: not _qemus(settings), 5, "the machine's process is gone")
    await other.close()


async def test_a_machine_that_dies_says_so_and_its_token_does_not_start_it_again(
    cloud: QemuCloud, settings: QemuSettings
) -> None:
    machine = await cloud.create(spec(), "token")
    os.kill(int((settings.state / "machines" / machine.id / "pid").read_text(encoding="ascii")), signal.SIGKILL)
    dead = await ended(cloud, machine.id)
    assert dead.state is MachineState.FAILED
    assert (await cloud.create(spec(), "token")).state is MachineState.FAILED


async def test_the_lifetime_ends_a_machine_whose_user_data_hangs(settings: QemuSettings) -> None:
    cloud = QemuCloud(replace(settings, lifetime_s=8))
    machine = await cloud.create(
        spec(user_data="#!/bin/sh\ntrap '' TERM HUP INT\nwhile :; do sleep 1; done\n"), "token"
    )
    dead = await ended(cloud, machine.id)
    assert (dead.state, dead.reason) == (MachineState.STOPPED, "end of its lifetime of 8 s")
    await cloud.close()


async def test_without_a_bridge_a_machine_reaches_this_machine(settings: QemuSettings) -> None:
    def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cloud = QemuCloud(replace(settings, network=""))
    asks = "import socket,sys; print('host says', socket.create_connection((sys.argv[1], int(sys.argv[2]))).recv(9))"
    user_data = f'#!/bin/sh\nexec python3 -c "{asks}" {cloud.host_address} {port}\n'
    machine = await cloud.create(spec(user_data=user_data), "token")
    await ended(cloud, machine.id)
    assert "host says b'hello'" in await cloud.console(machine.id)
    assert machine.address == ""
    server.close()
    await cloud.close()


async def test_what_this_machine_has_no_room_for_is_refused(settings: QemuSettings) -> None:
    cloud = QemuCloud(replace(settings, maximum_machines=1))
    await cloud.create(spec(), "one")
    with pytest.raises(CloudRefused, match="1 machines run already") as refused:
        await cloud.create(spec("vm-1"), "two")
    assert refused.value.transient
    with pytest.raises(CloudRefused, match="There are: small, large"):
        await cloud.create(replace(spec(), flavour="huge"), "three")
    with pytest.raises(CloudRefused, match="no name"):
        await cloud.create(spec("a,b"), "four")
    narrow = QemuCloud(replace(settings, maximum_memory_bytes=2**30))
    with pytest.raises(CloudRefused, match="of the 1G that machines may have are taken"):
        await narrow.create(spec("vm-2"), "five")
    foreign = QemuCloud(replace(settings, state=settings.state / "other"))
    with pytest.raises(CloudRefused, match="belongs to other machines of this host"):
        await foreign.create(spec("vm-3"), "six")
    for one in (cloud, narrow, foreign):
        await one.close()


KILLED = """
import asyncio, os, sys
from pathlib import Path
from springtide.clouds.base import MachineSpec
from springtide.clouds.qemu import QemuCloud, QemuSettings
import springtide.clouds.qemu.cloud, springtide.clouds.qemu.start

target, name = sys.argv[1].split(":")
def die(*arguments, **named):
    os.kill(os.getpid(), 9)
module = springtide.clouds.qemu.cloud
module = module if hasattr(module, name) else springtide.clouds.qemu.start
if target == "before":
    setattr(module, name, die)
else:
    real = getattr(module, name)
    def after(*arguments, **named):
        real(*arguments, **named)
        die()
    setattr(module, name, after)
from tests.support.machines import FLAVOURS
state, image, images, network = sys.argv[2:]
settings = QemuSettings(Path(state), image, Path(images), FLAVOURS, network)
asyncio.run(QemuCloud(settings).create(MachineSpec("vm-0", "small", "#!/bin/sh\\nsleep 1000\\n", "lab"), "token"))
"""


@pytest.mark.parametrize(
    "moment", ["before:make_disks", "after:make_disks", "before:start", "before:_wait_for_qemu", "after:start"]
)
async def test_a_maker_killed_at_any_moment_leaves_one_machine_at_most(
    cloud: QemuCloud, settings: QemuSettings, moment: str
) -> None:
    values = [str(settings.state), settings.image, str(settings.images), settings.network]
    killed = subprocess.run([sys.executable, "-c", KILLED, moment, *values], cwd=Path(__file__).parents[3])
    assert killed.returncode == -signal.SIGKILL

    machine = await cloud.create(spec(), "token")
    assert machine.state is MachineState.RUNNING
    assert len(_qemus(settings)) == 1
    await cloud.destroy([machine.id])
    wait_until(lambda: not _qemus(settings), 5, "all machines gone")
    assert [path.name for path in (settings.state / "machines").iterdir()] == []


def _qemus(settings: QemuSettings) -> list[str]:
    mine = os.fsencode(settings.state)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"qemu-system" in command and mine in command:
            found.append(process.name)
    return found
