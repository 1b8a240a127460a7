"""Starting QEMU: its arguments, its disks, and whether this machine's processor helps."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from springtide.clouds.qemu.folder import About, MachineFolder
from springtide.clouds.qemu.image import GuestImage
from springtide.clouds.qemu.network import Bridge, tap
from springtide.clouds.qemu.programs import SYSTEM_PATH, find, run
from springtide.errors import CloudError, CloudRefused

PROGRAM = "qemu-system-x86_64"
_KVM = Path("/dev/kvm")
_PROBE_S = 8
_START_S = 10.0
_PAUSE_S = 0.02
_PLAIN = ("-machine", "pc", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot")
# The process writes its own number before it becomes QEMU, so that no moment is left in which nobody knows it.
_WRAPPER = 'echo $$ > "$1.new" && mv "$1.new" "$1" && shift && exec "$@"'


@dataclass(frozen=True)
class Accelerator:
    """How the guests' instructions are run."""

    name: str

    @property
    def arguments(self) -> tuple[str, ...]:
        """QEMU's arguments for it."""
        return ("-accel", self.name, "-cpu", "host" if self.name == "kvm" else "max")

    @property
    def kernel_words(self) -> tuple[str, ...]:
        """What the guest's kernel has to be told."""
        # Translated, the processor's own counter goes at a speed that the kernel measures wrongly on a busy host:
        # by it, a guest's lifetime was over three times too early.
        return () if self.name == "kvm" else ("clocksource=acpi_pm",)


def accelerated() -> bool:
    """Whether this machine's processor can help; that it does is tried when the first machine starts."""
    return os.access(_KVM, os.R_OK | os.W_OK)


def find_accelerator(image: GuestImage, memory: Path) -> Accelerator:
    """Return KVM where it works, else QEMU's own translation.

    The device alone says nothing: on some virtual hosts it is there, and guests crash or hang. So one is started up to
    its init; the answer is kept in the file `memory` until this machine starts anew.
    """
    if not accelerated():
        return Accelerator("tcg")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        if known["boot"] == boot:
            return Accelerator(known["accelerator"])
    except (OSError, ValueError, KeyError):
        pass
    chosen = Accelerator("kvm" if _kvm_works(image) else "tcg")
    new = memory.with_suffix(".new")
    new.write_text(json.dumps({"boot": boot, "accelerator": chosen.name}), encoding="utf-8")
    os.replace(new, memory)
    return chosen


def _kvm_works(image: GuestImage) -> bool:
    arguments = [*_PLAIN, *Accelerator("kvm").arguments, "-m", "128", "-serial", "stdio"]
    arguments += ["-kernel", str(image.kernel), "-initrd", str(image.initrd)]
    command = [find(PROGRAM), *arguments, "-append", "console=ttyS0 quiet panic=-1 springtide.probe=1"]
    try:
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_S).stdout
    except subprocess.TimeoutExpired:
        return False
    return b"springtide: it works" in said


def make_disks(folder: Path, user_data: str, name: str, disk_bytes: int) -> None:
    """Write the machine's own disk, and the one with its user-data, which cloud-init would read just the same."""
    disk = folder / "disk"
    with disk.open("wb") as file:
        file.truncate(disk_bytes)
    run(["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", disk])
    seed = folder / "seed"
    seed.mkdir(mode=0o700)
    (seed / "user-data").write_text(user_data, encoding="utf-8")
    (seed / "meta-data").write_text(f"instance-id: {name}\nlocal-hostname: {name}\n", encoding="utf-8")
    image = folder / "seed.iso"
    image.touch(mode=0o600)
    run(["genisoimage", "-quiet", "-volid", "cidata", "-rational-rock", "-joliet", "-output", image, seed])


