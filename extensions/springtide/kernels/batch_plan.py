"""What the companion of a batch kernel is told: `springtide.kernels.batch_kernel.PLAN`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from springtide.errors import KernelError
from springtide.kernels.batch_site import Wish
from springtide.kernels.launch import Software, Start, launch_of
from springtide.kernels.places import KernelFolder
from springtide.kernels.words import language
from springtide.ledger.place import own_ledger_url, state_directory
from springtide.units import parse_walltime

_DEFAULT_MEMORY_BYTES = 2 * 2**30
_DEFAULT_WALLTIME_S = 2 * 3600
_NAME = "name"


def folder_on_node(folder: KernelFolder) -> KernelFolder:
    """Return where a kernel's sockets lie on its node; another path than here, as the node may be this machine."""
    return KernelFolder(Path("/tmp", f"{folder.path.name}-node"))


def batch_plan(
    software: Software,
    start: Start,
    folder: KernelFolder,
    connection: Mapping[str, Any],
    site: Mapping[str, Any],
    *,
    kernel: str,
    walltime: str = "",
    queue: str = "",
    ledger: str = "",
) -> dict[str, Any]:
    """Return the plan of a kernel at a batch site.

    Raises
    ------
    KernelError
        If the walltime cannot be read, or the site has no name.
    EnvironmentsError
        If the runtime cannot do what is asked.
    """
    try:
        walltime_s = parse_walltime(walltime) if walltime else _DEFAULT_WALLTIME_S
    except ValueError as error:
        raise KernelError(f"The walltime of kernel “{kernel}” is “{walltime}”.", f"Write {error}.") from None
    if not site.get(_NAME):
        raise KernelError(f"The site of kernel “{kernel}” has no name.", "Name it in the kernelspec: site.name.")
    wish = Wish(
        kernel=kernel,
        site=str(site[_NAME]),
        scheduler={key: value for key, value in site.items() if key != _NAME},
        ledger=ledger or own_ledger_url("", state_directory(None)),
        cores=max(1, round(software.cores)),
        memory_bytes=software.memory_bytes or _DEFAULT_MEMORY_BYTES,
        walltime_s=walltime_s,
        queue=queue,
        gpu=software.gpu,
        image=software.image.digest,
        language=language(),
    )
    there = folder_on_node(folder)
    connection = {name: value.decode() if isinstance(value, bytes) else value for name, value in connection.items()}
    return {
        "wish": wish.as_json(),
        "launch": launch_of(software, start, there),
        "connection": {**connection, "ip": there.sockets},
        "folder": str(there.path),
    }
