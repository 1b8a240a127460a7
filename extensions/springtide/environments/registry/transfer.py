"""Sends images to a registry and takes them from there. Credentials go by file, or over the engine's socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import docker
import docker.errors
import requests

from springtide.environments.engine import image_digest
from springtide.environments.registry.client import Manifest, Registry
from springtide.environments.registry.login import Access
from springtide.environments.registry.reference import Reference, parse_reference
from springtide.errors import EnvironmentsError, RegistryError

Progress = Callable[[str], None]

_POLICIES = (Path.home() / ".config/containers/policy.json", Path("/etc/containers/policy.json"))
_LOG_LINES = 5


def push(client: docker.DockerClient, image: str, target: Reference, access: Access, progress: Progress) -> Manifest:
    """Send `image` of the engine to the registry, and return what the registry has then.

    The layers that the registry has already are not sent again.

    Raises
    ------
    EnvironmentsError
        If the engine has no such image.
    RegistryError
        If the registry cannot be used; each cause is told apart.
    """
    here = image_digest(client, image)
    if here is None:
        raise EnvironmentsError(f"There is no image {image} on this machine.", "Build it first: springtide env build.")
    with Registry(target.host, access) as registry:
        # A refusal in our own words, before anything is sent.
        if (there := registry.digest(target)) and registry.manifest(target.at(there)).image == here:
            progress(f"{target} is there already")
            return registry.manifest(target)
        progress(f"sending {image} to {target}")
        _copy(f"docker-daemon:{_engine_name(image)}", f"docker://{target}", access, progress)
        return registry.manifest(target)


def pull(client: docker.DockerClient, image: str, access: Access, progress: Progress) -> None:
    """Have `image`, a reference of a registry, on the engine. A digest in it is verified by the engine.

    Raises
    ------
    RegistryError
        If it cannot be had; each cause is told apart.
    """
    reference = parse_reference(image)
    login = access.login(reference.host)
    progress(f"pulling {image}")
    try:
        client.images.pull(
            reference.name,
            tag=reference.which,
            auth_config={"username": login.user, "password": login.password} if login else None,
        )
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise _why_not_pulled(reference, access, error) from error


def _why_not_pulled(reference: Reference, access: Access, error: Exception) -> RegistryError:
    """Return why the engine could not pull, by asking the registry ourselves: engines say it in many ways."""
    try:
        with Registry(reference.host, access) as registry:
            registry.manifest(reference)
    except RegistryError as found:
        return type(found)(f"The image {reference} cannot be pulled. {found.message}", found.hint)
    hint = "See the engine's log (journalctl -u docker)."
    if access.certificate and "x509" in str(error):
        hint = (
            f"The engine does not know the registry's certificate authority: "
            f"install -D {access.certificate} /etc/docker/certs.d/{reference.host}/ca.crt"
        )
    return RegistryError(f"The image {reference} cannot be pulled by the Docker Engine: {error}", hint)


def _engine_name(image: str) -> str:
    """Return `image` as skopeo wants the name of an engine's image: with a tag, or the image's own digest."""
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in last else f"{image}:latest"


def _copy(source: str, target: str, access: Access, progress: Progress) -> None:
    command = [*_skopeo(), "copy"]
    if host := os.environ.get("DOCKER_HOST"):
        command += ["--src-daemon-host", host]
    if access.credentials:
        command += ["--authfile", str(access.credentials)]
    with _certificates(access) as folder:
        if folder:
            command += ["--dest-cert-dir", str(folder)]
        _run([*command, source, target], progress)


def _skopeo() -> list[str]:
    program = shutil.which("skopeo")
    if not program:
        raise EnvironmentsError("Images cannot be sent: skopeo is missing.", "apt install skopeo")
    # A site's policy on signatures holds; without any, skopeo would refuse to work.
    return [program] if any(policy.exists() for policy in _POLICIES) else [program, "--insecure-policy"]


@contextmanager
def _certificates(access: Access) -> Iterator[Path | None]:
    """Yield a folder with the registry's certificate authority, as skopeo wants it; None where there is none."""
    if access.certificate is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="springtide-certs-") as folder:
        shutil.copyfile(access.certificate, Path(folder, "ca.crt"))
        yield Path(folder)


def _run(command: Sequence[str], progress: Progress) -> None:
    last: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in map(str.strip, process.stdout):
            last = [*last, line][-_LOG_LINES:]
            if line.startswith(("Copying", "Writing")):
                progress(line)
    if process.returncode != 0:
        raise RegistryError("skopeo could not send the image. Its last lines:\n" + "\n".join(last))
