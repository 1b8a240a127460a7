"""The archive the kernel unpacks, and the order of its modules."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

from springtide.clouds.qemu import initrd
from springtide.clouds.qemu.kernel import ordered_modules


def test_the_archive_is_what_the_kernel_reads_and_always_the_same() -> None:
    entries = [initrd.folder("bin"), initrd.file("bin/tool", b"12345", 0o755), initrd.link("bin/sh", "tool")]
    packed = initrd.archive(entries)
    assert packed == initrd.archive(entries)
    raw = gzip.decompress(packed)
    assert len(raw) % 4 == 0
    assert raw.startswith(b"070701" + b"00000001" + b"000041ED")
    assert raw.index(b"bin/tool\0") % 4 == 2  # a header of 110 bytes
    assert raw.index(b"12345") % 4 == 0
    assert b"TRAILER!!!\0" in raw


def test_modules_come_after_those_they_need(tmp_path: Path) -> None:
    for name, needs in {"virtio_net": "net_failover", "net_failover": "failover", "failover": "", "other": ""}.items():
        (tmp_path / f"{name}.ko").write_bytes(b"\0license=GPL\0depends=" + needs.encode() + b"\0retpoline=Y\0")
    names = [path.stem for path in ordered_modules(tmp_path, ["built_in", "virtio_net", "failover"])]
    assert names == ["failover", "net_failover", "virtio_net"]


def test_the_init_is_correct_shell() -> None:
    init = Path(initrd.__file__).with_name("init.sh")
    subprocess.run(["sh", "-n", init], check=True)
