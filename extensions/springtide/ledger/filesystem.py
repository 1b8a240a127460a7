"""Whether a file lies on a file system that several machines share."""

from __future__ import annotations

from pathlib import Path

_SHARED = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb", "afs", "9p", "ocfs2", "gfs2", "pvfs2", "orangefs")
_MOUNTS = Path("/proc/self/mounts")
_ESCAPED = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}


def is_shared(file: Path, mounts: Path = _MOUNTS) -> bool:
    """Whether other machines may have `file` open: the homes of a cluster are like that.

    SQLite's write-ahead log keeps its index in memory that all its users have to share, so that it damages the file
    when they are on several machines.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    real = file.resolve()
    # Of two file systems mounted at the same place, the later one is seen.
    depth, kind = -1, ""
    for line in lines:
        _, folder, found, *_ = line.split(" ")
        top = Path(_unescaped(folder))
        if real.is_relative_to(top) and len(top.parts) >= depth:
            depth, kind = len(top.parts), found
    return kind.removeprefix("fuse.").startswith((*_SHARED, "sshfs", "gluster"))


def _unescaped(folder: str) -> str:
    for code, character in _ESCAPED.items():
        folder = folder.replace(code, character)
    return folder
