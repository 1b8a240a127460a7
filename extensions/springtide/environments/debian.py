"""Makes the layer below all images: a small Debian with Python.

One that this engine already has is kept; else it is pulled where an image registry answers; else it is made from
Debian's packages, so that a lab without any registry can build.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import docker
import docker.errors
import requests

from springtide.environments.engine import connect, image_digest
from springtide.errors import EngineError, EnvironmentsError
from springtide.share import share_path

Progress = Callable[[str], None]

BASE_IMAGE = "springtide/debian:12"
_UPSTREAM = ("docker.io/library/debian", "12-slim")
_SUITE = "bookworm"
_REGISTRY_TIMEOUT_S = 5
_LOG_LINES = 15
_DPKG_OPTIONS = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
_STAGE = re.compile(r"I: (downloading|extracting|installing|cleaning|creating)[\w ]*")


def ensure_base_image(client: docker.DockerClient, progress: Progress) -> str:
    """Have the Debian base image on the engine of `client` and return its reference.

    Parameters
    ----------
    client : docker.DockerClient
        Its time limit must allow for the import of some 200 MB.
    progress : callable
        Told what is done, a short line at a time.

    Raises
    ------
    EnvironmentsError
        If it can neither be pulled nor made.
    """
    if image_digest(client, BASE_IMAGE) is None:
        if registry_answers():
            _pull(client, progress)
        else:
            make_base_image(client, BASE_IMAGE, progress)
    return BASE_IMAGE


def registry_answers() -> bool:
    """Say whether the engine reaches the registry that has Debian's image, within a few seconds."""
    try:
        client = connect(_REGISTRY_TIMEOUT_S)
        try:
            client.images.get_registry_data(":".join(_UPSTREAM))
        finally:
            client.close()
    except (docker.errors.DockerException, requests.RequestException, EngineError):
        return False
    return True


def _pull(client: docker.DockerClient, progress: Progress) -> None:
    repository, tag = _UPSTREAM
    progress(f"pulling {repository}:{tag}")
    try:
        image = client.images.pull(repository, tag=tag)
        image.tag(*BASE_IMAGE.split(":"))
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EnvironmentsError(f"{repository}:{tag} could not be pulled: {error}", transient=True) from error


def make_base_image(client: docker.DockerClient, image: str, progress: Progress) -> None:
    """Make `image` from Debian's packages.

    Raises
    ------
    EnvironmentsError
        If a program for it is missing, or fails; the hint says what to install.
    """
    with tempfile.TemporaryDirectory(prefix="springtide-debian-") as folder:
        archive = Path(folder, "debian.tar")
        progress(f"no image registry answers: making Debian {_SUITE} from its packages (about a minute)")
        make_archive(archive, progress)
        progress("importing the Debian image")
        _import(client, archive, image)


def make_archive(archive: Path, progress: Progress) -> None:
    """Write a small Debian with Python, made from Debian's packages, as a tar archive. Needs no Docker.

    Raises
    ------
    EnvironmentsError
        If a program for it is missing, or fails; the hint says what to install.
    """
    _run(_mmdebstrap(), archive, progress)


def _mmdebstrap() -> list[str]:
    packages = share_path("kernels", "base", "packages.txt").read_text(encoding="utf-8").split()
    if not shutil.which("mmdebstrap"):
        raise EnvironmentsError(
            "The base image cannot be made: no image registry answers, and mmdebstrap is missing.",
            "apt install mmdebstrap debian-archive-keyring, or let the Docker Engine reach docker.io.",
        )
    as_root = os.geteuid() == 0
    if not as_root and not shutil.which("newuidmap"):
        raise EnvironmentsError(
            "The base image cannot be made by an ordinary user here: newuidmap is missing.",
            "apt install uidmap, and give this account a range in /etc/subuid and /etc/subgid "
            "(usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME); or run this once as root.",
        )
    return [
        "mmdebstrap",
        f"--mode={'root' if as_root else 'unshare'}",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
        _SUITE,
        "-",
    ]


def _run(command: list[str], archive: Path, progress: Progress) -> None:
    """Write what `command` prints to `archive`; only a complete archive survives this."""
    lines: list[str] = []
    with (
        archive.open("wb") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        ) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line.rstrip())
            if stage := _STAGE.match(line):
                progress(f"Debian: {stage[0].removeprefix('I: ').strip()}")
    if process.returncode != 0:
        said = "\n".join(lines[-_LOG_LINES:])
        raise EnvironmentsError(
            f"Debian could not be made from its packages ({command[0]} ended with {process.returncode}). "
            f"Its last lines:\n{said}\n",
            "Check that this machine reaches a Debian mirror (http://deb.debian.org, or through http_proxy).",
        )


def _import(client: docker.DockerClient, archive: Path, image: str) -> None:
    repository, tag = image.split(":")
    try:
        client.api.import_image_from_file(str(archive), repository=repository, tag=tag)
        if image_digest(client, image) is None:
            raise EnvironmentsError("The Docker Engine did not keep the Debian image it was given.")
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EnvironmentsError(f"The Docker Engine refused the Debian image: {error}") from error