def start(
    machine: MachineFolder,
    about: About,
    image: GuestImage,
    accelerator: Accelerator,
    bridge: Bridge | None,
    lifetime_s: int,
) -> None:
    """Start a machine and return when QEMU has taken its arguments. It outlives this process.

    Raises
    ------
    CloudRefused
        If QEMU ended at once, with its words.
    """
    with ExitStack() as stack:
        life = stack.enter_context(machine.life())
        port = stack.enter_context(tap(bridge, f"spv{machine.id[3:11]}")) if bridge else None
        command = _command(machine, about, image, accelerator, bridge, port, lifetime_s)
        words = stack.enter_context(machine.words.open("wb"))
        subprocess.run(
            # In a session of its own, as nobody's child: no terminal ends it, and nobody has to wait for it.
            [find("setsid"), "--fork", "sh", "-c", _WRAPPER, "sh", str(machine.pid_file), *command],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            pass_fds=[life] if port is None else [life, port],
            cwd="/",
            # Whatever secrets this process has in its environment are none of the machine's.
            env={"PATH": SYSTEM_PATH},
            check=True,
        )
    _wait_for_qemu(machine)


def _wait_for_qemu(machine: MachineFolder) -> None:
    until = time.monotonic() + _START_S
    while not machine.console.exists():
        if machine.was_started and not machine.is_alive:
            raise CloudRefused(f"QEMU did not take the machine: {machine.qemu_words() or 'it said nothing'}")
        if time.monotonic() > until:
            raise CloudError(f"QEMU did not start within {_START_S:g} s.", transient=True)
        time.sleep(_PAUSE_S)


def _command(
    machine: MachineFolder,
    about: About,
    image: GuestImage,
    accelerator: Accelerator,
    bridge: Bridge | None,
    port: int | None,
    lifetime_s: int,
) -> list[str]:
    """Return QEMU's command. Nothing secret stands in it: user-data is on a disk."""
    network = f"tap,id=net,fd={port},vhost=off" if bridge else "user,id=net,ipv6=off"
    arguments = [
        *_PLAIN,
        *accelerator.arguments,
        *("-name", machine.id, "-smp", str(about.cores), "-m", f"{about.memory_bytes // 2**20}"),
        *("-serial", f"file:{_value(machine.console)}"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
        *("-append", _kernel_line(about, image, accelerator, bridge, lifetime_s)),
        *_drive(image.root, "readonly=on"),
        *_drive(machine.path / "disk", "cache=unsafe", "discard=unmap"),
        *_drive(machine.path / "seed.iso", "readonly=on"),
        *("-netdev", network, "-device", f"virtio-net-pci,netdev=net,mac={_mac(machine.id)},romfile="),
        *("-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"),
    ]
    if os.geteuid() == 0:
        # A guest that breaks out of QEMU must not be root here.
        arguments += ["-runas", "nobody"]
    return [find(PROGRAM), *arguments]


def _drive(file: Path, *options: str) -> tuple[str, str]:
    return ("-drive", ",".join((f"file={_value(file)}", "if=virtio", "format=raw", *options)))


def _value(path: Path) -> str:
    """Return a path as QEMU reads it within a list of options."""
    return str(path).replace(",", ",,")


def _mac(machine_id: str) -> str:
    digits = machine_id[3:9]
    return ":".join(("52", "54", "00", digits[0:2], digits[2:4], digits[4:6]))


def _kernel_line(
    about: About, image: GuestImage, accelerator: Accelerator, bridge: Bridge | None, lifetime_s: int
) -> str:
    options = {"name": about.name, "digest": image.digest, "lifetime": str(lifetime_s)}
    if bridge:
        options |= {"address": f"{about.address}/{bridge.network.prefixlen}", "gateway": bridge.gateway}
    else:
        options |= {"address": "10.0.2.15/24", "gateway": "10.0.2.2", "nameserver": "10.0.2.3"}
    words = [f"springtide.{key}={shlex.quote(value)}" for key, value in options.items()]
    return " ".join(("console=ttyS0 quiet panic=-1", *accelerator.kernel_words, *words))
